//! TLS towards clients: a rustls configuration from the files of `ClientTls`, exchanged as a whole on reload.
//! Must not know connections; one that has begun keeps the configuration it began with.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use super::certificate::channel_binding;
use super::{ALPN, ClientTls, TlsError, files, provider};

/// TLS 1.2 sessions remembered for clients without tickets; a few hundred bytes each. Rustls' own default.
const REMEMBERED_SESSIONS: usize = 256;

/// What a new connection needs.
#[derive(Debug)]
pub struct Acceptor {
    /// Sessions are resumed by ticket, or by session id (TLS 1.2). ALPN `postgresql` is accepted but not asked for,
    /// so for direct TLS the caller checks `alpn_protocol()`.
    pub config: Arc<ServerConfig>,
    /// The `tls-server-end-point` hash of our certificate; `None`: do not offer SCRAM-SHA-256-PLUS.
    pub channel_binding: Option<Vec<u8>>,
}

impl Acceptor {
    /// Reads the files and checks that key and certificate belong together.
    pub fn load(settings: &ClientTls) -> Result<Self, TlsError> {
        let chain = files::certificates(&settings.cert)?;
        let key = files::private_key(&settings.key)?;
        let binding = channel_binding(&chain[0]);
        // Checked before the configuration is built, to tell which of the two files is wrong.
        if let Err(error) = check_pair(&chain, &key) {
            return Err(files::content(
                &settings.key,
                format!("it does not go with {}: {error}", settings.cert.display()),
            ));
        }
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Settings(format!("no TLS version is usable: {error}")))?;
        let builder = match &settings.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let (roots, _) = files::authorities(path)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                    // Who has no certificate may still have a password: `auth` decides.
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| files::content(path, error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| files::content(&settings.cert, error.to_string()))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A new configuration has new ticket keys: nobody who was let in by the old client CA resumes into the new one.
        config.ticketer = rustls::crypto::ring::Ticketer::new()
            .map_err(|error| TlsError::Settings(format!("no key for session tickets: {error}")))?;
        config.session_storage = ServerSessionMemoryCache::new(REMEMBERED_SESSIONS);
        // One is enough for a driver that resumes; most do not, and each costs a record.
        config.send_tls13_tickets = 1;
        Ok(Acceptor { config: Arc::new(config), channel_binding: binding })
    }
}

/// Holds the current `Acceptor`; shared by all listeners.
#[derive(Debug)]
pub struct AcceptorSource {
    current: RwLock<Arc<Acceptor>>,
}

impl AcceptorSource {
    pub fn load(settings: &ClientTls) -> Result<Self, TlsError> {
        Ok(AcceptorSource { current: RwLock::new(Arc::new(Acceptor::load(settings)?)) })
    }

    /// For one new connection.
    pub fn current(&self) -> Arc<Acceptor> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Reads the files again. New connections get the result; on an error everything stays as it was.
    pub fn reload(&self, settings: &ClientTls) -> Result<(), TlsError> {
        let fresh = Arc::new(Acceptor::load(settings)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

fn check_pair(
    chain: &[CertificateDer<'static>],
    key: &rustls::pki_types::PrivateKeyDer<'static>,
) -> Result<(), rustls::Error> {
    CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &provider()).map(drop)
}
