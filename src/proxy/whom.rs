//! As which user pgweir asks its own questions. Knows no connection.

use std::sync::Arc;

use super::hub::{Hub, Live};
use crate::auth::Secret;
use crate::auth::credential::{Learned, ServerLogin};
use crate::observe::counters::PoolCounters;
use crate::probe::ProbeError;

/// As whom to ask: who is wanted; else the user of the settings; else one of those who use the database, best
/// with a password, else with what its login has shown; else any user whose password is known.
pub(super) fn login(
    hub: &Hub,
    live: &Live,
    database: &str,
    wanted: Option<&str>,
) -> Result<ServerLogin, ProbeError> {
    if let Some(user) = wanted {
        return Ok(hub.server_login(live, user));
    }
    if let Some(user) = &live.settings.rules.probe.user {
        return match live.user(user) {
            Some(_) => Ok(hub.server_login(live, user)),
            None => Err(ProbeError::NoLogin(format!(
                "observe.probe.user \"{user}\" is not one of `users`: add it with its password"
            ))),
        };
    }
    let pools = hub.registry.pools();
    let in_use = |pool: &&Arc<PoolCounters>| {
        pool.database == database && (pool.clients.get() > 0 || pool.queries.get() > 0)
    };
    let users = pools.iter().filter(in_use).map(|pool| pool.user.as_str());
    let mut logins: Vec<ServerLogin> = users.map(|user| hub.server_login(live, user)).collect();
    if logins.is_empty() {
        // Who looks up passwords may do more than pgweir needs for this.
        let auth = &live.settings.auth;
        let looks_up = |user: &String| auth.query.as_ref().is_some_and(|query| query.user == *user);
        let configured = auth.users.keys().filter(|user| !looks_up(user));
        let logins_of = configured.map(|user| hub.server_login(live, user));
        logins.extend(logins_of.filter(|login| worth(login) == 0));
    }
    logins.sort_by(|a, b| (worth(a), &a.user).cmp(&(worth(b), &b.user)));
    logins.into_iter().next().ok_or_else(|| {
        let message = "no user of this database has a password that pgweir knows: set observe.probe.user";
        ProbeError::NoLogin(message.to_owned())
    })
}

/// How likely it is that a server lets this login in; 0 is best.
fn worth(login: &ServerLogin) -> u8 {
    match (&login.secret, &login.learned) {
        (Some(Secret::Plain(_)), _) => 0,
        (_, Learned::Password(_)) => 1,
        (_, Learned::Keys(_)) => 2,
        // The server may ask for nothing, or for md5.
        _ => 3,
    }
}
