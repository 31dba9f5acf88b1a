//! Whether a server's certificate is to be believed, by libpq's rules where they differ from a browser's.
//! Must not know files or connections.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::{common_name, has_alternative_names, is_valid_at};

/// In every mode the server has to show that it holds its certificate's key; the rest depends on `trust`.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) trust: Trust,
}

#[derive(Debug)]
pub(super) enum Trust {
    /// Any certificate: protects from listeners, not from impostors.
    Anything,
    Authorities {
        roots: RootCertStore,
        /// The same certificates as they are in the file. A server's own certificate in there is trusted as such,
        /// which is how PostgreSQL's manual sets up a self-signed one.
        listed: Vec<CertificateDer<'static>>,
        /// Whether the certificate also has to name the host.
        check_name: bool,
    },
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::Authorities { roots, listed, check_name } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let parsed = ParsedCertificate::try_from(end_entity)?;
        if listed.contains(end_entity) {
            if !is_valid_at(end_entity, now.as_secs()) {
                return Err(CertificateError::Expired.into());
            }
        } else {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        if *check_name {
            check_host(end_entity, &parsed, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// By alternative names; for a certificate that has none, by its common name, as libpq does.
fn check_host(
    certificate: &CertificateDer<'_>,
    parsed: &ParsedCertificate<'_>,
    host: &ServerName<'_>,
) -> Result<(), Error> {
    let refusal = match verify_server_name(parsed, host) {
        Ok(()) => return Ok(()),
        Err(refusal) => refusal,
    };
    let named = !has_alternative_names(certificate)
        && common_name(certificate).is_some_and(|name| common_name_fits(&name, &host.to_str()));
    if named { Ok(()) } else { Err(refusal) }
}

/// Equal but for case, or `*.` in place of the host's first label. An address has no labels: it fits only itself.
fn common_name_fits(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    match (name.strip_prefix("*."), host.split_once('.')) {
        (Some(domain), Some((label, rest))) if !is_address => {
            !label.is_empty() && domain.contains('.') && domain.eq_ignore_ascii_case(rest)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::common_name_fits;

    #[test]
    fn common_names() {
        let cases = [
            ("db.example.org", "DB.example.org", true),
            ("*.example.org", "db.example.org", true),
            ("*.example.org", "a.db.example.org", false),
            ("*.example.org", "example.org", false),
            ("*.example.org", ".example.org", false),
            ("*.org", "example.org", false),
            ("*", "example.org", false),
            ("d*.example.org", "db.example.org", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("*.0.0.1", "10.0.0.1", false),
            ("", "", true),
        ];
        for (name, host, fits) in cases {
            assert_eq!(common_name_fits(name, host), fits, "{name} {host}");
        }
    }
}
