//! What both sides of SCRAM-SHA-256 share: mechanism names, bounds, and the reading of attributes.
//! RFC 5802 and RFC 7677 in PostgreSQL's flavour, where the user name of the start-up packet counts and the one
//! inside the SCRAM messages is ignored. Must not know keys, proofs or which side is speaking.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The longest SCRAM message that is read, in bytes. Real ones have 30 to 400; a field that is longer than this
/// bound comes from a broken or hostile peer.
pub const MAX_MESSAGE: usize = 4096;

/// The highest iteration count that is accepted, from a stored verifier or from a server. Ten million rounds take
/// some seconds of one core; a count beyond that would be a way to stop pgweir by a single message.
pub const MAX_ITERATIONS: u32 = 10_000_000;

/// The iteration count of secrets that pgweir derives itself: PostgreSQL's default.
pub const DEFAULT_ITERATIONS: u32 = 4096;

/// The one channel-binding type that PostgreSQL knows, as it opens a gs2 header.
pub(super) const BINDING_FLAG: &str = "p=tls-server-end-point";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Sha256,
    /// Bound to the TLS channel by the server's certificate.
    Sha256Plus,
}

impl Mechanism {
    /// The name in AuthenticationSASL and SASLInitialResponse.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Sha256 => "SCRAM-SHA-256",
            Mechanism::Sha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }

    /// The mechanism of that name; `None` when pgweir does not speak it.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Mechanism::Sha256, Mechanism::Sha256Plus]
            .into_iter()
            .find(|mechanism| mechanism.name().as_bytes() == name)
    }
}

/// The SCRAM mechanisms that a server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offer {
    pub sha256: bool,
    pub sha256_plus: bool,
}

impl Offer {
    /// Reads the list in AuthenticationSASL, behind the code 10: names that each end in a zero byte, and an empty
    /// name at the end. Names that pgweir does not speak are skipped; `None` when the list is cut short.
    pub fn parse(list: &[u8]) -> Option<Self> {
        let mut offer = Offer::default();
        let mut rest = list;
        loop {
            let end = rest.iter().position(|&byte| byte == 0)?;
            if end == 0 {
                return Some(offer);
            }
            match Mechanism::from_name(&rest[..end]) {
                Some(Mechanism::Sha256) => offer.sha256 = true,
                Some(Mechanism::Sha256Plus) => offer.sha256_plus = true,
                None => {}
            }
            rest = &rest[end + 1..];
        }
    }

    /// The same list as it goes to a client, strongest first as PostgreSQL sends it.
    pub fn to_list(self) -> Vec<u8> {
        let mut list = Vec::with_capacity(40);
        let offered = [(self.sha256_plus, Mechanism::Sha256Plus), (self.sha256, Mechanism::Sha256)];
        for (_, mechanism) in offered.iter().filter(|(offered, _)| *offered) {
            list.extend_from_slice(mechanism.name().as_bytes());
            list.push(0);
        }
        list.push(0);
        list
    }
}

/// What is wrong with a message, in words for the peer. Never holds any of its content.
pub(super) type Fault = &'static str;

/// Checks what holds for every SCRAM message before any of it is read.
pub(super) fn check_message(message: &[u8]) -> Result<(), Fault> {
    if message.len() > MAX_MESSAGE {
        return Err("the message is longer than 4096 bytes");
    }
    if message.contains(&0) {
        return Err("the message contains a zero byte");
    }
    Ok(())
}

/// Walks over `name=value` pairs between commas.
pub(super) struct Attributes<'a> {
    /// `None` once the last pair was taken, so that a comma at the end is told from the end.
    rest: Option<&'a [u8]>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Attributes { rest: Some(message) }
    }

    /// The next pair; `None` at the end.
    pub(super) fn take(&mut self) -> Result<Option<(u8, &'a [u8])>, Fault> {
        let Some(rest) = self.rest else {
            return Ok(None);
        };
        let (pair, rest) = match rest.iter().position(|&byte| byte == b',') {
            Some(comma) => (&rest[..comma], Some(&rest[comma + 1..])),
            None => (rest, None),
        };
        self.rest = rest;
        match pair {
            [name, b'=', value @ ..] if name.is_ascii_alphabetic() => Ok(Some((*name, value))),
            _ => Err("an attribute is not of the form name=value"),
        }
    }

    /// The value of the next pair, which must have this name.
    pub(super) fn expect(&mut self, name: u8, missing: Fault) -> Result<&'a [u8], Fault> {
        match self.take()? {
            Some((b'm', _)) => Err("the message requires an extension that is not supported"),
            Some((found, value)) if found == name => Ok(value),
            _ => Err(missing),
        }
    }

    /// Passes over optional extensions up to the end. They may be ignored (RFC 5802, section 5.1), except `m`, which
    /// asks to be refused by whoever does not know it.
    pub(super) fn skip_extensions(&mut self) -> Result<(), Fault> {
        while let Some((name, _)) = self.take()? {
            if name == b'm' {
                return Err("the message requires an extension that is not supported");
            }
        }
        Ok(())
    }
}

/// A nonce is printable ASCII without a comma, and not empty.
pub(super) fn is_nonce(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',')
}

/// An iteration count: plain decimal digits, from 1 to `u32::MAX`. The caller checks `MAX_ITERATIONS`.
pub(super) fn iterations(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (count > 0).then_some(count)
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Canonical base64 with padding.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Canonical base64 of exactly one SHA-256 output.
pub(super) fn decode_key(text: &[u8]) -> Option<[u8; 32]> {
    decode(text)?.try_into().ok()
}
