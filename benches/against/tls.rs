//! A certificate for the run, given to PostgreSQL and both proxies alike, and the client that
//! trusts it. Must not know who uses it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use crate::Fail;
use crate::process::Account;

/// Certificate and key as files, and the client's side.
pub struct Identity {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub client: Arc<ClientConfig>,
}

/// Makes a self-signed certificate for `localhost` in `folder`.
pub fn identity(folder: &Path, account: Option<Account>) -> Result<Identity, Fail> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let cert = folder.join("server.crt");
    let key = folder.join("server.key");
    fs::write(&cert, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    // PostgreSQL refuses a key that others may read.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    if let Some(account) = account {
        account.own(&cert)?;
        account.own(&key)?;
    }
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Identity { cert, key, client: Arc::new(client) })
}
