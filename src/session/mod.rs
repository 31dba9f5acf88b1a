//! One client's conversation, decided without sockets or clocks.

pub mod limits;
