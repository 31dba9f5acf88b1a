//! One worker's part of `/api/database/connections`.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::control::{Control, State};
use super::hub::{Hub, Mail};
use super::worker::Worker;
use crate::admin::{ClientView, PoolView, ServerView};
use crate::pool::lend::Pool;
use crate::pool::settings::{PoolMode, ServerAddress};

/// Every pool of this worker with its clients and servers.
pub fn pools(worker: &Rc<Worker>) -> Vec<PoolView> {
    let now = worker.clock.ms();
    let mut views: BTreeMap<(String, String), PoolView> = BTreeMap::new();
    worker.each_pool(|pool| {
        views.insert((pool.database.clone(), pool.user.clone()), view(worker.index, pool, now));
    });
    worker.each_session(|control| {
        let key = (control.pool.database.clone(), control.pool.user.clone());
        let Some(view) = views.get_mut(&key) else {
            return;
        };
        let client = client(worker.index, control, now);
        if let Some(pid) = client.server_pid {
            view.servers.push(ServerView {
                worker: worker.index,
                pid,
                state: "active",
                ..Default::default()
            });
        }
        view.clients.push(client);
    });
    views.into_values().collect()
}

/// Adds what another worker reported.
pub fn merge(into: &mut Vec<PoolView>, from: Vec<PoolView>) {
    for view in from {
        match into.iter_mut().find(|known| known.database == view.database && known.user == view.user) {
            Some(known) => {
                known.clients.extend(view.clients);
                known.servers.extend(view.servers);
            }
            None => into.push(view),
        }
    }
}

fn view(worker: usize, pool: &Pool, now: u64) -> PoolView {
    let config = pool.config.borrow();
    let mode = match config.settings.pool.mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => "transaction",
        PoolMode::Statement => "statement",
    };
    let mut servers = Vec::new();
    pool.each_idle(|server| {
        servers.push(ServerView {
            worker,
            address: address(&server.address),
            pid: server.key.pid,
            state: "idle",
            age_ms: now.saturating_sub(server.opened_ms),
            prepared_statements: server.memory.statements(),
        });
    });
    PoolView {
        database: pool.database.clone(),
        user: pool.user.clone(),
        mode,
        max_size: config.settings.pool.max_size,
        clients: Vec::new(),
        servers,
    }
}

fn client(worker: usize, control: &Control, now: u64) -> ClientView {
    let state = control.state.get();
    let serves = !matches!(state, State::Waiting) && control.server_pid.get() != 0;
    ClientView {
        id: control.id,
        worker,
        address: control.peer.to_string(),
        application_name: control.application.borrow().to_string(),
        state: state.label(),
        state_ms: now.saturating_sub(control.since_ms.get()),
        pinned_by: control.pinned_by.get().map(|reason| reason.label()),
        server_pid: serves.then(|| control.server_pid.get()),
    }
}

fn address(address: &ServerAddress) -> String {
    match address {
        ServerAddress::Tcp { host, port } => format!("{host}:{port}"),
        ServerAddress::Unix { directory, port } => format!("{}:{port}", directory.display()),
    }
}

/// What all workers report of their pools; who does not answer in time is left out.
pub async fn all(hub: &Hub) -> Vec<PoolView> {
    let mut pools = Vec::new();
    for mailbox in &hub.mailboxes {
        let (answer, letter) = tokio::sync::oneshot::channel();
        if mailbox.send(Mail::Report(answer)).is_ok()
            && let Ok(Ok(part)) = tokio::time::timeout(PATIENCE, letter).await
        {
            merge(&mut pools, part);
        }
    }
    pools
}

/// A worker answers between two wake-ups of its sessions.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
