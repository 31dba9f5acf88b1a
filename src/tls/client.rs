//! TLS towards servers: a rustls configuration from `ServerTls`, with libpq's meaning of each mode.
//! Must not know connections, nor whether a plain one is tried when TLS fails (`prefer`): the pool decides that.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::verifier::{Trust, Verifier};
use super::{ALPN, ServerTls, SslMode, TlsError, files, provider};

/// The configuration for connections under `settings`; `None` when the mode is `disable`. Reads the files: call it
/// once per settings, and again on reload. As in libpq, `require` with a `ca` verifies the chain like `verify-ca`.
pub fn connector(settings: &ServerTls) -> Result<Option<Arc<ClientConfig>>, TlsError> {
    let trust = match (settings.mode, &settings.ca) {
        (SslMode::Disable, _) => return Ok(None),
        (SslMode::Prefer, _) | (SslMode::Require, None) => Trust::Anything,
        (SslMode::Require | SslMode::VerifyCa, Some(ca)) => authorities(ca, false)?,
        (SslMode::VerifyFull, Some(ca)) => authorities(ca, true)?,
        (SslMode::VerifyCa | SslMode::VerifyFull, None) => {
            return Err(TlsError::Settings(
                "tls modes verify-ca and verify-full need `ca`, the file of trusted authorities; for public ones that \
                 is often /etc/ssl/certs/ca-certificates.crt"
                    .into(),
            ));
        }
    };
    let verifier = Verifier { provider: provider(), trust };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Settings(format!("no TLS version is usable: {error}")))?
        // "Dangerous" is rustls' word for any verifier but its own; ours calls rustls' functions.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&settings.cert, &settings.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            builder.with_client_auth_cert(files::certificates(cert)?, files::private_key(key)?).map_err(
                |error| files::content(key, format!("it does not go with {}: {error}", cert.display())),
            )?
        }
        (Some(_), None) => {
            return Err(TlsError::Settings("tls has `cert` without `key`: give both".into()));
        }
        (None, Some(_)) => {
            return Err(TlsError::Settings("tls has `key` without `cert`: give both".into()));
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Some(Arc::new(config)))
}

/// The name that a server is asked for and verified by.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| {
        TlsError::Settings(format!(
            "\"{host}\" is neither a host name nor an IP address, so TLS cannot be used with it"
        ))
    })
}

fn authorities(path: &Path, check_name: bool) -> Result<Trust, TlsError> {
    let (roots, listed) = files::authorities(path)?;
    Ok(Trust::Authorities { roots, listed, check_name })
}
