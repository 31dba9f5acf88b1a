//! Certificates and settings for the tests of this room.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use tempfile::TempDir;

use super::{ClientTls, ServerTls, SslMode};

/// Certificates in a folder that goes away with it.
pub(super) struct Folder {
    folder: TempDir,
    authority: Issuer<'static, KeyPair>,
}

impl Folder {
    /// With `ca.pem`, and `server.pem`/`server.key` signed by it for db.example.org and 127.0.0.1.
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let made = Folder { folder: tempfile::tempdir().unwrap(), authority: Issuer::new(params, key) };
        made.write("ca.pem", &certificate.pem());
        made.issue("server", "", &["db.example.org", "127.0.0.1"]);
        made
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// `file.pem` and `file.key` for a common name and alternative names.
    pub(super) fn issue(&self, file: &str, common_name: &str, names: &[&str]) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        self.write(&format!("{file}.pem"), &certificate.pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
        certificate
    }

    /// As PostgreSQL's manual makes one: self-signed, an authority, named by its common name only.
    pub(super) fn issue_self_signed(&self, file: &str, common_name: &str, expired: bool) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, common_name);
        if expired {
            params.not_after = rcgen::date_time_ymd(2000, 1, 1);
        }
        let certificate = params.self_signed(&key).unwrap();
        self.write(&format!("{file}.pem"), &certificate.pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
    }

    pub(super) fn towards_clients(&self, file: &str) -> ClientTls {
        ClientTls {
            cert: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
            client_ca: None,
            required: false,
        }
    }

    pub(super) fn towards_servers(&self, mode: SslMode, ca: Option<&str>) -> ServerTls {
        ServerTls { mode, ca: ca.map(|name| self.path(name)), cert: None, key: None }
    }
}
