//! Settings from a connection URL alone, for `pgweir run --upstream`. Reads URLs as libpq does.
//! No error repeats the URL or any part that may be a password.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::human::Workers;
use super::mistake::nearest;
use super::resolve::{cores, server_address};
use super::rules::{Rules, load_rules};
use super::{ListenSettings, Settings};
use crate::admin::AdminSettings;
use crate::auth::{AuthSettings, Secret, UserSettings};
use crate::observe::LogSettings;
use crate::pool::settings::{DatabaseSettings, ServerAddress};
use crate::session::limits::{Limits, Timeouts};
use crate::tls::{ServerTls, SslMode};

/// Settings for one server. Clients log in with the user and the password of `url`; both the database of
/// the URL and every other name lead to that server. A password that the URL does not hold is taken from
/// the environment variable `PGPASSWORD`.
pub fn from_upstream(
    url: &str,
    listen: SocketAddr,
    admin: SocketAddr,
    rules: Option<PathBuf>,
) -> Result<Settings, String> {
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let upstream = Upstream::parse(url, &environment)?;
    if !admin.ip().is_loopback() {
        return Err(format!(
            "the admin address {admin} can be reached from other machines, so it needs TLS and a token; \
             use a loopback address such as 127.0.0.1:6433, or a settings file with admin.tls and \
             admin.tokens (pgweir run --config)"
        ));
    }
    if listen == admin && listen.port() != 0 {
        return Err(format!(
            "{listen} is given for clients and for the admin surface; choose another port for one"
        ));
    }
    if let Some(folder) = rules.as_ref().filter(|folder| !folder.is_dir()) {
        return Err(format!(
            "the rules folder {} does not exist; create it or leave out --rules",
            folder.display()
        ));
    }
    let read = match &rules {
        None => Rules::default(),
        Some(folder) => load_rules(folder, Path::new(""))
            .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?,
    };
    Ok(Settings { rules: read, rules_folder: rules, ..upstream.settings(listen, admin) })
}

/// A database by its URL, for questions that need no settings file: the name on the server, where it is, and
/// as whom to ask.
///
/// # Errors
/// What is wrong with the URL; nothing of it is repeated.
pub fn database_of(url: &str) -> Result<(String, DatabaseSettings, String, Secret), String> {
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let upstream =
        Upstream::parse(url, &environment).map_err(|error| error.replace("upstream ", "database "))?;
    let mut settings =
        DatabaseSettings { servers: upstream.servers, tls: upstream.tls, ..DatabaseSettings::default() };
    settings.pool.connect = upstream.connect.unwrap_or(settings.pool.connect);
    Ok((upstream.database, settings, upstream.user, upstream.password))
}

/// What a URL says, decoded.
struct Upstream {
    servers: Vec<ServerAddress>,
    user: String,
    password: Secret,
    database: String,
    tls: ServerTls,
    connect: Option<std::time::Duration>,
}

/// The parameters that a URL may carry behind its question mark.
const PARAMETERS: [&str; 11] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "connect_timeout",
    "application_name",
];

impl Upstream {
    fn parse(url: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Upstream, String> {
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or("the upstream must be a URL such as postgres://user:password@host:5432/database")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if rest.rfind('@') > rest.find('/') && rest.contains('/') || query.contains('@') {
            // Part of a password would be taken for a host or a parameter, and repeated in an error.
            return Err(
                "the upstream URL has an @ behind a / or a ?; in a password write / as %2F, ? as %3F \
                 and @ as %40"
                    .to_owned(),
            );
        }
        let mut parameters = parameters(query)?;
        let mut take = |name: &str| parameters.remove(name).filter(|value| !value.is_empty());
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (decode(user)?, decode(password)?),
            None => (decode(login)?, String::new()),
        };
        let user = take("user")
            .or(Some(user).filter(|user| !user.is_empty()))
            .or_else(|| environment("PGUSER"))
            .ok_or("the upstream URL names no user; write postgres://USER:password@host/database")?;
        let password = take("password")
            .or(Some(password).filter(|password| !password.is_empty()))
            .or_else(|| environment("PGPASSWORD"))
            .ok_or_else(|| {
                format!(
                    "the upstream URL holds no password for {user}; clients and pgweir log in with it. \
                     Write postgres://{user}:PASSWORD@…, or set PGPASSWORD, or use a settings file \
                     (pgweir run --config) for client certificates or trust"
                )
            })?;
        let database = take("dbname")
            .or(Some(decode(path)?).filter(|name| !name.is_empty()))
            .unwrap_or_else(|| user.clone());
        let connect = take("connect_timeout").map(|text| connect_timeout(&text));
        let servers = servers(hosts, take("host"), take("port"))?;
        Ok(Upstream {
            servers,
            password: Secret::Plain(password),
            user,
            database,
            tls: tls(&mut take)?,
            connect: connect.transpose()?.flatten(),
        })
    }

