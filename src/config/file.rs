//! The mirror of pgweir.yaml: every key, its type, its default and its description, nothing resolved.
//! The JSON Schema is made from these types, so the comments here are what editors show.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults::{auth_query, postgres_port};
use super::human::{Human, Workers};

/// The settings of pgweir. Unknown keys are mistakes. Relative paths start at the folder of this file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "pgweir.yaml", extend("required" = ["databases"]))]
pub struct File {
    /// Where clients connect.
    pub listen: Listen,
    /// The HTTP surface: metrics, health checks and the API.
    pub admin: Admin,
    /// Worker threads: a number, or auto (half of the cores, at least 1, at most 8). Needs a restart.
    pub workers: Workers,
    /// By the name that clients ask for; "*" matches every name that is not listed.
    #[schemars(extend("minProperties" = 1))]
    pub databases: BTreeMap<String, Database>,
    /// By user name.
    pub users: BTreeMap<String, User>,
    pub auth: Auth,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub log: Log,
    /// The folder of rule files; it is watched. Default: every rule has its default.
    pub rules: Option<String>,
}

/// Where clients connect.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// The IP address; 0.0.0.0 or "::" for every address. Needs a restart.
    pub address: IpAddr,
    /// 0 lets the system choose. Needs a restart.
    pub port: u16,
    /// A folder in which the socket .s.PGSQL.<port> is made as well. Default: no socket. Needs a restart.
    pub unix_socket_dir: Option<String>,
    /// TLS towards clients. Default: none.
    pub tls: Option<ListenTls>,
}

/// TLS towards clients. The files are PEM and are read again at each reload.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenTls {
    /// The certificate, with its chain.
    pub cert: String,
    /// Its private key.
    pub key: String,
    /// The authority of client certificates; they are asked for only when it is set. Default: none.
    #[serde(default)]
    pub client_ca: Option<String>,
    /// Refuse clients without TLS, Unix sockets excepted.
    #[serde(default)]
    pub required: bool,
}

/// The HTTP surface. An address that is not loopback needs `tls` and at least one token.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// The IP address. Needs a restart.
    pub address: IpAddr,
    /// 0 lets the system choose. Needs a restart.
    pub port: u16,
    /// TLS of the HTTP surface. Default: none.
    pub tls: Option<AdminTls>,
    /// Who may use the API; `pgweir token create` makes an entry.
    pub tokens: Vec<Token>,
    /// A file to which one JSON line is appended for each act. Default: the log.
    pub audit_log: Option<String>,
}

/// TLS of the HTTP surface; PEM files.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminTls {
    pub cert: String,
    pub key: String,
}

/// A bearer token, as `pgweir token create` prints it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Appears in the audit log.
    pub name: String,
    pub role: Role,
    /// sha256: and 64 hexadecimal digits.
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub hash: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May read the API.
    Viewer,
    /// May also act.
    Operator,
    /// May do everything.
    Admin,
}

/// A database that clients may ask for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Tried in order.
    #[schemars(length(min = 1))]
    pub servers: Vec<Server>,
    /// The name on the server. Default: the name that the client asked for.
    #[serde(default)]
    pub database: Option<String>,
    #[serde(default)]
    pub pool: Pool,
    #[serde(default)]
    pub tls: ServerTls,
    /// Clients of this database. Default: limits.clients_per_database.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_clients: Option<u32>,
}

/// A PostgreSQL server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// A name, an IP address, or the folder of a Unix socket (starts with /).
    pub host: String,
    #[serde(default = "postgres_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

