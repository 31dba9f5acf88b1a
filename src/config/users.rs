//! From the mirror to `AuthSettings`: users, where their passwords come from, and how they may log in.
//! No message repeats a password or the content of a password file.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::file::{self, File};
use super::mistake::nearest;
use super::resolve::{Context, size};
use super::strict::Report;
use super::userlist;
use super::yaml::Position;
use crate::auth::{AuthMethod, AuthQuery, AuthSettings, Secret, UserSettings};

/// A password file is one line; whoever names a larger file has named the wrong one.
const PASSWORD_FILE_BYTES: u64 = 64 * 1024;
/// About half a million users.
const USERLIST_BYTES: u64 = 64 * 1024 * 1024;

pub fn auth(context: &mut Context<'_>, file: &File) -> AuthSettings {
    let method = match file.auth.method {
        file::AuthMethod::Scram => AuthMethod::Scram,
        file::AuthMethod::Md5 => AuthMethod::Md5,
        file::AuthMethod::Cleartext => AuthMethod::Cleartext,
        file::AuthMethod::Cert => AuthMethod::Cert,
        file::AuthMethod::Trust => AuthMethod::Trust,
    };
    let mut users = BTreeMap::new();
    for (name, user) in &file.users {
        users.insert(name.clone(), settings_user(context, name, user));
    }
    if let Some(name) = &file.auth.userlist_file {
        add_userlist(context, name, &mut users);
    }
    let auth = AuthSettings {
        method,
        query: file.auth.query.as_ref().map(|query| AuthQuery {
            user: query.user.clone(),
            query: query.query.clone(),
            database: query.database.clone(),
        }),
        users,
    };
    // A user whose entry is wrong already would only bring consequences here.
    if !context.report.touches("users") && !context.report.touches("auth") {
        check_method(context, file, &auth);
        check_secrets(context, file, &auth);
        check_query(context, &auth);
    }
    auth
}

fn settings_user(context: &mut Context<'_>, name: &str, user: &file::User) -> UserSettings {
    if name.is_empty() {
        context.wrong(&["users", name], "the user name is empty");
    }
    let own = [
        ("password", &user.password),
        ("password_file", &user.password_file),
        ("password_env", &user.password_env),
    ];
    let server = [
        ("server_password", &user.server_password),
        ("server_password_file", &user.server_password_file),
        ("server_password_env", &user.server_password_env),
    ];
    UserSettings {
        secret: secret(context, name, own),
        server_user: user.server_user.clone(),
        server_secret: secret(context, name, server),
        max_clients: user.max_clients.map(size),
    }
}

/// The password of one of three keys: as it is, from a file, from the environment.
fn secret(context: &mut Context<'_>, user: &str, keys: [(&str, &Option<String>); 3]) -> Option<Secret> {
    let mut set =
        keys.iter().enumerate().filter_map(|(source, (key, value))| Some((source, *key, value.as_deref()?)));
    let (source, key, value) = set.next()?;
    let path = ["users", user, key];
    if let Some((_, other, _)) = set.next() {
        context.wrong(&["users", user, other], format!("{key} is set as well; keep one of the two"));
    }
    let text = match source {
        0 => Ok(value.to_owned()),
        1 => password_of_file(&context.path(value)),
        _ => std::env::var(value).map_err(|error| match error {
            std::env::VarError::NotPresent => {
                format!("the environment variable {value} is not set")
            }
            std::env::VarError::NotUnicode(_) => {
                format!("the environment variable {value} is not UTF-8")
            }
        }),
    };
    let found = text.and_then(|text| match text.as_str() {
        "" => Err("the password is empty; nobody could log in with it".to_owned()),
        text if text.contains('\0') => Err("the password holds a zero byte".to_owned()),
        text => userlist::secret(text),
    });
    found.map_err(|message| context.wrong(&path, message)).ok()
}

/// The content of a file without one line end.
fn password_of_file(path: &Path) -> Result<String, String> {
    let text = read_bounded(path, PASSWORD_FILE_BYTES)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains('\n') {
        return Err(format!("{} has more than one line; it must hold the password alone", path.display()));
    }
    Ok(line.to_owned())
}

