//! Certificates whose hashes OpenSSL has computed, and some that are none. The files in `testdata` are made by
//! `openssl req -new -x509`, with throw-away keys, to have one of each kind of signature.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::certificate::{channel_binding, common_name};
use super::test_files::Folder;

/// The expected hashes begin as `openssl dgst` printed them.
#[test]
fn hashes_follow_the_signature() {
    let cases: [(&str, &[u8], Option<&str>); 11] = [
        ("ecdsa-sha1", include_bytes!("testdata/ecdsa-sha1.pem"), Some("aa0469930d0d2a82")),
        ("ecdsa-sha224", include_bytes!("testdata/ecdsa-sha224.pem"), None),
        ("ecdsa-sha512", include_bytes!("testdata/ecdsa-sha512.pem"), Some("a0295685377b2b57")),
        ("ed25519", include_bytes!("testdata/ed25519.pem"), None),
        ("pss-sha1", include_bytes!("testdata/pss-sha1.pem"), Some("0b06da667d5fae21")),
        ("pss-sha384", include_bytes!("testdata/pss-sha384.pem"), Some("0b5b857a5ab0012a")),
        ("rsa-md5", include_bytes!("testdata/rsa-md5.pem"), Some("e100f435f023bfa9")),
        ("rsa-sha1", include_bytes!("testdata/rsa-sha1.pem"), Some("c373b853ca1f4cd0")),
        ("rsa-sha256", include_bytes!("testdata/rsa-sha256.pem"), Some("c0b04ad0d2c0d937")),
        ("rsa-sha384", include_bytes!("testdata/rsa-sha384.pem"), Some("f4d0e536dec43193")),
        ("rsa-sha512", include_bytes!("testdata/rsa-sha512.pem"), Some("9008f4db09d5f26a")),
    ];
    for (name, pem, expected) in cases {
        let certificate = CertificateDer::from_pem_slice(pem).unwrap();
        let start = channel_binding(&certificate)
            .map(|hash| hash[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        assert_eq!(start.as_deref(), expected, "{name}");
        assert_eq!(common_name(&certificate).as_deref(), Some(name));
    }
}

#[test]
fn names_and_hashes_of_nonsense_are_none() {
    for bytes in [&b""[..], b"\x30", b"not a certificate"] {
        let certificate = CertificateDer::from(bytes);
        assert_eq!(channel_binding(&certificate), None);
        assert_eq!(common_name(&certificate), None);
    }
    let files = Folder::new();
    let trap = files.issue("trap", "app\0.example.org", &[]);
    assert_eq!(common_name(trap.der()), None);
}
