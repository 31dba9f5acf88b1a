//! Look-ups of many clients that are asked together: with nothing of its kind under way a look-up goes at once and
//! alone; while one is, others of its kind queue, and leave together as one query when it has landed. Nobody joins a
//! flight that has left. One `Lines` per pool and worker; what may be asked together, and how, `coalesce` decides.

mod ahead;
mod alike;
mod child;
mod compose;
mod deferring;
mod fetch;
mod flight;
mod harvest;
mod inserting;
mod joining;
mod learned;
mod line;
mod looking;
mod merged;
mod merging;
mod noting;
mod plan;
mod seat;
mod site;
mod survey;
mod witness;
mod writing;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::worker::Worker;
use crate::catalog::Catalog;
use crate::coalesce::insert::Mode;
use crate::coalesce::prefetch::Child;
use crate::coalesce::prefetch::level::{Isolation, Level};
use crate::coalesce::prefetch::template::Templates;
use crate::coalesce::settings::{CoalesceSettings, Insert};
use crate::coalesce::writes::WriteSet;
use crate::observe::coalescing::{Entry, Key, Status};
use crate::observe::fences::SharedFence;
use crate::observe::loops::Board;
use crate::pool::lend::Pool;
use crate::pool::shape::{Shape, Shapes};
use crate::pool::template::Site as SiteId;
use crate::session::lookup::{Lookup, Values};

pub(super) use ahead::Ahead;
pub(super) use inserting::Inserting;
use line::Line;
pub(super) use looking::{Fetching, Looked, Surveying};
pub(super) use noting::Keeping;
pub(super) use seat::Place;
pub(super) use site::Lead;
use site::Site;
use writing::{KnownWrites, ShapeWrites};
pub(super) use writing::{Writing, settle_lost};

/// Kinds of look-ups followed per pool and worker; an application has some hundreds.
const SITES_MAX: usize = 2_000;

/// The look-ups of one pool on one worker.
pub struct Lines {
    worker: Weak<Worker>,
    pool: Weak<Pool>,
    settings: RefCell<Rc<CoalesceSettings>>,
    /// Of these, what is asked for at every statement.
    on: Cell<bool>,
    keeps: Cell<bool>,
    /// Of the database, and whether a rule asks for it.
    fence: RefCell<Arc<SharedFence>>,
    fenced: Cell<bool>,
    /// Schema changes seen, and the Unix time at which the last of them was.
    schema: Cell<(u64, u64)>,
    pub(super) writes: KnownWrites,
    /// It is being asked whether writes of lost connections are over.
    settling: Cell<bool>,
    /// Whoever finds out about statements takes turns, so that it is one server more and not one for each.
    surveys: tokio::sync::Mutex<()>,
    /// Of transactions that name none.
    isolation: Cell<Option<Isolation>>,
    /// Which look-ups follow which results; where the other workers say it; the last changes that were told and heard.
    templates: RefCell<Templates>,
    board: Arc<Board>,
    told: Cell<u64>,
    heard: Cell<u64>,
    counts: RefCell<HashMap<u64, Arc<Entry>, foldhash::fast::RandomState>>,
    pub inserts: merged::Inserts,
    numbers: alike::Numbers,
    sites: RefCell<HashMap<SiteId, Rc<Site>, foldhash::fast::RandomState>>,
    /// Open lines by the look-ups that they are for.
    children: RefCell<HashMap<ChildId, Weak<Line>, foldhash::fast::RandomState>>,
}

/// Statement, result formats and settings of a look-up, as `Child` has them, and which of its values vary.
type ChildId = (u64, u32, u64, u32);

impl Lines {
    pub fn new(worker: &Rc<Worker>, pool: &Rc<Pool>) -> Rc<Self> {
        let lines = Rc::new(Lines {
            worker: Rc::downgrade(worker),
            pool: Rc::downgrade(pool),
            settings: RefCell::default(),
            on: Cell::default(),
            keeps: Cell::default(),
            fence: RefCell::default(),
            fenced: Cell::default(),
            schema: Cell::default(),
            writes: KnownWrites::default(),
            settling: Cell::default(),
            surveys: tokio::sync::Mutex::default(),
            isolation: Cell::default(),
            templates: RefCell::default(),
            board: worker.hub.registry.loops.of(&pool.database, &pool.user),
            told: Cell::default(),
            heard: Cell::default(),
            counts: RefCell::default(),
            inserts: merged::Inserts::default(),
            numbers: alike::Numbers::default(),
            sites: RefCell::default(),
            children: RefCell::default(),
        });
        lines.configure(worker, pool);
        lines
    }