/// The pool of server connections, one per user of the database.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    pub mode: PoolMode,
    /// Server connections per user, over all workers.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_size: u32,
    /// Server connections that are kept open even when idle.
    #[schemars(range(min = 0, max = 100_000))]
    pub min_size: u32,
    /// Statements kept prepared per server connection; the least recently used is closed first.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_prepared_statements: u32,
    /// Serve an unnamed Parse from a statement that the server knows already.
    pub reuse_unnamed: bool,
    /// How long a client waits for a server connection before it gets error 53300. Not 0.
    pub queue_wait: Human,
    /// How long opening a server connection may take, login included. Not 0.
    pub connect: Human,
    /// Idle server connections above min_size are closed after this. 0: never.
    pub server_idle: Human,
    /// Server connections are closed after this, when idle. 0: never.
    pub server_lifetime: Human,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PoolMode {
    /// A server belongs to the client until it leaves.
    Session,
    /// A server belongs to the client for a transaction.
    Transaction,
    /// A server belongs to the client for a statement; transactions are refused.
    Statement,
}

/// TLS towards the servers.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerTls {
    pub mode: SslMode,
    /// Trusted authorities (PEM); verify-ca and verify-full need it. Default: none.
    pub ca: Option<String>,
    /// The certificate that pgweir shows to servers (PEM). Default: none.
    pub cert: Option<String>,
    /// The private key of `cert` (PEM).
    pub key: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS if the server has it; nothing is verified.
    #[default]
    Prefer,
    /// TLS or no connection; nothing is verified unless `ca` is set.
    Require,
    /// The certificate must come from `ca`.
    VerifyCa,
    /// The certificate must come from `ca` and name the host.
    VerifyFull,
}

/// A user who may log in. At most one of the three passwords.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct User {
    /// The password, or its verifier: md5… or SCRAM-SHA-256$….
    pub password: Option<String>,
    /// A file that holds the password or its verifier; one line end is cut off.
    pub password_file: Option<String>,
    /// An environment variable that holds the password or its verifier.
    pub password_env: Option<String>,
    /// Log in to servers as this user. Default: the same name.
    pub server_user: Option<String>,
    /// The password for servers. Default: the user's own.
    pub server_password: Option<String>,
    /// A file that holds the password for servers.
    pub server_password_file: Option<String>,
    /// An environment variable that holds the password for servers.
    pub server_password_env: Option<String>,
    /// Connections of this user. Default: limits.clients_per_user.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_clients: Option<u32>,
}

/// Hides the passwords, which the mirror holds as they were written.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("server_user", &self.server_user)
            .field("max_clients", &self.max_clients)
            .finish_non_exhaustive()
    }
}

/// How clients log in.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    pub method: AuthMethod,
    /// More users, in the format of PgBouncer's userlist.txt. `users` wins. Default: none.
    pub userlist_file: Option<String>,
    /// Ask a server for the passwords of users who are not listed. Default: no.
    pub query: Option<AuthQuery>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthMethod {
    /// SCRAM-SHA-256, and SCRAM-SHA-256-PLUS over TLS.
    #[default]
    Scram,
    /// The md5 exchange, for old drivers.
    Md5,
    /// The password in clear text, only over TLS.
    Cleartext,
    /// A client certificate whose common name is the user name.
    Cert,
    /// Nothing is asked; for closed networks only.
    Trust,
}

/// The auth query.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthQuery {
    /// Who runs the query: one of `users`, with a plain password.
    pub user: String,
    /// Takes the user name as $1 and returns its name and verifier.
    #[serde(default = "auth_query")]
    pub query: String,
    /// Where it runs. Default: the database that the client asked for.
    #[serde(default)]
    pub database: Option<String>,
}

/// Bounds in time. 0 means none.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// From accept to the end of the login.
    pub login: Human,
    /// A statement on its server.
    pub query: Human,
    /// From BEGIN to COMMIT.
    pub transaction: Human,
    /// A transaction that waits for its client.
    pub idle_in_transaction: Human,
    /// A client that does nothing.
    pub client_idle: Human,
    /// From SIGTERM to the end.
    pub shutdown: Human,
}

/// Bounds in number.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Clients in all.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub clients: u32,
    /// Clients of one user, unless the user says otherwise. Default: no limit.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub clients_per_user: Option<u32>,
    /// Clients of one database, unless the database says otherwise. Default: no limit.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub clients_per_database: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// error, warn, info, debug or trace; or per part, such as info,pgweir::pool=debug.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line to read.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}
