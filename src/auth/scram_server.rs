//! The server's side of SCRAM-SHA-256: checks a client. Bytes in, bytes out.
//! Must not know frames, sockets or where the verifier came from.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::scram::{
    Attributes, BINDING_FLAG, Fault, Mechanism, Offer, check_message, decode_key, encode, is_nonce,
};
use super::scram_keys::{ClientKeys, Verifier, hmac, sha256, xor};
use crate::error::ClientError;

/// Why a client was not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthFailure {
    /// The message breaks the protocol.
    Malformed(Fault),
    /// Channel binding does not fit: a proxy in between, or a driver that was told something else.
    Binding(Fault),
    /// The password is wrong or the user unknown; nobody learns which.
    WrongProof,
}

/// A client that has proven who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The content of AuthenticationSASLFinal.
    pub server_final: Vec<u8>,
    /// What pgweir may log in with to a server that holds the same verifier.
    pub keys: ClientKeys,
}

/// One login. Call `client_first`, then `client_final`, each once.
pub struct ScramServer {
    verifier: Arc<Verifier>,
    binding: Option<Vec<u8>>,
    /// Our part. The tests set it to replay published exchanges.
    pub(super) nonce: String,
    state: State,
}

enum State {
    Start,
    Challenged {
        /// Client's and server's part together.
        nonce: Vec<u8>,
        /// What `c=` has to say, in base64.
        expected_binding: String,
        /// `client-first-message-bare,server-first-message`, the first part of the AuthMessage.
        transcript: Vec<u8>,
    },
    Done,
}

impl ScramServer {
    /// `binding` is the `tls-server-end-point` hash of our certificate; `None` without TLS, and then PLUS is not
    /// offered. `nonce` are 18 fresh random bytes.
    pub fn new(verifier: Arc<Verifier>, binding: Option<Vec<u8>>, nonce: [u8; 18]) -> Self {
        ScramServer { verifier, binding, nonce: encode(&nonce), state: State::Start }
    }

    /// What AuthenticationSASL has to offer.
    pub fn offer(&self) -> Offer {
        Offer { sha256: true, sha256_plus: self.binding.is_some() }
    }

    /// Takes the content of SASLInitialResponse and returns that of AuthenticationSASLContinue.
    pub fn client_first(&mut self, mechanism: Mechanism, message: &[u8]) -> Result<Vec<u8>, AuthFailure> {
        if !matches!(self.state, State::Start) {
            return Err(AuthFailure::Malformed("a first message came twice"));
        }
        // Whatever goes wrong below ends the exchange.
        self.state = State::Done;
        check_message(message)?;
        let (header, bare) = split_gs2_header(message)?;
        self.check_binding(mechanism, header)?;
        let client_nonce = read_bare(bare)?;

        let mut nonce = client_nonce.to_vec();
        nonce.extend_from_slice(self.nonce.as_bytes());
        let mut server_first = b"r=".to_vec();
        server_first.extend_from_slice(&nonce);
        server_first.extend_from_slice(b",s=");
        server_first.extend_from_slice(encode(&self.verifier.salt).as_bytes());
        server_first.extend_from_slice(format!(",i={}", self.verifier.iterations).as_bytes());

        let mut bound = header.to_vec();
        if let (Mechanism::Sha256Plus, Some(hash)) = (mechanism, &self.binding) {
            bound.extend_from_slice(hash);
        }
        self.state = State::Challenged {
            nonce,
            expected_binding: encode(&bound),
            transcript: [bare, b",", &server_first].concat(),
        };
        Ok(server_first)
    }

    /// Takes the content of SASLResponse and checks the proof.
    pub fn client_final(&mut self, message: &[u8]) -> Result<Outcome, AuthFailure> {
        let State::Challenged { nonce, expected_binding, transcript } =
            std::mem::replace(&mut self.state, State::Done)
        else {
            return Err(AuthFailure::Malformed("a final message came out of turn"));
        };
        check_message(message)?;
        let (without_proof, proof) = split_proof(message)?;
        let mut attributes = Attributes::new(without_proof);
        let binding = attributes.expect(b'c', "the final message does not start with c=")?;
        let echoed = attributes.expect(b'r', "the final message has no r= after c=")?;
        attributes.skip_extensions()?;
        if echoed != nonce {
            return Err(AuthFailure::Malformed("the nonce is not the one of this exchange"));
        }
        if binding != expected_binding.as_bytes() {
            return Err(AuthFailure::Binding("the channel binding does not match this connection"));
        }
        self.check_proof(&[&transcript, b",", without_proof], proof)
    }

