//! Accepts clients and deals them out to the workers.

use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::greet;
use super::hub::Mail;
use super::worker::Worker;
use crate::error::ClientError;
use crate::net::stream::Stream;

/// Connections the kernel may hold while we are busy.
const BACKLOG: i32 = 4096;

/// Pause after a failed accept: out of file descriptors is not cured by trying at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Binds the TCP listener.
///
/// # Errors
/// A sentence with the address and what to do.
pub fn bind(address: std::net::SocketAddr) -> Result<std::net::TcpListener, String> {
    let bind = || -> std::io::Result<std::net::TcpListener> {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bind().map_err(|error| {
        format!("cannot listen on {address}: {error}; is another pgweir running? choose a port with --listen or listen.port")
    })
}

/// The Unix socket of this port, removed when dropped.
pub struct SocketFile {
    pub listener: Option<std::os::unix::net::UnixListener>,
    path: PathBuf,
}

impl SocketFile {
    /// # Errors
    /// A sentence with the path and what to do.
    pub fn bind(directory: &Path, port: u16) -> Result<Self, String> {
        let path = crate::pool::login::socket_path(directory, port);
        let fail = |error: std::io::Error| format!("cannot make the socket {}: {error}", path.display());
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(format!(
                "{} is in use by another server; choose another listen.port",
                path.display()
            ));
        }
        // Nobody answered, so it was left over by a process that was killed.
        let _ = std::fs::remove_file(&path);
        let listener = std::os::unix::net::UnixListener::bind(&path).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).map_err(fail)?;
        Ok(SocketFile { listener: Some(listener), path })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Accepts TCP clients until the task is aborted.
pub async fn tcp(worker: Rc<Worker>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if !worker.hub.has_room(stream.as_raw_fd()) => {
                turn_away(&worker, Stream::tcp(stream));
            }
            Ok((stream, _)) => deal_tcp(&worker, stream),
            Err(error) => refuse(&worker, &error).await,
        }
    }
}

/// Accepts clients of the Unix socket until the task is aborted.
pub async fn unix(worker: Rc<Worker>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if !worker.hub.has_room(stream.as_raw_fd()) => {
                turn_away(&worker, Stream::unix(stream));
            }
            Ok((stream, _)) => {
                let target = worker.hub.least_loaded();
                if target == worker.index {
                    worker.welcome(Stream::unix(stream));
                } else if let Ok(stream) = stream.into_std() {
                    // A worker that has ended takes no clients; the client sees its connection close.
                    let _ = worker.hub.mailboxes[target].send(Mail::Unix(stream));
                }
            }
            Err(error) => refuse(&worker, &error).await,
        }
    }
}

fn deal_tcp(worker: &Rc<Worker>, stream: TcpStream) {
    // Without it a small answer could wait 40 ms for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let options = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&options);
    let target = worker.hub.least_loaded();
    let here = worker.hub.loads[worker.index].load(Relaxed) <= worker.hub.loads[target].load(Relaxed);
    if here || target == worker.index {
        worker.welcome(Stream::tcp(stream));
    } else if let Ok(stream) = stream.into_std() {
        let _ = worker.hub.mailboxes[target].send(Mail::Tcp(stream));
    }
}

/// The last descriptors are for servers, so that the clients that are there can go on.
fn turn_away(worker: &Rc<Worker>, stream: Stream) {
    let worker = worker.clone();
    tokio::task::spawn_local(async move {
        if let Some(_place) = worker.hub.turn_away() {
            let message = "pgweir has no file descriptors left for more clients";
            let error = ClientError::fatal("53300", message)
                .hint("Raise the limit of open files (ulimit -n, LimitNOFILE) of pgweir.");
            greet::turn_away(&worker, stream, &error).await;
        }
    });
}

/// Existing clients go on; new ones wait in the kernel's queue until there is room.
async fn refuse(worker: &Worker, error: &std::io::Error) {
    worker.hub.registry.clients_refused.fetch_add(1, Relaxed);
    tracing::warn!("a client could not be accepted: {error}; raise the limit of open files (ulimit -n)");
    tokio::time::sleep(PAUSE).await;
}
