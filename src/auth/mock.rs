//! Proofs that nobody can give: what a user who does not exist is asked, so that the answers to a wrong password and
//! to an unknown user look alike. Also the salt of users whose plain password is known.
//! Must not know who exists.

use super::md5::Md5Secret;
use super::scram::DEFAULT_ITERATIONS;
use super::scram_keys::{Verifier, hmac};

/// Random bytes of this process. Who does not know them cannot tell a mock from a real secret.
/// `Debug` hides them.
#[derive(Clone)]
pub struct MockSecret {
    seed: [u8; 32],
    iterations: u32,
}

impl MockSecret {
    /// `seed` are fresh random bytes, drawn once per process: an unknown user has to be given the same salt each time,
    /// as a known one is.
    pub fn new(seed: [u8; 32]) -> Self {
        MockSecret { seed, iterations: DEFAULT_ITERATIONS }
    }

    /// The count that real users' verifiers have, where it is not PostgreSQL's default.
    pub fn with_iterations(mut self, iterations: u32) -> Self {
        self.iterations = iterations;
        self
    }

    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// 16 bytes, as PostgreSQL makes them, always the same for the same user.
    pub fn salt(&self, user: &str) -> [u8; 16] {
        let mut salt = [0; 16];
        salt.copy_from_slice(&self.bytes("salt", user)[..16]);
        salt
    }

    /// Nobody passes it: that would take a value whose SHA-256 is this stored key, which is no SHA-256 output that
    /// anybody knows an input of.
    pub fn verifier(&self, user: &str) -> Verifier {
        Verifier {
            iterations: self.iterations,
            salt: self.salt(user).to_vec(),
            stored_key: self.bytes("stored key", user),
            server_key: self.bytes("server key", user),
        }
    }

    /// Nobody passes it: it takes part of an HMAC output whose key is secret.
    pub fn md5(&self, user: &str) -> Md5Secret {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.bytes("md5", user)[..16]);
        Md5Secret::from_bytes(&bytes)
    }

    /// What a client of this user, whose plain password is known, is checked against. Costs one PBKDF2: keep it.
    pub fn verifier_of_plain(&self, user: &str, password: &str) -> Verifier {
        Verifier::derive(password.as_bytes(), &self.salt(user), self.iterations)
    }

    /// The purpose ends in a zero byte, which no user name of the protocol contains.
    fn bytes(&self, purpose: &str, user: &str) -> [u8; 32] {
        hmac(&self.seed, &[purpose.as_bytes(), &[0], user.as_bytes()])
    }
}

impl std::fmt::Debug for MockSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MockSecret(hidden)")
    }
}