    fn settings(self, listen: SocketAddr, admin: SocketAddr) -> Settings {
        let mut any =
            DatabaseSettings { servers: self.servers, tls: self.tls, ..DatabaseSettings::default() };
        if let Some(connect) = self.connect {
            any.pool.connect = connect;
        }
        let named = DatabaseSettings { database: Some(self.database.clone()), ..any.clone() };
        let user = UserSettings { secret: Some(self.password), ..UserSettings::default() };
        Settings {
            listen: ListenSettings {
                address: listen.ip(),
                port: listen.port(),
                unix_socket_dir: None,
                tls: None,
            },
            admin: AdminSettings {
                address: admin.ip(),
                port: admin.port(),
                tls: None,
                tokens: Vec::new(),
                audit_log: None,
            },
            workers: Workers::Auto.resolve(cores()),
            databases: BTreeMap::from([("*".to_owned(), Arc::new(any)), (self.database, Arc::new(named))]),
            auth: AuthSettings { users: BTreeMap::from([(self.user, user)]), ..AuthSettings::default() },
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            log: LogSettings::default(),
            rules: Rules::default(),
            rules_folder: None,
        }
    }
}

fn parameters(query: &str) -> Result<BTreeMap<String, String>, String> {
    let mut parameters = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name)?;
        if !PARAMETERS.contains(&name.as_str()) {
            let meant =
                nearest(&name, PARAMETERS).map_or(String::new(), |meant| format!(" Did you mean {meant}?"));
            return Err(format!(
                "the upstream URL has a parameter {name}; pgweir knows {}.{meant}",
                PARAMETERS.join(", ")
            ));
        }
        parameters.insert(name, decode(value)?);
    }
    Ok(parameters)
}

/// Host lists are separated by commas; one port serves all hosts, or each has its own.
fn servers(
    authority: &str,
    host: Option<String>,
    port: Option<String>,
) -> Result<Vec<ServerAddress>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for part in authority.split(',') {
        let colon = match part.rfind(']') {
            Some(bracket) => part[bracket..].find(':').map(|at| bracket + at),
            None => part.rfind(':'),
        };
        let (host, port) = match colon {
            Some(at) => (&part[..at], &part[at + 1..]),
            None => (part, ""),
        };
        pairs.push((decode(host)?, port.to_owned()));
    }
    if let Some(host) = host {
        pairs = host.split(',').map(|host| (host.to_owned(), String::new())).collect();
    }
    if let Some(port) = port {
        let ports: Vec<&str> = port.split(',').collect();
        if ports.len() != 1 && ports.len() != pairs.len() {
            return Err("the upstream URL lists another number of ports than of hosts".to_owned());
        }
        for (index, pair) in pairs.iter_mut().enumerate() {
            pair.1 = ports[index % ports.len()].to_owned();
        }
    }
    let mut servers = Vec::new();
    for (host, port) in pairs {
        let host = match host.as_str() {
            "" => "127.0.0.1",
            host => host,
        };
        let port = match port.as_str() {
            "" => super::defaults::postgres_port(),
            text => text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                "the upstream URL has a port that is not a number from 1 to 65535".to_owned()
            })?,
        };
        let server = server_address(host, port);
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    Ok(servers)
}

fn tls(take: &mut dyn FnMut(&str) -> Option<String>) -> Result<ServerTls, String> {
    const MODES: [(&str, SslMode); 6] = [
        ("disable", SslMode::Disable),
        ("allow", SslMode::Prefer),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];
    let mode = match take("sslmode") {
        None => SslMode::default(),
        Some(text) => {
            MODES.iter().find_map(|(name, mode)| (*name == text).then_some(*mode)).ok_or_else(|| {
                let names = MODES.map(|(name, _)| name).join(", ");
                format!("the upstream URL has sslmode={text}; expected one of {names}")
            })?
        }
    };
    let mut file = |name: &str| -> Result<Option<PathBuf>, String> {
        let Some(path) = take(name).map(PathBuf::from) else {
            return Ok(None);
        };
        match std::fs::File::open(&path) {
            Ok(_) => Ok(Some(path)),
            Err(error) => Err(format!("{name} {} cannot be read: {error}", path.display())),
        }
    };
    let tls = ServerTls { mode, ca: file("sslrootcert")?, cert: file("sslcert")?, key: file("sslkey")? };
    if matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull) && tls.ca.is_none() {
        return Err(
            "verifying the server needs its authority; add sslrootcert=FILE to the upstream URL".to_owned()
        );
    }
    if tls.cert.is_some() != tls.key.is_some() {
        return Err("sslcert and sslkey of the upstream URL go together".to_owned());
    }
    Ok(tls)
}

/// Seconds, as in libpq; 0 means our own default there too, because every wait here has a bound.
fn connect_timeout(text: &str) -> Result<Option<std::time::Duration>, String> {
    let seconds: u32 =
        text.parse().map_err(|_| "connect_timeout of the upstream URL must be whole seconds".to_owned())?;
    Ok((seconds > 0).then(|| std::time::Duration::from_secs(u64::from(seconds))))
}

/// Percent-decoding. A plus sign stays one, as in libpq.
fn decode(text: &str) -> Result<String, String> {
    const BROKEN: &str = "the upstream URL has a % without two hexadecimal digits; write % as %25";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(BROKEN.to_owned());
        };
        // Two hexadecimal digits fill a byte exactly.
        bytes.push((high * 16 + low) as u8);
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err("the upstream URL does not decode to UTF-8 text without zero bytes".to_owned()),
    }
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
