//! Proofs of identity: SCRAM, md5, stored secrets, user lists. Pure: no sockets, no files, no clock;
//! random bytes come in as arguments.

pub mod credential;
pub mod md5;
pub mod mock;
pub mod scram;
pub mod scram_client;
pub mod scram_keys;
pub mod scram_server;
pub mod secret;
pub mod verify;

#[cfg(test)]
mod scram_malformed_tests;
#[cfg(test)]
mod scram_properties;
#[cfg(test)]
mod scram_tests;
#[cfg(test)]
mod verify_tests;

use std::collections::BTreeMap;

/// How clients have to prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthMethod {
    /// SCRAM-SHA-256, and SCRAM-SHA-256-PLUS over TLS.
    #[default]
    Scram,
    /// The md5 exchange, for old drivers; also works for users whose plain password is known.
    Md5,
    /// The password in clear text, refused unless the connection is TLS.
    Cleartext,
    /// A TLS client certificate whose common name is the user name.
    Cert,
    /// Nothing is asked. Only when the settings say `trust` by name.
    Trust,
}

/// What pgweir knows of a user's password. Never printed: `Debug` hides the content.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The password itself.
    Plain(String),
    /// `md5` + 32 hex digits, as in `pg_authid` or a `userlist.txt`.
    Md5(String),
    /// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, as in `pg_authid`.
    Scram(String),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Secret::Plain(_) => "Secret::Plain(hidden)",
            Secret::Md5(_) => "Secret::Md5(hidden)",
            Secret::Scram(_) => "Secret::Scram(hidden)",
        })
    }
}

/// One user of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserSettings {
    /// `None`: only client certificates, trust or the auth query can let this user in.
    pub secret: Option<Secret>,
    /// Log in to servers as this user instead of the client's own name.
    pub server_user: Option<String>,
    /// The secret for that; default: `secret`.
    pub server_secret: Option<Secret>,
    /// Connections this user may have open in all; `None` means no limit of its own.
    pub max_clients: Option<usize>,
}

/// Who may log in, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthSettings {
    pub method: AuthMethod,
    /// Users of the settings and of `userlist.txt`, the settings winning.
    pub users: BTreeMap<String, UserSettings>,
    /// Asks a server for the secret of a user who is not in `users`.
    pub query: Option<AuthQuery>,
}

/// The auth query: run as `user` on the database a client asked for (or on `database`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthQuery {
    /// One of `AuthSettings::users`; its secret must be plain.
    pub user: String,
    /// Takes the user name as `$1`, returns (name, secret).
    pub query: String,
    pub database: Option<String>,
}
