//! A throw-away PostgreSQL, sample data, and the tour that shows pgweir in front of them.
//! The tests use the same cluster; nothing here is on the data path.

pub mod account;
pub mod cluster;
pub mod home;
pub mod locate;
pub mod server;