    /// The client's choice of channel binding against the mechanism and against what was offered.
    fn check_binding(&self, mechanism: Mechanism, header: &[u8]) -> Result<(), AuthFailure> {
        let flag = &header[..header.len().saturating_sub(2)];
        let bound = flag == BINDING_FLAG.as_bytes();
        match (mechanism, flag) {
            (Mechanism::Sha256Plus, _) if self.binding.is_none() => {
                Err(AuthFailure::Malformed("SCRAM-SHA-256-PLUS was not offered on this connection"))
            }
            (Mechanism::Sha256Plus, _) if bound => Ok(()),
            (Mechanism::Sha256Plus, b"n" | b"y") => {
                Err(AuthFailure::Malformed("SCRAM-SHA-256-PLUS was chosen without channel binding data"))
            }
            (Mechanism::Sha256, b"n") => Ok(()),
            // The client could have used PLUS and did not see it offered: somebody removed it from the list.
            (Mechanism::Sha256, b"y") if self.binding.is_some() => Err(AuthFailure::Binding(
                "the client supports channel binding but thinks the server does not; this server does",
            )),
            (Mechanism::Sha256, b"y") => Ok(()),
            (Mechanism::Sha256, _) if bound => {
                Err(AuthFailure::Malformed("SCRAM-SHA-256 was chosen with channel binding data"))
            }
            (_, [b'p', b'=', ..]) => {
                Err(AuthFailure::Malformed("the channel binding type is not tls-server-end-point"))
            }
            _ => Err(AuthFailure::Malformed("the channel binding flag is none of n, y and p")),
        }
    }

    fn check_proof(&self, message: &[&[u8]], proof: [u8; 32]) -> Result<Outcome, AuthFailure> {
        let verifier = &self.verifier;
        let client_key = xor(proof, &hmac(&verifier.stored_key, message));
        if !bool::from(sha256(&client_key).ct_eq(&verifier.stored_key)) {
            return Err(AuthFailure::WrongProof);
        }
        let signature = hmac(&verifier.server_key, message);
        Ok(Outcome {
            server_final: format!("v={}", encode(&signature)).into_bytes(),
            keys: ClientKeys {
                iterations: verifier.iterations,
                salt: verifier.salt.clone(),
                client_key,
                server_key: verifier.server_key,
            },
        })
    }
}

impl AuthFailure {
    /// The error that the client reads, with PostgreSQL's codes.
    pub fn client_error(&self, user: &str) -> ClientError {
        match self {
            AuthFailure::Malformed(fault) => {
                ClientError::fatal("08P01", format!("malformed SCRAM message: {fault}"))
                    .hint("Update the client's PostgreSQL driver, or set auth method md5 for it.")
            }
            AuthFailure::Binding(fault) => {
                ClientError::fatal("28000", format!("SCRAM channel binding check failed: {fault}")).hint(
                    "Something between client and pgweir ends the TLS connection. Connect directly, or with \
                 channel_binding=disable if that is meant to be so.",
                )
            }
            AuthFailure::WrongProof => password_failed(user),
        }
    }
}

impl From<Fault> for AuthFailure {
    fn from(fault: Fault) -> Self {
        AuthFailure::Malformed(fault)
    }
}

/// The one answer to a wrong password, an unknown user and a user who cannot use this method.
pub fn password_failed(user: &str) -> ClientError {
    ClientError::fatal("28P01", format!("password authentication failed for user \"{user}\""))
}

/// Cuts `flag,authzid,` from what follows. The header keeps both commas, as channel binding wants it.
fn split_gs2_header(message: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let cut = "the first message has no gs2 header";
    let flag_end = message.iter().position(|byte| *byte == b',').ok_or(cut)?;
    let rest = &message[flag_end + 1..];
    match rest.first() {
        Some(b',') => Ok(message.split_at(flag_end + 2)),
        Some(b'a') => Err("an authorization identity is not supported"),
        _ => Err(cut),
    }
}

/// Reads `n=user,r=nonce` and returns the nonce. The user is ignored: the start-up packet has said who it is.
fn read_bare(bare: &[u8]) -> Result<&[u8], Fault> {
    let mut attributes = Attributes::new(bare);
    attributes.expect(b'n', "the first message has no n= after its header")?;
    let nonce = attributes.expect(b'r', "the first message has no r= after n=")?;
    attributes.skip_extensions()?;
    if !is_nonce(nonce) {
        return Err("the nonce is empty or not printable");
    }
    Ok(nonce)
}

/// Cuts `,p=proof` from the end.
fn split_proof(message: &[u8]) -> Result<(&[u8], [u8; 32]), Fault> {
    let comma = message.iter().rposition(|byte| *byte == b',').ok_or("the final message has no proof")?;
    let proof =
        message[comma + 1..].strip_prefix(b"p=").ok_or("the final message does not end with its proof")?;
    let proof = decode_key(proof).ok_or("the proof is not 32 bytes in base64")?;
    Ok((&message[..comma], proof))
}
