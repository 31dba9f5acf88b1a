//! What the requests share: the registry, the proxy behind `Fabric`, and the settings that a reload replaces.
//! Knows no HTTP.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::access::{self, Tokens};
use super::audit::Audit;
use super::throttle::Failures;
use super::{AdminSettings, Fabric};
use crate::observe::counters::Registry;

/// Answers to wrong tokens that may be held back at once; each keeps a connection.
const DELAYED_MAX: usize = 16;

/// Acts that may run at once. They are rare, and each may touch every worker.
const ACTS_MAX: usize = 8;

pub(super) struct Shared {
    pub(super) registry: Arc<Registry>,
    pub(super) fabric: Arc<dyn Fabric>,
    pub(super) failures: Mutex<Failures>,
    pub(super) delayed: Arc<Semaphore>,
    pub(super) acts: Arc<Semaphore>,
    pub(super) next_id: AtomicU64,
    live: RwLock<Arc<Live>>,
}

/// What follows from the settings. Replaced as a whole by a reload; a request keeps the one it began with.
pub(super) struct Live {
    pub(super) tokens: Tokens,
    pub(super) audit: Audit,
    pub(super) tls: Option<TlsAcceptor>,
}

impl Shared {
    pub(super) fn new(live: Live, registry: Arc<Registry>, fabric: Arc<dyn Fabric>) -> Shared {
        Shared {
            registry,
            fabric,
            failures: Mutex::default(),
            delayed: Arc::new(Semaphore::new(DELAYED_MAX)),
            acts: Arc::new(Semaphore::new(ACTS_MAX)),
            next_id: AtomicU64::new(1),
            live: RwLock::new(Arc::new(live)),
        }
    }

    pub(super) fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn replace(&self, live: Live) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
    }
}

impl Live {
    /// Checks the rules, opens the audit log, reads the certificate. `Err` says which of them failed.
    pub(super) fn build(settings: &AdminSettings) -> Result<Live, String> {
        access::check(settings)?;
        let tls = match &settings.tls {
            Some((cert, key)) => Some(acceptor(cert, key)?),
            None => None,
        };
        Ok(Live { tokens: Tokens::new(settings)?, audit: Audit::open(settings.audit_log.as_deref())?, tls })
    }
}

fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let wrong = |what: &str, path: &Path, error: &dyn std::fmt::Display| {
        format!("admin.tls.{what} {}: {error}", path.display())
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong("cert", cert, &error))?;
    if chain.is_empty() {
        return Err(wrong("cert", cert, &"the file holds no PEM certificate"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("key", key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("admin.tls: {error}"))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| wrong("key", key, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
