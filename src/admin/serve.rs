//! Starts and ends the HTTP surface: a thread of its own with its own runtime, so that neither a scrape nor a
//! slow reader takes time from the workers. Decides nothing about who may do what.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::acts::Auditor;
use super::guard::Peer;
use super::state::{Live, Shared};
use super::{AdminSettings, Fabric, api};
use crate::observe::counters::Registry;

/// Connections at once: some scrapers, some health checks, some people. More wait in the system's backlog.
pub(super) const CONNECTIONS_MAX: usize = 64;

/// For a TLS handshake, and for the headers of a request; an idle connection ends after it too.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// A connection is closed at the next opportunity after this, and cut off [`GRACE`] later, so that a client
/// that does not read cannot keep its place. Prometheus connects anew by itself.
const CONNECTION_TIME: Duration = Duration::from_secs(300);

/// For answers under way when the surface ends.
const GRACE: Duration = Duration::from_secs(2);

/// A token, a few headers of proxies: 16 KiB are plenty.
const HEADER_BYTES: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// After accept failed, most likely because file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running HTTP surface. Dropping it ends it, as [`AdminHandle::shutdown`] does.
pub struct AdminHandle {
    address: SocketAddr,
    shared: Arc<Shared>,
    end: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Opens the port and serves it until the handle goes. `Err` says why it cannot: the rules, the certificate,
/// the audit log, the port.
pub fn start(
    settings: AdminSettings,
    registry: Arc<Registry>,
    fabric: Arc<dyn Fabric>,
) -> Result<AdminHandle, String> {
    let live = Live::build(&settings)?;
    let wanted = SocketAddr::new(settings.address, settings.port);
    let no_port = |error| {
        format!("admin: cannot listen on {wanted}: {error}; choose another admin.address or admin.port")
    };
    let listener = StdListener::bind(wanted).map_err(no_port)?;
    listener.set_nonblocking(true).map_err(no_port)?;
    let address = listener.local_addr().map_err(no_port)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("admin: the runtime did not start: {error}"))?;
    let shared = Arc::new(Shared::new(live, registry, fabric));
    let (end, ending) = watch::channel(false);
    let serving = shared.clone();
    let thread = std::thread::Builder::new()
        .name("pgweir-admin".to_owned())
        .spawn(move || runtime.block_on(serve(listener, serving, ending)))
        .map_err(|error| format!("admin: the thread did not start: {error}"))?;
    Ok(AdminHandle { address, shared, end, thread: Some(thread) })
}

impl AdminHandle {
    /// Where it listens; the port is the real one also when the settings said 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Writes down what pgweir does to the databases by itself.
    pub fn auditor(&self) -> Auditor {
        Auditor::new(self.shared.clone())
    }

    /// Takes new tokens, certificate and audit log without closing anything. `Err`: the old ones stay. Another
    /// address or port needs a restart, which is an error here, as is a certificate added or removed.
    pub fn reload(&self, settings: &AdminSettings) -> Result<(), String> {
        let port_changed = settings.port != 0 && settings.port != self.address.port();
        if settings.address != self.address.ip() || port_changed {
            return Err(format!(
                "admin.address and admin.port cannot change while pgweir runs (it listens on {}); restart it",
                self.address
            ));
        }
        if settings.tls.is_some() != self.shared.live().tls.is_some() {
            return Err("admin.tls cannot be added or removed while pgweir runs; restart it".to_owned());
        }
        self.shared.replace(Live::build(settings)?);
        Ok(())
    }

    /// Ends the surface; blocks for at most some seconds while answers under way are sent.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for AdminHandle {
    fn drop(&mut self) {
        // Without a receiver the thread has ended already.
        let _ = self.end.send(true);
        let Some(thread) = self.thread.take() else {
            return;
        };
        if thread.join().is_err() {
            tracing::error!("the admin thread ended by a panic; the log says where");
        }
    }
}

async fn serve(listener: StdListener, shared: Arc<Shared>, mut ending: watch::Receiver<bool>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("the admin port cannot be served: {error}");
            return;
        }
    };
    let router = api::router(shared.clone());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = ending.changed() => break,
        };
        let (stream, address, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("the admin port cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (shared, router, ending) = (shared.clone(), router.clone(), ending.clone());
        tokio::spawn(async move {
            connection(stream, address, shared, router, ending).await;
            drop(place);
        });
    }
    drop(listener);
    // Every place free again means every connection closed. What is not by then goes with the runtime.
    let all = places.acquire_many(CONNECTIONS_MAX as u32);
    let _ = tokio::time::timeout(GRACE + GRACE, all).await;
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// Waits for a free place first, so that what is beyond the bound costs no file descriptor.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> std::io::Result<Accepted> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, address, place))
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    shared: Arc<Shared>,
    router: Router,
    ending: watch::Receiver<bool>,
) {
    let tls = shared.live().tls.clone();
    let peer = Peer { address, tls: tls.is_some() };
    let Some(tls) = tls else {
        return exchange(stream, peer, router, ending).await;
    };
    match tokio::time::timeout(HEADER_TIME, tls.accept(stream)).await {
        Ok(Ok(stream)) => exchange(stream, peer, router, ending).await,
        Ok(Err(error)) => tracing::debug!(%address, "admin: the TLS handshake failed: {error}"),
        Err(_) => tracing::debug!(%address, "admin: the TLS handshake took too long"),
    }
}

async fn exchange<S>(stream: S, peer: Peer, router: Router, mut ending: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router.layer(Extension(peer)));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_header_size(HEADER_BYTES)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => return log_end(peer, ended),
        _ = ending.wait_for(|ending| *ending) => (),
        () = tokio::time::sleep(CONNECTION_TIME) => (),
    }
    serving.as_mut().graceful_shutdown();
    match tokio::time::timeout(GRACE, serving).await {
        Ok(ended) => log_end(peer, ended),
        Err(_) => tracing::debug!(address = %peer.address, "admin: the connection was cut off"),
    }
}

fn log_end(peer: Peer, ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(address = %peer.address, "admin: the connection ended: {error}");
    }
}
