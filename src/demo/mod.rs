//! demo

pub struct Options {
    pub once: bool,
    pub pg_bin: Option<std::path::PathBuf>,
    pub fetch_postgres: bool,
    pub upstream: Option<String>,
    pub listen: std::net::SocketAddr,
    pub admin: std::net::SocketAddr,
}

pub fn main(_: Options) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
