//! Stored secrets: tells the three kinds apart and checks a password against them.
//! Must not know where they are stored.

use subtle::ConstantTimeEq;

use super::Secret;
use super::md5::Md5Secret;
use super::scram_keys::Verifier;

impl Secret {
    /// Reads what `pg_authid.rolpassword` or a user list holds, by PostgreSQL's own rule: `md5` with 32 hex digits,
    /// then a complete SCRAM verifier, and anything else is a plain password.
    pub fn from_stored(text: impl Into<String>) -> Self {
        let text = text.into();
        if Md5Secret::parse(&text).is_some() {
            Secret::Md5(text)
        } else if Verifier::parse(&text).is_some() {
            Secret::Scram(text)
        } else {
            Secret::Plain(text)
        }
    }

    /// Whether `password` is the one that this secret was made from, for this user. For a SCRAM secret it costs one
    /// PBKDF2; a secret that does not parse matches nothing.
    pub fn matches(&self, password: &[u8], user: &str) -> bool {
        match self {
            Secret::Plain(plain) => plain.as_bytes().ct_eq(password).into(),
            Secret::Md5(text) => Md5Secret::parse(text).is_some_and(|secret| secret.matches(password, user)),
            Secret::Scram(text) => Verifier::parse(text).is_some_and(|verifier| verifier.matches(password)),
        }
    }

    /// The kind in words, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Secret::Plain(_) => "plain password",
            Secret::Md5(_) => "md5 secret",
            Secret::Scram(_) => "SCRAM secret",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_postgresql() {
        let verifier = Verifier::derive(b"pencil", b"0123456789abcdef", 1).to_text();
        let cases = [
            ("", "plain password"),
            ("secret", "plain password"),
            ("md5secret", "plain password"),
            ("md50123456789abcdef0123456789abcdef", "md5 secret"),
            ("md50123456789ABCDEF0123456789abcdef", "plain password"),
            ("SCRAM-SHA-256$1:AA==$x:y", "plain password"),
            (verifier.as_str(), "SCRAM secret"),
        ];
        for (text, kind) in cases {
            assert_eq!(Secret::from_stored(text).kind(), kind, "{text}");
        }
    }

    #[test]
    fn each_kind_knows_its_password() {
        let plain = Secret::Plain("pencil".into());
        let md5 = Secret::from_stored("md5".to_owned() + &md5_digits());
        let scram = Secret::from_stored(Verifier::derive(b"pencil", b"salt", 7).to_text());
        for secret in [plain, md5, scram] {
            assert!(secret.matches(b"pencil", "app"), "{}", secret.kind());
            for wrong in [&b"pencil "[..], b"Pencil", b"", b"pencil\xff"] {
                assert!(!secret.matches(wrong, "app"), "{}", secret.kind());
            }
        }
    }

    fn md5_digits() -> String {
        use md5::{Digest, Md5};
        format!("{:x}", Md5::digest("pencilapp"))
    }
}
