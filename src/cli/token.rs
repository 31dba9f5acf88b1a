//! Makes bearer tokens. Only the hash of a token goes into the settings; knows nothing of who checks it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore;
use sha2::{Digest, Sha256};

/// Lets secret scanners and people recognise a token that has strayed.
const PREFIX: &str = "pgweir_";

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum RoleName {
    Viewer,
    Operator,
    Admin,
}

impl RoleName {
    fn word(self) -> &'static str {
        match self {
            RoleName::Viewer => "viewer",
            RoleName::Operator => "operator",
            RoleName::Admin => "admin",
        }
    }
}

/// Makes a token of 32 random bytes and returns the text to print: the token and its settings entry.
pub fn create(role: RoleName, name: Option<String>) -> Result<String, String> {
    let mut bytes = [0; 32];
    rand::rngs::OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| format!("the system gives no random bytes: {error}; try again"))?;
    if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        return Err("the name of a token must not be empty".to_owned());
    }
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let hash = hash(&token);
    let name = name.unwrap_or_else(|| format!("{}-{}", role.word(), &hash[7..13]));
    Ok(format!(
        "The token, shown only now:\n\n  {token}\n\nSend it as `Authorization: Bearer <token>`. \
         Add this entry to admin.tokens of pgweir.yaml:\n\n  - {}\n",
        entry(&name, role, &hash)
    ))
}

/// `sha256:` and the hexadecimal digest of the whole token, prefix included. A plain digest is enough:
/// 256 random bits cannot be guessed, unlike a password.
fn hash(token: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// The entry in YAML. A JSON string is a YAML string, whatever characters the name has.
fn entry(name: &str, role: RoleName, hash: &str) -> String {
    let name = serde_json::Value::from(name);
    format!("{{name: {name}, role: {}, hash: \"{hash}\"}}", role.word())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_entry_is_a_valid_setting_for_the_printed_token() {
        let text = create(RoleName::Operator, Some("ci: \"nightly\"".to_owned())).unwrap();
        let token = text.lines().find(|line| line.starts_with("  pgweir_")).unwrap().trim();
        assert_eq!(token.len(), PREFIX.len() + 43);
        let entry = text.lines().find(|line| line.starts_with("  - ")).unwrap();
        let settings = format!(
            "databases: {{app: {{servers: [{{host: db}}]}}}}\nusers: {{a: {{password: x}}}}\n\
             admin:\n  tokens:\n  {entry}\n"
        );
        let settings = crate::config::load_text("pgweir.yaml", &settings, std::path::Path::new("")).unwrap();
        let stored = &settings.admin.tokens[0];
        assert_eq!(stored.name, "ci: \"nightly\"");
        assert_eq!(stored.role, crate::admin::Role::Operator);
        assert_eq!(stored.hash, hash(token));
        assert!(!stored.hash.contains(token));
    }

    #[test]
    fn tokens_differ_and_have_names() {
        let make = || create(RoleName::Viewer, None).unwrap();
        assert_ne!(make(), make());
        assert!(make().contains("name: \"viewer-"));
        assert!(create(RoleName::Viewer, Some(" ".to_owned())).is_err());
    }

    #[test]
    fn the_hash_is_plain_sha256() {
        // FIPS 180-2, example B.1.
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash("abc"), expected);
    }
}
