//! The client's side of SCRAM-SHA-256. The expensive key derivation is kept per salt, so that in
//! connect-per-query the machine measures the proxy and not the load generator.
//! Must not know sockets or frames.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::{Fail, fail};

type Key = [u8; 32];

/// Salted passwords already derived, by (salt, iterations).
#[derive(Default)]
pub struct Keys(HashMap<(Vec<u8>, u32), Key>);

/// One login under way.
pub struct Scram {
    nonce: String,
    expected: Option<Key>,
}

impl Scram {
    /// Starts an exchange; `number` makes the nonce unlike any other of this run.
    pub fn new(number: u64) -> Scram {
        Scram { nonce: format!("weirbench{number:020}"), expected: None }
    }

    /// The client-first message. The user name is left empty: the server has it already.
    pub fn first(&self) -> String {
        format!("n,,n=,r={}", self.nonce)
    }

    /// Answers the server-first message.
    pub fn answer(&mut self, server: &str, password: &str, keys: &mut Keys) -> Result<String, Fail> {
        let nonce = field(server, "r=")?;
        if !nonce.starts_with(&self.nonce) {
            return fail("SCRAM: the server's nonce does not continue ours");
        }
        let salt = STANDARD.decode(field(server, "s=")?)?;
        let iterations: u32 = field(server, "i=")?.parse()?;
        let salted = keys.derive(password, salt, iterations);
        let bare = format!("c=biws,r={nonce}");
        let auth = format!("n=,r={},{server},{bare}", self.nonce);
        let client_key = hmac(&salted, b"Client Key");
        let signature = hmac(&Sha256::digest(client_key), auth.as_bytes());
        let mut proof = client_key;
        proof.iter_mut().zip(signature).for_each(|(p, s)| *p ^= s);
        self.expected = Some(hmac(&hmac(&salted, b"Server Key"), auth.as_bytes()));
        Ok(format!("{bare},p={}", STANDARD.encode(proof)))
    }

    /// Checks the server-final message.
    pub fn verify(&self, server: &str) -> Result<(), Fail> {
        let signature = STANDARD.decode(field(server, "v=")?)?;
        match self.expected {
            Some(expected) if signature == expected => Ok(()),
            _ => fail("SCRAM: the server's signature is wrong"),
        }
    }
}

impl Keys {
    /// PBKDF2 with one block of output, RFC 5802's `Hi`.
    fn derive(&mut self, password: &str, salt: Vec<u8>, iterations: u32) -> Key {
        let derive = |(salt, iterations): &(Vec<u8>, u32)| {
            let mut first = salt.clone();
            first.extend_from_slice(&1u32.to_be_bytes());
            let keyed = mac(password.as_bytes());
            let round = |input: &[u8]| -> Key {
                let mut mac = keyed.clone();
                mac.update(input);
                mac.finalize().into_bytes().into()
            };
            let mut last = round(&first);
            let mut sum = last;
            for _ in 1..*iterations {
                last = round(&last);
                sum.iter_mut().zip(last).for_each(|(s, l)| *s ^= l);
            }
            sum
        };
        let key = (salt, iterations);
        if let Some(known) = self.0.get(&key) {
            return *known;
        }
        let salted = derive(&key);
        // A proxy that draws a new salt for each login must not make this grow for ever.
        if self.0.len() < 10_000 {
            self.0.insert(key, salted);
        }
        salted
    }
}

fn field<'a>(message: &'a str, name: &str) -> Result<&'a str, Fail> {
    let found = message.split(',').find_map(|part| part.strip_prefix(name));
    found.ok_or_else(|| format!("SCRAM: the server's message has no {name}").into())
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn hmac(key: &[u8], message: &[u8]) -> Key {
    let mut mac = mac(key);
    mac.update(message);
    mac.finalize().into_bytes().into()
}
