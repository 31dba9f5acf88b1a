//! What is read from a certificate: the hash that channel binding uses, and names.
//! Must not know connections or trust: whoever calls this has verified the certificate, or does not care.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{
    OID_HASH_SHA1, OID_NIST_HASH_SHA256, OID_NIST_HASH_SHA384, OID_NIST_HASH_SHA512, OID_PKCS1_MD5WITHRSAENC,
    OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA1WITHRSA, OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA,
    OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512,
    Oid, asn1_rs::oid,
};
use x509_parser::prelude::FromDer;
use x509_parser::signature_algorithm::SignatureAlgorithm;

/// The data of `tls-server-end-point` (RFC 5929): the certificate's hash by the hash function of its own signature,
/// with SHA-256 in place of MD5 and SHA-1. `None` where the signature has no single hash function, as Ed25519, or one
/// that pgweir does not know: channel binding is then not offered.
pub fn channel_binding(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let algorithm = &parsed.signature_algorithm;
    if algorithm.algorithm != OID_PKCS1_RSASSAPSS {
        return digest(&algorithm.algorithm, certificate);
    }
    // Here the parameters say which hash it is.
    match SignatureAlgorithm::try_from(algorithm).ok()? {
        SignatureAlgorithm::RSASSA_PSS(pss) => digest(pss.hash_algorithm_oid(), certificate),
        _ => None,
    }
}

/// The common name of a certificate's subject: the user name that client certificates prove. `None` without one, or
/// when it holds a zero byte, which could pass for another name elsewhere.
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    (!name.contains('\0')).then(|| name.to_owned())
}

/// Whether the certificate names hosts or addresses the modern way, in which case its common name counts for nothing.
pub(super) fn has_alternative_names(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return true;
    };
    match parsed.subject_alternative_name() {
        Ok(Some(names)) => names
            .value
            .general_names
            .iter()
            .any(|name| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_))),
        Ok(None) => false,
        // A broken extension gives no right to the laxer rule.
        Err(_) => true,
    }
}

/// Whether `seconds` since 1970 lie in the certificate's time.
pub(super) fn is_valid_at(certificate: &CertificateDer<'_>, seconds: u64) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let validity = parsed.validity();
    i64::try_from(seconds)
        .is_ok_and(|now| validity.not_before.timestamp() <= now && now <= validity.not_after.timestamp())
}

/// `hash` is the identifier of a signature with its hash function, or of the hash function alone.
fn digest(hash: &Oid<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
    const ECDSA_WITH_SHA1: Oid<'static> = oid!(1.2.840.10045.4.1);
    let is = |known: &[Oid<'static>]| known.contains(hash);
    if is(&[
        OID_PKCS1_SHA256WITHRSA,
        OID_SIG_ECDSA_WITH_SHA256,
        OID_NIST_HASH_SHA256,
        OID_PKCS1_MD5WITHRSAENC,
        OID_PKCS1_SHA1WITHRSA,
        ECDSA_WITH_SHA1,
        OID_HASH_SHA1,
    ]) {
        Some(Sha256::digest(bytes).to_vec())
    } else if is(&[OID_PKCS1_SHA384WITHRSA, OID_SIG_ECDSA_WITH_SHA384, OID_NIST_HASH_SHA384]) {
        Some(Sha384::digest(bytes).to_vec())
    } else if is(&[OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA512, OID_NIST_HASH_SHA512]) {
        Some(Sha512::digest(bytes).to_vec())
    } else {
        None
    }
}
