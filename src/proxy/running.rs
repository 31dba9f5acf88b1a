//! A running pgweir: its threads, its reload, its end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;

use super::hub::{Hub, Live, Mail};
use super::keeping::{self, Keeper, Word};
use super::worker::Worker;
use super::{advising, building, listen, maintaining, probing, report, tending};
use crate::admin::{AdminHandle, Advices, Answer, Fabric, IndexAct, PoolView};
use crate::config::{self, Settings};
use crate::maintain::desk::Desk;
use crate::observe::findings::Finding;

/// pgweir at work. Dropping it does not end it; `shutdown` does.
pub struct Running {
    /// Where clients connect; the real port when the settings said 0.
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub(super) hub: Arc<Hub>,
    workers: Vec<JoinHandle<()>>,
    probe: JoinHandle<()>,
    adviser: JoinHandle<()>,
    maintenance: JoinHandle<()>,
    tending: JoinHandle<()>,
    _socket: Option<listen::SocketFile>,
    reloader: Arc<Reloader>,
    /// Reads shapes in the background.
    parser: JoinHandle<()>,
    keeper: Keeper,
}

/// Starts workers, listeners and the admin surface.
///
/// # Errors
/// A sentence that says what could not be started and what to do.
pub fn start(settings: Settings) -> Result<Running, String> {
    start_reloading(settings, None)
}

/// The same, with the file that a reload reads.
pub(super) fn start_reloading(settings: Settings, reload_from: Option<PathBuf>) -> Result<Running, String> {
    let listener = listen::bind(SocketAddr::new(settings.listen.address, settings.listen.port))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let socket = settings.listen.unix_socket_dir.as_deref();
    let mut socket =
        socket.map(|directory| listen::SocketFile::bind(directory, address.port())).transpose()?;
    let unix = socket.as_mut().and_then(|socket| socket.listener.take());
    let (admin, count) = (settings.admin.clone(), settings.workers.max(1));
    let (mailboxes, letters): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
    let hub = Hub::new(Live::build(settings, 0)?, mailboxes);
    keeping::apply(&hub.registry, &hub.live().settings.rules);
    let keeper = Keeper::start(hub.clone())?;
    let reloader = Arc::new(Reloader {
        hub: hub.clone(),
        path: reload_from,
        keeper: Mutex::new(keeper.words()),
        generation: Mutex::new(0),
        admin: OnceLock::new(),
    });
    let handle = crate::admin::start(admin, hub.registry.clone(), reloader.clone())?;
    let (admin, auditor) = (handle.address(), Arc::new(handle.auditor()));
    // It was empty: nobody else has the reloader yet but the surface that has just started.
    let _ = reloader.admin.set(Mutex::new(Some(handle)));
    let mut listeners = Some((listener, unix));
    let mut workers = Vec::new();
    for (index, letters) in letters.into_iter().enumerate() {
        let (hub, doors) = (hub.clone(), listeners.take());
        let thread = std::thread::Builder::new().name(format!("worker-{index}"));
        let spawned = thread.spawn(move || work(index, hub, letters, doors));
        workers.push(spawned.map_err(|error| format!("cannot start a worker thread: {error}"))?);
    }
    let probe = probing::start(hub.clone())?;
    let adviser = advising::start(hub.clone())?;
    hub.yard.open(auditor.clone());
    let maintenance = maintaining::start(hub.clone(), auditor)?;
    let tending = tending::start(hub.clone())?;
    let parser = crate::observe::facts::start(hub.registry.clone());
    let parser = parser.map_err(|error| format!("cannot start the parser's thread: {error}"))?;
    tracing::info!(listen = %address, %admin, workers = count, "pgweir is serving");
    Ok(Running {
        listen: address,
        admin,
        hub,
        workers,
        probe,
        adviser,
        maintenance,
        tending,
        parser,
        keeper,
        _socket: socket,
        reloader,
    })
}

type Doors = (std::net::TcpListener, Option<std::os::unix::net::UnixListener>);

/// The life of a worker thread.
fn work(index: usize, hub: Arc<Hub>, letters: mpsc::UnboundedReceiver<Mail>, doors: Option<Doors>) {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!("a worker could not start: {error}"),
    };
    runtime.block_on(async move {
        let worker = Worker::new(index, hub);
        if let Some((tcp, unix)) = doors {
            open_doors(&worker, tcp, unix);
        }
        worker.run(letters).await;
    });
}

fn open_doors(
    worker: &Rc<Worker>,
    tcp: std::net::TcpListener,
    unix: Option<std::os::unix::net::UnixListener>,
) {
    match tokio::net::TcpListener::from_std(tcp) {
        Ok(listener) => worker.keep_door(tokio::task::spawn_local(listen::tcp(worker.clone(), listener))),
        Err(error) => tracing::error!("the listener could not be used: {error}"),
    }
    match unix.map(tokio::net::UnixListener::from_std) {
        Some(Ok(listener)) => {
            worker.keep_door(tokio::task::spawn_local(listen::unix(worker.clone(), listener)))
        }
        Some(Err(error)) => tracing::error!("the Unix socket could not be used: {error}"),
        None => {}
    }
}

impl Running {
    /// Stops accepting, lets transactions end within the settings' bound, then ends what is left. Blocks.
    pub fn shutdown(&self) {
        let bound = self.hub.live().settings.timeouts.shutdown;
        self.drain();
        let deadline = Instant::now() + bound;
        while Instant::now() < deadline && self.clients() > 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
    }

