//! Bearer tokens: how they are made and what of them is stored. Knows nothing of HTTP or of settings files.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};

/// Makes a token recognisable to people and to tools that look for leaked secrets.
const PREFIX: &str = "pgweir_";
const HASH_PREFIX: &str = "sha256:";

/// A new token (`pgweir_` and 32 random bytes in base64url), and the hash that the settings hold.
pub fn create() -> (String, String) {
    let mut secret = [0_u8; 32];
    rand::rng().fill_bytes(&mut secret);
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
    let hash = hash(&token);
    (token, hash)
}

/// `sha256:` and 64 hex digits. A plain hash is enough because a token is 256 random bits, not a password
/// that somebody chose: there is nothing to guess faster than the token itself.
pub fn hash(token: &str) -> String {
    let mut text = HASH_PREFIX.to_owned();
    for byte in digest(token) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads what [`hash`] writes; `Err` says what is wrong with it, without repeating it.
pub fn parse_hash(text: &str) -> Result<[u8; 32], String> {
    let wrong =
        || "a token's hash is `sha256:` and 64 hex digits, as `pgweir token create` prints it".to_owned();
    let digits = text.strip_prefix(HASH_PREFIX).ok_or_else(wrong)?.as_bytes();
    if digits.len() != 64 {
        return Err(wrong());
    }
    let mut hash = [0_u8; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| (pair[at] as char).to_digit(16).ok_or_else(wrong);
        *byte = (digit(0)? * 16 + digit(1)?) as u8;
    }
    Ok(hash)
}

pub(super) fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_their_hashes_can_be_read_back() {
        let (first, first_hash) = create();
        let (second, second_hash) = create();
        assert_ne!(first, second);
        assert_ne!(first_hash, second_hash);
        assert!(first.starts_with("pgweir_") && first.len() == 7 + 43);
        assert_eq!(hash(&first), first_hash);
        assert_eq!(parse_hash(&first_hash), Ok(digest(&first)));
    }

    #[test]
    fn the_hash_is_the_one_that_sha256sum_prints() {
        assert_eq!(hash("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn what_is_no_hash_is_refused_and_not_repeated() {
        let upper = hash("abc").to_uppercase().replace("SHA256:", "sha256:");
        assert_eq!(parse_hash(&upper), Ok(digest("abc")));
        for bad in ["", "sha256:", "pgweir_secret", "sha256:zz", &hash("x")[..70]] {
            let error = parse_hash(bad).unwrap_err();
            assert!(bad.is_empty() || !error.contains("secret"), "{error}");
        }
        assert!(parse_hash(&format!("sha256:{}", "g".repeat(64))).is_err());
        assert!(parse_hash(&format!("sha256:{}", "é".repeat(32))).is_err());
    }
}
