//! The client's side of SCRAM-SHA-256: logs pgweir in to a server. Bytes in, bytes out.
//! Must not know frames, sockets or how the credential was found.

use subtle::ConstantTimeEq;

use super::scram::{
    Attributes, BINDING_FLAG, Fault, MAX_ITERATIONS, Mechanism, Offer, check_message, decode, decode_key,
    encode, is_nonce, iterations,
};
use super::scram_keys::{ClientKeys, hmac, sha256, xor};

/// What pgweir logs in with. `Debug` hides the content.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// The password. `cached` keys of an earlier login are used where the server's salt and iteration count are still
    /// theirs; otherwise the keys are derived, which costs about 1 ms per 4096 iterations.
    Password { password: String, cached: Option<ClientKeys> },
    /// Keys that a client's own login has shown (pass-through). The server must hold the same verifier.
    Keys(ClientKeys),
}

/// Why a login to a server failed. The words are for pgweir's operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    #[error("the server's SCRAM message is malformed: {0}")]
    Malformed(&'static str),
    #[error(
        "the server offers no SASL mechanism that pgweir can use here (it speaks SCRAM-SHA-256, and \
         SCRAM-SHA-256-PLUS over TLS): check the server's pg_hba.conf and pgweir's tls settings for it"
    )]
    NoMechanism,
    #[error(
        "the server asks for {0} SCRAM iterations and pgweir stops at {MAX_ITERATIONS}, because computing more would \
         block other connections for seconds: set the password again with a lower scram_iterations"
    )]
    TooManyIterations(u32),
    #[error(
        "the server's SCRAM secret is another one than the client has logged in with: give pgweir the secret that the \
         server holds in pg_authid, or the password itself"
    )]
    DifferentSecret,
    #[error("the server refused the login: {0}")]
    Refused(String),
    #[error(
        "the server could not prove that it knows the password, so it may not be the server it claims to be: check \
         host and port, and use tls mode verify-full"
    )]
    ServerNotProven,
}

impl From<Fault> for ScramError {
    fn from(fault: Fault) -> Self {
        ScramError::Malformed(fault)
    }
}

/// One login. Call `first`, `server_first`, `server_final` in this order.
#[derive(Debug)]
pub struct ScramClient {
    credential: Credential,
    mechanism: Mechanism,
    /// The gs2 header and, for PLUS, the hash of the server's certificate.
    bound: Vec<u8>,
    /// `n=,r=nonce` and the nonce in it. The tests set both to replay published exchanges.
    pub(super) first_bare: String,
    pub(super) nonce: String,
    state: State,
}

#[derive(Debug)]
enum State {
    Start,
    Proven {
        keys: ClientKeys,
        /// The signature that only a server with the right verifier can make.
        expected: [u8; 32],
    },
    Done(ClientKeys),
    Failed,
}

impl ScramClient {
    /// `offer` is what the server's AuthenticationSASL lists; `binding` the `tls-server-end-point` hash of the
    /// server's certificate, `None` without TLS; `nonce` 18 fresh random bytes.
    pub fn new(
        credential: Credential,
        offer: Offer,
        binding: Option<Vec<u8>>,
        nonce: [u8; 18],
    ) -> Result<Self, ScramError> {
        let (mechanism, flag, hash) = match binding {
            Some(hash) if offer.sha256_plus => (Mechanism::Sha256Plus, BINDING_FLAG, hash),
            // `y` tells a server that did offer PLUS that somebody took it out of the list.
            Some(_) if offer.sha256 => (Mechanism::Sha256, "y", Vec::new()),
            None if offer.sha256 => (Mechanism::Sha256, "n", Vec::new()),
            _ => return Err(ScramError::NoMechanism),
        };
        let mut bound = format!("{flag},,").into_bytes();
        bound.extend_from_slice(&hash);
        let nonce = encode(&nonce);
        Ok(ScramClient {
            credential,
            mechanism,
            bound,
            // The user name stays empty, as libpq leaves it: the server takes that of the start-up packet.
            first_bare: format!("n=,r={nonce}"),
            nonce,
            state: State::Start,
        })
    }

    /// The mechanism and content of SASLInitialResponse.
    pub fn first(&self) -> (Mechanism, Vec<u8>) {
        // The header ends with its second comma; nothing before it contains one.
        let header = match self.mechanism {
            Mechanism::Sha256Plus => BINDING_FLAG.len() + 2,
            Mechanism::Sha256 => self.bound.len(),
        };
        let message = [&self.bound[..header], self.first_bare.as_bytes()].concat();
        (self.mechanism, message)
    }