/// Reads a text file of at most `most` bytes. `Err` names the file and what is wrong.
pub fn read_bounded(path: &Path, most: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    if bytes.len() as u64 > most {
        return Err(format!("{} is larger than {most} bytes; is it the right file?", path.display()));
    }
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", path.display()))
}

/// Adds the users of a `userlist.txt`. What the settings say of a user wins, key by key.
fn add_userlist(context: &mut Context<'_>, name: &str, users: &mut BTreeMap<String, UserSettings>) {
    let path = context.path(name);
    let text = match read_bounded(&path, USERLIST_BYTES) {
        Ok(text) => text,
        Err(message) => return context.wrong(&["auth", "userlist_file"], message),
    };
    match userlist::parse(&text) {
        Ok(entries) => {
            for (user, secret) in entries {
                let entry = users.entry(user).or_default();
                entry.secret = entry.secret.take().or(secret);
            }
        }
        Err(wrong) => {
            let mut listed = Report::new(path.display().to_string());
            for (line, message) in wrong {
                listed.add(Position { line, column: 1 }, "", message);
            }
            context.report.mistakes.append(&mut listed.mistakes);
        }
    }
}

fn check_method(context: &mut Context<'_>, file: &File, auth: &AuthSettings) {
    let path = ["auth", "method"];
    let tls = file.listen.tls.as_ref();
    match auth.method {
        AuthMethod::Cert if tls.is_none_or(|tls| tls.client_ca.is_none()) => {
            context.wrong(&path, "client certificates need listen.tls with its client_ca");
        }
        AuthMethod::Cleartext if tls.is_none() => {
            context.wrong(&path, "passwords in clear text need TLS; set listen.tls, or use scram");
        }
        _ => {}
    }
    let asks_password = !matches!(auth.method, AuthMethod::Cert | AuthMethod::Trust);
    if asks_password && auth.users.is_empty() && auth.query.is_none() {
        context.wrong(&["users"], "nobody could log in; add a user, auth.userlist_file or auth.query");
    }
}

fn check_secrets(context: &mut Context<'_>, file: &File, auth: &AuthSettings) {
    let asks_password = !matches!(auth.method, AuthMethod::Cert | AuthMethod::Trust);
    for name in file.users.keys() {
        let Some(user) = auth.users.get(name) else {
            continue;
        };
        if asks_password && user.secret.is_none() && auth.query.is_none() {
            context.wrong(
                &["users", name],
                "this user has no password and could not log in; set password, password_file or \
                 password_env",
            );
        }
        if auth.method == AuthMethod::Scram && matches!(user.secret, Some(Secret::Md5(_))) {
            context.wrong(
                &["users", name],
                "an md5 verifier does not serve auth.method scram; give the password or a SCRAM \
                 verifier, or set auth.method to md5",
            );
        }
        if matches!(user.server_secret, Some(Secret::Scram(_))) {
            context.wrong(
                &["users", name],
                "a SCRAM verifier cannot log in to a server; give the server password itself",
            );
        }
    }
}

fn check_query(context: &mut Context<'_>, auth: &AuthSettings) {
    let Some(query) = &auth.query else {
        return;
    };
    let path = ["auth", "query", "user"];
    let Some(user) = auth.users.get(&query.user) else {
        let meant = nearest(&query.user, auth.users.keys().map(String::as_str))
            .map_or(String::new(), |name| format!("; did you mean {name}?"));
        return context
            .wrong(&path, format!("this user is not listed; add it to users with its password{meant}"));
    };
    let secret = user.server_secret.as_ref().or(user.secret.as_ref());
    if !matches!(secret, Some(Secret::Plain(_))) {
        context.wrong(
            &path,
            "this user logs in to the server by itself, so its password must be plain, not a verifier",
        );
    }
    if !query.query.contains("$1") {
        context.wrong(&["auth", "query", "query"], "the user name must be asked for as $1");
    }
}
