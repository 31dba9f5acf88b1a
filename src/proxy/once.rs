//! One look at a database's catalog, for commands that serve nobody. Blocking.

use std::sync::Arc;

use crate::auth::credential::ServerLogin;
use crate::catalog::Catalog;
use crate::config::Settings;
use crate::pool::connector::Connector;
use crate::probe::{Probe, Target};

/// The catalog of the first database of these settings that has a name, as the first of their users.
///
/// # Errors
/// A sentence: nobody to ask as, or the server's or the network's trouble. Holds no password.
pub fn catalog(settings: &Settings) -> Result<Catalog, String> {
    let named = settings.databases.iter().find(|(name, _)| *name != "*");
    let (name, database) = named.ok_or("the settings name no database")?;
    let (user, known) = settings.auth.users.iter().next().ok_or("the settings name no user")?;
    let login = ServerLogin { user: user.clone(), secret: known.secret.clone(), learned: Default::default() };
    let target = Target {
        database: database.database.clone().unwrap_or_else(|| name.clone()),
        servers: database.servers.clone(),
        login,
        tls: Arc::new(Connector::new(&database.tls).map_err(|error| error.to_string())?),
        connect: database.pool.connect,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot ask the database: {error}"))?;
    let asked = runtime.block_on(async { Probe::new(target, &settings.rules.probe)?.catalog().await });
    asked.map_err(|error| format!("cannot read the catalog of {name}: {error}"))
}
