//! PostgreSQL's md5 password exchange, for old drivers and old servers.
//! Must not know messages or users' settings. MD5 is broken; this is here because drivers still speak it.

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

/// What the exchange proves knowledge of: 32 hex digits, the md5 of password and user name. Whoever has it can log
/// in, so it is as secret as the password. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Secret(String);

impl Md5Secret {
    pub fn derive(password: &[u8], user: &str) -> Self {
        Md5Secret(hex_of(&[password, user.as_bytes()]))
    }

    /// Reads `md5` and 32 lower-case hex digits, as in `pg_authid`. `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("md5")?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (digits.len() == 32 && digits.bytes().all(is_hex)).then(|| Md5Secret(digits.to_owned()))
    }

    /// 16 bytes taken as such a secret.
    pub(super) fn from_bytes(bytes: &[u8; 16]) -> Self {
        Md5Secret(hex(bytes))
    }

    /// The PasswordMessage that answers AuthenticationMD5Password, without the zero byte at its end.
    pub fn response(&self, salt: [u8; 4]) -> String {
        format!("md5{}", hex_of(&[self.0.as_bytes(), &salt]))
    }

    /// Whether `response`, without its zero byte, answers `salt`.
    pub fn accepts(&self, salt: [u8; 4], response: &[u8]) -> bool {
        self.response(salt).as_bytes().ct_eq(response).into()
    }

    /// Whether this was made from `password` for `user`.
    pub fn matches(&self, password: &[u8], user: &str) -> bool {
        let other = Md5Secret::derive(password, user);
        other.0.as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

impl std::fmt::Debug for Md5Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Md5Secret(hidden)")
    }
}

fn hex_of(parts: &[&[u8]]) -> String {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_an_independent_client() {
        let secret = Md5Secret::derive(b"pass\xffword", "wörld");
        for salt in [[0; 4], [1, 2, 3, 4], [255; 4]] {
            let theirs =
                postgres_protocol::authentication::md5_hash("wörld".as_bytes(), b"pass\xffword", salt);
            assert_eq!(secret.response(salt), theirs);
            assert!(secret.accepts(salt, theirs.as_bytes()));
            assert!(!secret.accepts([9; 4], theirs.as_bytes()));
            assert!(!secret.accepts(salt, &theirs.as_bytes()[..34]));
            assert!(!secret.accepts(salt, b""));
        }
    }

    #[test]
    fn reads_what_pg_authid_holds() {
        // Written by PostgreSQL 15 for role `app`, password `secret`.
        let text = "md56a422f785c9e20873908ce25d1736ae2";
        let secret = Md5Secret::parse(text).expect("a well-formed secret");
        assert!(secret.matches(b"secret", "app"));
        assert!(!secret.matches(b"secret", "App"));
        for bad in ["", "md5", "md5abc", &text[..34], &text.to_uppercase()] {
            assert_eq!(Md5Secret::parse(bad), None, "{bad}");
        }
    }
}
