//! Byte streams and the buffers they are read into. Knows neither protocol nor sessions.

pub mod buffer;
pub mod bulk;
pub mod plain;
pub mod send;
pub mod stream;
