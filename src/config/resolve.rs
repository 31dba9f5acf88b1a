//! From the mirror to `Settings`: defaults of the machine, files that must exist, and the rules that span
//! several keys. Reports every mistake with its place. Users and passwords are in `users`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::file::{self, File};
use super::human::Human;
use super::rules::{self, Rules};
use super::strict::Report;
use super::yaml::Node;
use super::{ListenSettings, Settings, users};
use crate::admin::{AdminSettings, Role, TokenSettings};
use crate::auth::AuthSettings;
use crate::observe::{LogFormat, LogSettings};
use crate::pool::settings::{DatabaseSettings, PoolMode, PoolSettings, ServerAddress};
use crate::session::limits::{Limits, Timeouts};
use crate::tls::{ClientTls, ServerTls, SslMode};

/// Builds the settings. They are good only if `report` holds no mistake afterwards.
pub fn resolve(file: &File, tree: &Node, folder: &Path, report: &mut Report) -> Settings {
    let mut context = Context { tree, folder, report };
    let databases = databases(&mut context, &file.databases);
    let listen = listen(&mut context, &file.listen);
    let admin = admin(&mut context, &file.admin);
    if listen.port != 0 && (listen.address, listen.port) == (admin.address, admin.port) {
        context.wrong(&["admin", "port"], "the same address and port as listen; choose another");
    }
    let auth = users::auth(&mut context, file);
    let rules_folder = file.rules.as_ref().map(|name| context.folder(&["rules"], name));
    let names = (&auth, file.databases.keys().map(String::as_str));
    let rules = rules_folder.as_deref().map_or_else(Rules::default, |rules| context.rules(rules, names));
    Settings {
        listen,
        admin,
        workers: file.workers.resolve(cores()),
        databases,
        auth,
        timeouts: timeouts(&file.timeouts),
        limits: limits(&file.limits),
        log: log(&mut context, &file.log),
        rules,
        rules_folder,
    }
}

/// Cores that this process may use; 1 where the system does not say.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What the parts of `resolve` share.
pub struct Context<'a> {
    tree: &'a Node,
    folder: &'a Path,
    pub report: &'a mut Report,
}

impl<'a> Context<'a> {
    /// Relative paths start at `folder`.
    pub fn new(tree: &'a Node, folder: &'a Path, report: &'a mut Report) -> Self {
        Context { tree, folder, report }
    }

    /// The rule files, unless the folder itself is wrong already.
    fn rules<'b>(
        &mut self,
        folder: &Path,
        (auth, databases): (&'b AuthSettings, impl Iterator<Item = &'b str>),
    ) -> Rules {
        if self.report.touches("rules") {
            return Rules::default();
        }
        match rules::load_rules(folder, self.folder) {
            Err(mut mistakes) => {
                self.report.mistakes.append(&mut mistakes);
                Rules::default()
            }
            Ok(rules) => {
                let users = auth.users.keys().map(String::as_str);
                self.report.mistakes.extend(rules::check_names(&rules, users, databases, folder));
                rules
            }
        }
    }

    /// A file that pgweir makes where there is none; its folder must exist.
    pub fn new_file(&mut self, path: &[&str], name: &str) -> PathBuf {
        let full = self.path(name);
        // A bare name has the empty parent, which is the working folder.
        let parent = full.parent().filter(|parent| !parent.as_os_str().is_empty());
        if full.is_dir() || !parent.is_none_or(Path::is_dir) {
            self.wrong(path, format!("{} cannot be a file; its folder must exist", full.display()));
        }
        full
    }
    /// Reports a mistake at `path`, unless something there is reported already.
    pub fn wrong(&mut self, path: &[&str], message: impl Into<String>) {
        let name = path.join(".");
        if !self.report.touches(&name) {
            self.report.add(self.tree.find(path), &name, message);
        }
    }

    /// A path of the settings, from the folder of the settings file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file that must be readable.
    pub fn file(&mut self, path: &[&str], name: &str) -> PathBuf {
        let full = self.path(name);
        let problem = match std::fs::File::open(&full).and_then(|file| file.metadata()) {
            Ok(data) if data.is_dir() => "is a folder; a file is needed".to_owned(),
            Ok(_) => return full,
            Err(error) => format!("cannot be read: {error}"),
        };
        self.wrong(path, format!("{} {problem}", full.display()));
        full
    }

    /// A folder that must exist.
    fn folder(&mut self, path: &[&str], name: &str) -> PathBuf {
        let full = self.path(name);
        let problem = match std::fs::metadata(&full) {
            Ok(data) if data.is_dir() => return full,
            Ok(_) => "is not a folder".to_owned(),
            Err(error) => format!("cannot be used: {error}; create the folder"),
        };
        self.wrong(path, format!("{} {problem}", full.display()));
        full
    }
}

