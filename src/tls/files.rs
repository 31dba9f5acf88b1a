//! PEM files into certificates and keys, with errors that name the file.
//! Must not know what they are used for.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// All certificates of a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(path, pem_problem(&error)))?;
    if certificates.is_empty() {
        return Err(content(path, "no BEGIN CERTIFICATE in it; a PEM file is needed"));
    }
    Ok(certificates)
}

/// The first private key of a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if holds(&text, b"ENCRYPTED PRIVATE KEY") => content(
            path,
            "the key is encrypted and pgweir asks for no passphrase; decrypt it with `openssl pkey`",
        ),
        pem::Error::NoItemsFound => content(path, "no BEGIN PRIVATE KEY in it; a PEM file is needed"),
        other => content(path, pem_problem(&other)),
    })
}

/// The trust anchors of a file, at least one, and the certificates themselves.
pub(super) fn authorities(path: &Path) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let certificates = certificates(path)?;
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        store
            .add(certificate.clone())
            .map_err(|error| content(path, format!("certificate {} of it: {error}", index + 1)))?;
    }
    Ok((store, certificates))
}

pub(super) fn content(path: &Path, problem: impl Into<String>) -> TlsError {
    TlsError::Content { path: path.to_owned(), problem: problem.into() }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn holds(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}

fn pem_problem(error: &pem::Error) -> String {
    format!("not well-formed PEM: {error}")
}