    /// Whether `server_first` would have to run PBKDF2 for this message, so that a caller can do it where it stops
    /// nobody. `false` for malformed messages.
    pub fn will_derive(&self, message: &[u8]) -> bool {
        match (self.read_challenge(message), &self.credential) {
            (Ok(challenge), Credential::Password { cached, .. }) => {
                !cached.as_ref().is_some_and(|keys| challenge.fits(keys))
            }
            _ => false,
        }
    }

    /// Takes the content of AuthenticationSASLContinue and returns that of SASLResponse.
    pub fn server_first(&mut self, message: &[u8]) -> Result<Vec<u8>, ScramError> {
        if !matches!(self.state, State::Start) {
            return Err(ScramError::Malformed("a challenge came out of turn"));
        }
        self.state = State::Failed;
        let challenge = self.read_challenge(message)?;
        let keys = self.keys_for(&challenge)?;

        let mut reply = format!("c={},r=", encode(&self.bound)).into_bytes();
        reply.extend_from_slice(challenge.nonce);
        let auth_message = [self.first_bare.as_bytes(), b",", message, b",", &reply];
        let signature = hmac(&sha256(&keys.client_key), &auth_message);
        let expected = hmac(&keys.server_key, &auth_message);
        let proof = xor(keys.client_key, &signature);
        reply.extend_from_slice(format!(",p={}", encode(&proof)).as_bytes());
        self.state = State::Proven { keys, expected };
        Ok(reply)
    }

    /// Takes the content of AuthenticationSASLFinal. Only when this has returned `Ok` is the server the right one;
    /// an AuthenticationOk before it must be taken as an attack.
    pub fn server_final(&mut self, message: &[u8]) -> Result<(), ScramError> {
        let State::Proven { keys, expected } = std::mem::replace(&mut self.state, State::Failed) else {
            return Err(ScramError::Malformed("a final message came out of turn"));
        };
        check_message(message)?;
        let mut attributes = Attributes::new(message);
        match attributes.take()? {
            Some((b'v', signature)) => {
                attributes.skip_extensions()?;
                let signature = decode_key(signature).ok_or("the signature is not 32 bytes in base64")?;
                if !bool::from(signature.ct_eq(&expected)) {
                    return Err(ScramError::ServerNotProven);
                }
                self.state = State::Done(keys);
                Ok(())
            }
            Some((b'e', reason)) => Err(ScramError::Refused(printable(reason))),
            _ => Err(ScramError::Malformed("the final message has neither v= nor e=")),
        }
    }

    /// The keys of a login that has succeeded, to be passed as `cached` to the next one; `None` before that.
    pub fn into_keys(self) -> Option<ClientKeys> {
        match self.state {
            State::Done(keys) => Some(keys),
            _ => None,
        }
    }

    fn read_challenge<'a>(&self, message: &'a [u8]) -> Result<Challenge<'a>, ScramError> {
        check_message(message)?;
        let mut attributes = Attributes::new(message);
        let nonce = attributes.expect(b'r', "the challenge does not start with r=")?;
        let salt = attributes.expect(b's', "the challenge has no s= after r=")?;
        let count = attributes.expect(b'i', "the challenge has no i= after s=")?;
        attributes.skip_extensions()?;
        let own_part = self.nonce.as_bytes();
        if !is_nonce(nonce) || !nonce.starts_with(own_part) || nonce.len() == own_part.len() {
            return Err(ScramError::Malformed("the nonce does not continue ours"));
        }
        let salt = decode(salt).filter(|salt| !salt.is_empty()).ok_or("the salt is empty or not base64")?;
        let iterations = iterations(count).ok_or("the iteration count is not a number above 0")?;
        if iterations > MAX_ITERATIONS {
            return Err(ScramError::TooManyIterations(iterations));
        }
        Ok(Challenge { nonce, salt, iterations })
    }

    fn keys_for(&self, challenge: &Challenge<'_>) -> Result<ClientKeys, ScramError> {
        match &self.credential {
            Credential::Keys(keys) | Credential::Password { cached: Some(keys), .. }
                if challenge.fits(keys) =>
            {
                Ok(keys.clone())
            }
            Credential::Keys(_) => Err(ScramError::DifferentSecret),
            Credential::Password { password, .. } => {
                Ok(ClientKeys::derive(password.as_bytes(), &challenge.salt, challenge.iterations))
            }
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credential::Password { .. } => "Credential::Password(hidden)",
            Credential::Keys(_) => "Credential::Keys(hidden)",
        })
    }
}

struct Challenge<'a> {
    nonce: &'a [u8],
    salt: Vec<u8>,
    iterations: u32,
}

impl Challenge<'_> {
    fn fits(&self, keys: &ClientKeys) -> bool {
        keys.salt == self.salt && keys.iterations == self.iterations
    }
}

/// A server's words for a log line: at most 200 characters, control characters replaced.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect()
}