    /// Stops accepting and asks every session to end with its transaction.
    pub fn drain(&self) {
        self.hub.draining.store(true, Relaxed);
        self.hub.tell_all(|| Mail::Drain);
    }

    /// Ends everything at once.
    pub fn kill(&self) {
        self.hub.draining.store(true, Relaxed);
        self.hub.tell_all(|| Mail::Kill);
    }

    /// Waits until the workers have ended, which takes a `shutdown` or `kill`.
    pub fn wait(self) {
        for worker in self.workers {
            join(worker, "a worker");
        }
        self.hub.registry.facts.end();
        self.hub.yard.end();
        join(self.tending, "the thread that tends indexes");
        self.hub.advising.end();
        join(self.adviser, "the adviser");
        join(self.parser, "the parser");
        self.keeper.finish();
        self.hub.maintaining.end();
        join(self.maintenance, "the thread of maintenance");
        // What was saved last may have gone to a database.
        self.hub.probing.end();
        join(self.probe, "the probe");
        // Last, so that `/readyz` tells of the end while there is anything to end.
        if let Some(handle) = self.reloader.take_admin() {
            handle.shutdown();
        }
    }

    pub fn clients(&self) -> usize {
        self.hub.loads.iter().map(|load| load.load(Relaxed)).sum()
    }

    /// The loops that were found so far, the costliest first.
    pub fn findings(&self) -> Vec<Finding> {
        self.hub.registry.findings.list()
    }

    /// The catalog of a database has been read.
    pub fn has_read(&self, database: &str) -> bool {
        self.hub.registry.catalogs.catalog(database).is_some()
    }

    /// Statements that were sent with bounds for a partitioned table, so far.
    pub fn narrowed(&self) -> u64 {
        self.hub.registry.pools().iter().map(|pool| pool.narrowed.get()).sum()
    }

    /// Where questions to the databases are left.
    pub fn probing(&self) -> &probing::Desk {
        &self.hub.probing
    }

    /// Reads the settings again, as SIGHUP does.
    ///
    /// # Errors
    /// What is wrong with them; the old ones stay.
    pub fn reload(&self) -> Result<(), String> {
        self.reloader.reload_now()
    }
}

fn join(thread: JoinHandle<()>, what: &str) {
    if thread.join().is_err() {
        tracing::error!("{what} had panicked");
    }
}

/// The rules alone, read again, where the other settings have no file.
fn read_rules(old: &Settings) -> Result<Settings, String> {
    let mut settings = old.clone();
    if let Some(folder) = &old.rules_folder {
        settings.rules = config::load_rules(folder, Path::new("")).map_err(lines)?;
    }
    Ok(settings)
}

fn lines(mistakes: Vec<config::Mistake>) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Puts changed settings in place.
struct Reloader {
    hub: Arc<Hub>,
    path: Option<PathBuf>,
    /// Hears of changes.
    keeper: Mutex<Sender<Word>>,
    generation: Mutex<u64>,
    admin: OnceLock<Mutex<Option<AdminHandle>>>,
}

impl Reloader {
    fn take_admin(&self) -> Option<AdminHandle> {
        self.admin.get()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The HTTP surface takes over its tokens and certificate.
    fn reload_admin(&self, settings: &Settings) -> Result<(), String> {
        let Some(admin) = self.admin.get() else {
            return Ok(());
        };
        let held = admin.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map_or(Ok(()), |admin| admin.reload(&settings.admin))
    }

    fn reload_now(&self) -> Result<(), String> {
        let mut generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.hub.live();
        let new = match &self.path {
            None => read_rules(&old.settings)?,
            Some(path) => config::load(path).map_err(lines)?,
        };
        let changes = config::explain_changes(&old.settings, &new);
        crate::observe::log::set_level(&new.log.level)?;
        let live = Live::build(new, *generation + 1)?;
        self.reload_admin(&live.settings)?;
        *generation += 1;
        keeping::apply(&self.hub.registry, &live.settings.rules);
        self.hub.replace(live);
        // It fails only when the thread has ended, and then nothing is kept any more.
        let _ = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).send(Word::Look);
        tracing::info!(
            "settings reloaded: {}",
            if changes.is_empty() { "nothing changed".into() } else { changes.join("; ") }
        );
        Ok(())
    }
}

impl Fabric for Reloader {
    fn connections(&self) -> Answer<'_, Vec<PoolView>> {
        Box::pin(report::all(&self.hub))
    }

    fn ready(&self) -> Result<(), String> {
        if self.hub.draining.load(Relaxed) { Err("shutting down".to_owned()) } else { Ok(()) }
    }

    fn reload(&self) -> Answer<'_, Result<(), String>> {
        Box::pin(async { self.reload_now() })
    }

    fn advice(&self, fresh: bool, budget: Option<u64>) -> Answer<'_, Result<Advices, String>> {
        Box::pin(async move {
            let mut advices = self.hub.advising.advice(fresh, budget).await?;
            advices.history = building::history(&self.hub);
            advices.dismissed = self.hub.registry.indexes.dismissals();
            advices.auto = self.hub.yard.status();
            Ok(advices)
        })
    }

    fn act_on_index(&self, id: &str, what: IndexAct) -> Result<(), String> {
        building::order(&self.hub, id, self.hub.advising.suggestion(id), what)
    }

    fn maintenance(&self) -> Option<&Desk> {
        Some(&self.hub.maintaining)
    }
}
