//! pgweir as a process: serves until a signal ends it, and reads its settings again on SIGHUP or when a file changed.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::running::{Running, start_reloading};
use crate::config::{self, Settings};

/// Runs until SIGTERM or SIGINT; SIGHUP and a changed file reload.
///
/// # Errors
/// What could not be started.
pub fn run_blocking(settings: Settings, reload_from: Option<PathBuf>) -> Result<(), String> {
    let running = start_reloading(settings, reload_from.clone())?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(until_told(&running, reload_from))?;
    tracing::info!("ending: transactions may finish, a second signal ends at once");
    let bound = running.hub.live().settings.timeouts.shutdown;
    running.drain();
    runtime.block_on(async {
        let emptied = async {
            while running.clients() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = emptied => {}
            () = tokio::time::sleep(bound) => tracing::warn!("closing what has not ended within {bound:?}"),
            _ = end_signal() => tracing::warn!("a second signal: closing everything"),
        }
    });
    running.kill();
    running.wait();
    Ok(())
}

async fn end_signal() -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

/// How often the settings file is looked at. A poll misses no kind of replacement, a Kubernetes
/// ConfigMap's swapped link included.
const WATCH: Duration = Duration::from_secs(2);

async fn until_told(running: &Running, path: Option<PathBuf>) -> Result<(), String> {
    let mut hangup =
        signal(SignalKind::hangup()).map_err(|error| format!("cannot listen for signals: {error}"))?;
    let mut seen = stamps(running, path.as_deref());
    let ended = end_signal();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            outcome = &mut ended => return outcome,
            _ = hangup.recv() => log_reload(running.reload()),
            () = tokio::time::sleep(WATCH) => {
                let now = stamps(running, path.as_deref());
                if now != seen && now.iter().all(Option::is_some) {
                    seen = now;
                    log_reload(running.reload());
                }
            }
        }
    }
}

/// A file, when it was written and how long it is.
type Stamp = (PathBuf, SystemTime, u64);

/// The settings file, the certificates and the rule files.
fn stamps(running: &Running, path: Option<&Path>) -> Vec<Option<Stamp>> {
    let live = running.hub.live();
    let tls = live.settings.listen.tls.as_ref();
    let certificates =
        tls.into_iter().flat_map(|tls| [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()]);
    let rules = live.settings.rules_folder.as_deref().map(config::rules::files).unwrap_or_default();
    let named = path.map(Path::to_owned).into_iter().chain(certificates.flatten().cloned());
    named
        .chain(rules)
        .map(|file| {
            let meta = std::fs::metadata(&file).ok()?;
            Some((file, meta.modified().ok()?, meta.len()))
        })
        .collect()
}

fn log_reload(outcome: Result<(), String>) {
    if let Err(mistakes) = outcome {
        tracing::error!("the settings were not reloaded and the old ones stay in force:\n{mistakes}");
    }
}