fn listen(context: &mut Context<'_>, listen: &file::Listen) -> ListenSettings {
    let unix_socket_dir =
        listen.unix_socket_dir.as_ref().map(|name| context.folder(&["listen", "unix_socket_dir"], name));
    if let Some(folder) = &unix_socket_dir {
        socket_fits(context, &["listen", "unix_socket_dir"], folder, listen.port);
    }
    let tls = listen.tls.as_ref().map(|tls| ClientTls {
        cert: context.file(&["listen", "tls", "cert"], &tls.cert),
        key: context.file(&["listen", "tls", "key"], &tls.key),
        client_ca: tls.client_ca.as_ref().map(|name| context.file(&["listen", "tls", "client_ca"], name)),
        required: tls.required,
    });
    ListenSettings { address: listen.address, port: listen.port, unix_socket_dir, tls }
}

fn admin(context: &mut Context<'_>, admin: &file::Admin) -> AdminSettings {
    if !admin.address.is_loopback() && (admin.tls.is_none() || admin.tokens.is_empty()) {
        let message = format!(
            "{} can be reached from other machines, so it needs admin.tls and at least one entry of \
             admin.tokens (`pgweir token create` makes one)",
            admin.address
        );
        context.wrong(&["admin", "address"], message);
    }
    let tls = admin.tls.as_ref().map(|tls| {
        (context.file(&["admin", "tls", "cert"], &tls.cert), context.file(&["admin", "tls", "key"], &tls.key))
    });
    let audit_log = admin.audit_log.as_ref().map(|name| context.new_file(&["admin", "audit_log"], name));
    AdminSettings {
        address: admin.address,
        port: admin.port,
        tls,
        tokens: tokens(context, &admin.tokens),
        audit_log,
    }
}

fn tokens(context: &mut Context<'_>, tokens: &[file::Token]) -> Vec<TokenSettings> {
    for (index, token) in tokens.iter().enumerate() {
        let index = index.to_string();
        let well_formed = token.hash.strip_prefix("sha256:").is_some_and(|hex| {
            let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            hex.len() == 64 && hex.bytes().all(digit)
        });
        if !well_formed {
            context.wrong(
                &["admin", "tokens", &index, "hash"],
                "expected sha256: and 64 hexadecimal digits, as `pgweir token create` prints them; \
                 the token itself does not belong here",
            );
        }
        let same = tokens.iter().filter(|other| other.name == token.name);
        if token.name.is_empty() || same.count() > 1 {
            context.wrong(
                &["admin", "tokens", &index, "name"],
                "each token needs a name of its own, for the audit log",
            );
        }
    }
    let resolved = tokens.iter().map(|token| TokenSettings {
        name: token.name.clone(),
        role: match token.role {
            file::Role::Viewer => Role::Viewer,
            file::Role::Operator => Role::Operator,
            file::Role::Admin => Role::Admin,
        },
        hash: token.hash.clone(),
    });
    resolved.collect()
}

fn databases(
    context: &mut Context<'_>,
    databases: &BTreeMap<String, file::Database>,
) -> BTreeMap<String, Arc<DatabaseSettings>> {
    let resolved = databases.iter().map(|(name, database)| {
        let servers = servers(context, name, &database.servers);
        if database.database.as_deref() == Some("") {
            context.wrong(
                &["databases", name, "database"],
                "the name is empty; remove the key to use the name that the client asked for",
            );
        }
        let settings = DatabaseSettings {
            servers,
            database: database.database.clone(),
            pool: pool(context, name, &database.pool),
            tls: server_tls(context, name, &database.tls),
            max_clients: database.max_clients.map(size),
        };
        (name.clone(), Arc::new(settings))
    });
    resolved.collect()
}

fn servers(context: &mut Context<'_>, name: &str, servers: &[file::Server]) -> Vec<ServerAddress> {
    // A wrong port was replaced by the default, which would make servers look alike that are not.
    let all_read = !context.report.touches(&format!("databases.{name}.servers"));
    let mut resolved: Vec<ServerAddress> = Vec::new();
    for (index, server) in servers.iter().enumerate() {
        let index = index.to_string();
        let path = ["databases", name, "servers", &index, "host"];
        let address = server_address(&server.host, server.port);
        if server.host.trim().is_empty() {
            context.wrong(&path, "the host is empty");
        } else if server.host.contains("://") || server.host.contains(char::is_whitespace) {
            context
                .wrong(&path, "expected a host name, an IP address or a folder; a URL belongs to --upstream");
        } else if all_read && resolved.contains(&address) {
            context.wrong(&path, "this server is in the list already");
        }
        if let ServerAddress::Unix { directory, port } = &address {
            socket_fits(context, &path, directory, *port);
        }
        resolved.push(address);
    }
    resolved
}

