//! What pgweir can log in to a server with: the stored secret, and what a client's own login has shown.
//! Must not know connections; errors name what the operator has to add.

use super::Secret;
use super::md5::Md5Secret;
use super::scram_client::Credential;
use super::scram_keys::ClientKeys;

/// What a client's login has shown beyond the stored secret. Keep it per user, and drop it when the secret changes.
/// `Debug` hides the content.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Learned {
    /// Certificate, trust and md5 logins show nothing that could be used again.
    #[default]
    Nothing,
    /// From a clear-text login.
    Password(String),
    /// From a SCRAM login.
    Keys(ClientKeys),
}

/// A user on a server. `Debug` hides secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLogin {
    pub user: String,
    /// The secret of that user. An md5 secret holds for the user name that it was made for.
    pub secret: Option<Secret>,
    /// Only what this very user has shown: nothing of a client that is mapped to another server user.
    pub learned: Learned,
}

/// The server asks for a proof that pgweir cannot give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server asks user \"{user}\" for {asked} but pgweir has {has}: {remedy}")]
pub struct MissingCredential {
    pub user: String,
    pub asked: &'static str,
    pub has: &'static str,
    pub remedy: &'static str,
}

const GIVE_PASSWORD: &str = "give its password in `users`";
const LOGIN_FIRST: &str =
    "a client has to log in to pgweir as this user by SCRAM first, or give its password in `users`";

impl ServerLogin {
    /// For AuthenticationSASL. `cached` are keys that an earlier login to the same server returned.
    pub fn scram(&self, cached: Option<ClientKeys>) -> Result<Credential, MissingCredential> {
        if let Some(password) = self.password() {
            return Ok(Credential::Password { password: password.to_owned(), cached });
        }
        match (&self.learned, &self.secret) {
            (Learned::Keys(keys), _) => Ok(Credential::Keys(keys.clone())),
            (_, Some(Secret::Scram(_))) => Err(self.missing("SCRAM", LOGIN_FIRST)),
            _ => Err(self.missing("SCRAM", GIVE_PASSWORD)),
        }
    }

    /// For AuthenticationMD5Password: the answer, without the zero byte at its end.
    pub fn md5(&self, salt: [u8; 4]) -> Result<String, MissingCredential> {
        let secret = match (self.password(), &self.secret) {
            (Some(password), _) => Some(Md5Secret::derive(password.as_bytes(), &self.user)),
            (None, Some(Secret::Md5(text))) => Md5Secret::parse(text),
            _ => None,
        };
        secret.map(|secret| secret.response(salt)).ok_or_else(|| self.missing("md5", GIVE_PASSWORD))
    }

    /// For AuthenticationCleartextPassword: the password, without a zero byte.
    pub fn cleartext(&self) -> Result<&str, MissingCredential> {
        self.password().ok_or_else(|| self.missing("a clear-text password", GIVE_PASSWORD))
    }

    fn password(&self) -> Option<&str> {
        match (&self.secret, &self.learned) {
            (Some(Secret::Plain(password)), _) | (_, Learned::Password(password)) => Some(password),
            _ => None,
        }
    }

    fn missing(&self, asked: &'static str, remedy: &'static str) -> MissingCredential {
        MissingCredential {
            user: self.user.clone(),
            asked,
            has: match (&self.secret, &self.learned) {
                (Some(Secret::Plain(_)), _) => "a plain password",
                (Some(Secret::Md5(_)), _) => "only an md5 secret",
                (Some(Secret::Scram(_)), _) => "only a SCRAM secret",
                (None, Learned::Keys(_)) => "only the SCRAM keys of a client's login",
                (None, _) => "no secret",
            },
            remedy,
        }
    }
}

impl std::fmt::Debug for Learned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Learned::Nothing => "Learned::Nothing",
            Learned::Password(_) => "Learned::Password(hidden)",
            Learned::Keys(_) => "Learned::Keys(hidden)",
        })
    }
}