    /// Takes over the settings, at the start and at a reload.
    pub fn configure(&self, worker: &Worker, pool: &Pool) {
        let settings = worker.hub.live().settings.rules.coalesce.clone();
        let fences = &worker.hub.registry.fences;
        *self.fence.borrow_mut() = fences.of(&pool.config.borrow().settings.real(&pool.database));
        self.fenced.set(settings.fences());
        self.on.set(settings.enabled);
        self.keeps.set(settings.remembers());
        self.inserts.mode.set(match settings.insert {
            _ if !settings.enabled => Mode::Off,
            Insert::Off => Mode::Off,
            // Commits of several connections together are not built.
            Insert::Merged | Insert::Grouped => Mode::Merged,
            Insert::Deferred => Mode::Deferred,
        });
        *self.settings.borrow_mut() = Rc::new(settings);
        self.sites.borrow_mut().clear();
        self.children.borrow_mut().clear();
    }

    pub(super) fn fence(&self) -> Option<Arc<SharedFence>> {
        self.fenced.get().then(|| self.fence.borrow().clone())
    }

    /// A statement that may change the schema is about to be sent, or was answered.
    pub(super) fn schema_changes(&self) {
        self.fence.borrow().schema_changes();
    }

    /// Counts the schema changes seen on this database, by any of its users.
    pub(super) fn epoch(&self) -> u64 {
        self.fence.borrow().schema()
    }

    /// Whether this catalog was read after the last of them.
    fn is_fresh(&self, catalog: &Catalog, now_s: u64) -> bool {
        let (seen, mut changed_s) = self.schema.get();
        let epoch = self.epoch();
        if seen != epoch {
            changed_s = now_s;
            self.schema.set((epoch, changed_s));
        }
        catalog.facts.read_at_s > changed_s
    }

    /// Look-ups may be asked together.
    pub(super) fn is_on(&self) -> bool {
        self.on.get()
    }

    /// Whether answers may be kept beyond fixed snapshots.
    pub(super) fn keeps(&self) -> bool {
        self.keeps.get()
    }

    /// Of transactions that name none; `None`: not known.
    fn default_isolation(&self) -> Option<Isolation> {
        self.isolation.get()
    }

    /// What the statements of a message may write.
    fn writes_of(&self, shapes: &Shapes, worker: &Worker, database: &str) -> Rc<ShapeWrites> {
        match shapes {
            Shapes::One(shape) => self.writes.of(shape, self, worker, database),
            _ => Rc::new(ShapeWrites { set: WriteSet::All, ends: true }),
        }
    }

    /// What is known of look-ups like this one.
    fn site(&self, lookup: &Lookup, input: &[u8], values: &Values) -> Rc<Site> {
        let mut sites = self.sites.borrow_mut();
        if let Some(site) = sites.get(&lookup.site) {
            return site.clone();
        }
        if sites.len() >= SITES_MAX {
            // Those in use come back at once, and learn anew.
            sites.clear();
        }
        let site = Rc::new(Site::new(lookup, input, values, self.counts(&lookup.shape)));
        sites.insert(lookup.site, site.clone());
        site
    }

    /// Where this worker counts what becomes of a shape.
    fn counts(&self, shape: &Shape) -> Arc<Entry> {
        if let Some(known) = self.counts.borrow().get(&shape.fingerprint) {
            return known.clone();
        }
        let entry = match (self.worker.upgrade(), self.pool.upgrade()) {
            (Some(worker), Some(pool)) => {
                let key = Key { database: pool.database.as_str().into(), fingerprint: shape.fingerprint };
                worker.hub.registry.coalescing.enter(key, &Arc::from(&*shape.text))
            }
            _ => Arc::default(),
        };
        let mut counts = self.counts.borrow_mut();
        if counts.len() < SITES_MAX {
            counts.insert(shape.fingerprint, entry.clone());
        }
        entry
    }

    fn counts_of(&self, fingerprint: u64) -> Option<Arc<Entry>> {
        self.counts.borrow().get(&fingerprint).cloned()
    }

    /// Says how a shape stands at present.
    fn tell(&self, shape: &Shape, level: Option<Level>, off: Option<String>) {
        if let (Some(worker), Some(pool)) = (self.worker.upgrade(), self.pool.upgrade()) {
            let key = Key { database: pool.database.as_str().into(), fingerprint: shape.fingerprint };
            let level = level.map_or("off", Level::label);
            worker.hub.registry.coalescing.set_status(&key, Status { level, off });
        }
    }

    /// The line for such look-ups with these values varying, if one is open.
    fn of_child(&self, child: &Child, varying: u32) -> Option<Rc<Line>> {
        let id = (child.statement, child.formats, child.context, varying);
        self.children.borrow().get(&id)?.upgrade()
    }
}