/// Systems keep the path of a socket in a field of fixed size, and binding or connecting fails beyond it.
fn socket_fits(context: &mut Context<'_>, path: &[&str], folder: &Path, port: u16) {
    // 108 bytes on Linux, 104 on the BSDs and macOS, each with a zero byte at the end.
    const MOST: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
    let socket = folder.join(format!(".s.PGSQL.{port}"));
    let length = socket.as_os_str().len();
    if length > MOST {
        context.wrong(
            path,
            format!("the path of the socket has {length} bytes and the system takes {MOST}; choose a shorter folder"),
        );
    }
}

/// A host that starts with `/` is the folder of a socket, as in libpq.
pub fn server_address(host: &str, port: u16) -> ServerAddress {
    if host.starts_with('/') {
        ServerAddress::Unix { directory: PathBuf::from(host), port }
    } else {
        // As in a URL; a bare address is what resolvers take.
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        ServerAddress::Tcp { host: bare.unwrap_or(host).to_owned(), port }
    }
}

fn pool(context: &mut Context<'_>, name: &str, pool: &file::Pool) -> PoolSettings {
    if pool.min_size > pool.max_size {
        let message = format!("min_size {} is larger than max_size {}", pool.min_size, pool.max_size);
        context.wrong(&["databases", name, "pool", "min_size"], message);
    }
    for (key, Human(value)) in [("queue_wait", pool.queue_wait), ("connect", pool.connect)] {
        if value.is_zero() {
            context.wrong(
                &["databases", name, "pool", key],
                "0 would wait for ever or not at all; give a duration such as 15s",
            );
        }
    }
    PoolSettings {
        mode: match pool.mode {
            file::PoolMode::Session => PoolMode::Session,
            file::PoolMode::Transaction => PoolMode::Transaction,
            file::PoolMode::Statement => PoolMode::Statement,
        },
        max_size: size(pool.max_size),
        min_size: size(pool.min_size),
        max_prepared_statements: size(pool.max_prepared_statements),
        reuse_unnamed: pool.reuse_unnamed,
        queue_wait: pool.queue_wait.0,
        connect: pool.connect.0,
        server_idle: pool.server_idle.0,
        server_lifetime: pool.server_lifetime.0,
    }
}

fn server_tls(context: &mut Context<'_>, name: &str, tls: &file::ServerTls) -> ServerTls {
    let mode = match tls.mode {
        file::SslMode::Disable => SslMode::Disable,
        file::SslMode::Prefer => SslMode::Prefer,
        file::SslMode::Require => SslMode::Require,
        file::SslMode::VerifyCa => SslMode::VerifyCa,
        file::SslMode::VerifyFull => SslMode::VerifyFull,
    };
    if matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull) && tls.ca.is_none() {
        context.wrong(
            &["databases", name, "tls", "mode"],
            "verifying a server needs the file of its authority in tls.ca",
        );
    }
    if tls.cert.is_some() != tls.key.is_some() {
        context.wrong(&["databases", name, "tls"], "cert and key go together; only one of them is set");
    }
    let mut file = |key: &str, value: &Option<String>| {
        let path = ["databases", name, "tls", key];
        value.as_ref().map(|value| context.file(&path, value))
    };
    ServerTls { mode, ca: file("ca", &tls.ca), cert: file("cert", &tls.cert), key: file("key", &tls.key) }
}

fn timeouts(timeouts: &file::Timeouts) -> Timeouts {
    let plain = |human: Human| -> Duration { human.0 };
    Timeouts {
        login: plain(timeouts.login),
        query: plain(timeouts.query),
        transaction: plain(timeouts.transaction),
        idle_in_transaction: plain(timeouts.idle_in_transaction),
        client_idle: plain(timeouts.client_idle),
        shutdown: plain(timeouts.shutdown),
    }
}

fn limits(limits: &file::Limits) -> Limits {
    Limits {
        clients: size(limits.clients),
        clients_per_user: limits.clients_per_user.map(size),
        clients_per_database: limits.clients_per_database.map(size),
    }
}

/// A number of the mirror as the rooms count; the schema bounds it far below any overflow.
pub fn size(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn log(context: &mut Context<'_>, log: &file::Log) -> LogSettings {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in log.level.split(',') {
        let level = directive.rsplit('=').next().unwrap_or(directive).trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let meant = super::mistake::nearest(level, LEVELS);
            let meant = meant.map_or(String::new(), |name| format!("; did you mean {name}?"));
            let message = format!("{level:?} is not a level: {}{meant}", LEVELS.join(", "));
            context.wrong(&["log", "level"], message);
        }
    }
    LogSettings {
        level: log.level.clone(),
        format: match log.format {
            file::LogFormat::Text => LogFormat::Text,
            file::LogFormat::Json => LogFormat::Json,
        },
    }
}
