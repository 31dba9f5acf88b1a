//! Keys of SCRAM-SHA-256: from a password to salted keys, and stored verifiers read and written.
//! Must not know messages or whose turn it is to speak.

use std::borrow::Cow;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::scram::{MAX_ITERATIONS, decode, decode_key, encode, iterations};

/// What a server has to know to check a client: the content of `pg_authid.rolpassword`. It can check a proof and
/// prove that the server knows the secret, but cannot log in anywhere. `Debug` hides the keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub iterations: u32,
    pub salt: Vec<u8>,
    pub stored_key: [u8; 32],
    pub server_key: [u8; 32],
}

/// What logs a client in without its password, for servers whose verifier has the same salt and count.
/// `Debug` hides the keys.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKeys {
    pub iterations: u32,
    pub salt: Vec<u8>,
    pub client_key: [u8; 32],
    pub server_key: [u8; 32],
}

impl Verifier {
    /// Runs PBKDF2: about 1 ms per 4096 iterations. `iterations` is taken as at least 1.
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        ClientKeys::derive(password, salt, iterations).verifier()
    }

    /// Reads `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`. `None` for any other text, for a count above
    /// `MAX_ITERATIONS` and for an empty salt.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("SCRAM-SHA-256$")?;
        let (cost, keys) = rest.split_once('$')?;
        let (count, salt) = cost.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        Some(Verifier {
            iterations: iterations(count.as_bytes()).filter(|count| *count <= MAX_ITERATIONS)?,
            salt: decode(salt.as_bytes()).filter(|salt| !salt.is_empty())?,
            stored_key: decode_key(stored_key.as_bytes())?,
            server_key: decode_key(server_key.as_bytes())?,
        })
    }

    /// The text that `parse` reads, for `pg_authid` and user lists. It is a secret.
    pub fn to_text(&self) -> String {
        format!(
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            encode(&self.salt),
            encode(&self.stored_key),
            encode(&self.server_key)
        )
    }

    /// Whether this verifier was made from `password`. Costs one PBKDF2.
    pub fn matches(&self, password: &[u8]) -> bool {
        let other = Verifier::derive(password, &self.salt, self.iterations);
        // The server key suffices, as in PostgreSQL: it depends on the whole salted password.
        other.server_key.ct_eq(&self.server_key).into()
    }
}

impl ClientKeys {
    /// Runs PBKDF2: about 1 ms per 4096 iterations. `iterations` is taken as at least 1.
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let salted = salted_password(&prepare(password), salt, iterations);
        ClientKeys {
            iterations: iterations.max(1),
            salt: salt.to_vec(),
            client_key: hmac(&salted, &[b"Client Key"]),
            server_key: hmac(&salted, &[b"Server Key"]),
        }
    }

    /// The verifier that accepts these keys.
    pub fn verifier(&self) -> Verifier {
        Verifier {
            iterations: self.iterations,
            salt: self.salt.clone(),
            stored_key: sha256(&self.client_key),
            server_key: self.server_key,
        }
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(hidden)")
    }
}

impl std::fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientKeys(hidden)")
    }
}

/// HMAC-SHA-256 over the concatenation of `parts`.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed(key);
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(super) fn xor(mut left: [u8; 32], right: &[u8; 32]) -> [u8; 32] {
    for (left, right) in left.iter_mut().zip(right) {
        *left ^= right;
    }
    left
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// `Hi` of RFC 5802, which is PBKDF2 for one block. The keyed state is cloned, so that a round costs two
/// compressions instead of four.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    let key = keyed(password);
    let mut mac = key.clone();
    mac.update(salt);
    mac.update(&1u32.to_be_bytes());
    let mut round: [u8; 32] = mac.finalize().into_bytes().into();
    let mut sum = round;
    for _ in 1..iterations {
        let mut mac = key.clone();
        mac.update(&round);
        round = mac.finalize().into_bytes().into();
        sum = xor(sum, &round);
    }
    sum
}

/// SASLprep (RFC 4013) as PostgreSQL applies it: a password that is not UTF-8, holds forbidden characters or would
/// come out empty is taken as it is.
fn prepare(password: &[u8]) -> Cow<'_, [u8]> {
    if password.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        return Cow::Borrowed(password);
    }
    let Ok(text) = std::str::from_utf8(password) else {
        return Cow::Borrowed(password);
    };
    match stringprep::saslprep(text) {
        Ok(prepared) if !prepared.is_empty() => Cow::Owned(prepared.into_owned().into_bytes()),
        _ => Cow::Borrowed(password),
    }
}
