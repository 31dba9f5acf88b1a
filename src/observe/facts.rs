//! What is known of each shape: a bounded book by fingerprint, filled by one background thread that parses
//! each shape once. Whoever meets a new shape announces it and goes on; nobody waits for the parser. Knows
//! nothing of syntax trees.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::counters::Registry;
use crate::sql::class::{self, Classified};
use crate::sql::facts::{self, Facts};
use crate::sql::guard::{self, Refused};

/// What a look at a shape came to.
#[derive(Debug)]
pub enum Known {
    Read(Box<Facts>),
    /// It is forwarded like any other; only its words are known.
    Unparsed {
        reason: Refused,
        class: Classified,
    },
}

impl Known {
    pub fn class(&self) -> Classified {
        match self {
            Known::Read(facts) => {
                Classified { class: facts.class, may_write: facts.may_write, locks: facts.locking.is_some() }
            }
            Known::Unparsed { class, .. } => *class,
        }
    }

    pub fn facts(&self) -> Option<&Facts> {
        match self {
            Known::Read(facts) => Some(facts),
            Known::Unparsed { .. } => None,
        }
    }

    fn weight(&self) -> usize {
        match self {
            Known::Read(facts) => facts.weight(),
            // The message of the parser is a line.
            Known::Unparsed { .. } => 500,
        }
    }
}

/// Shapes that wait for the parser, and their bytes. An application that starts brings some hundreds at once;
/// what does not fit is found again by a sweep.
const QUEUE_MAX: usize = 1_000;
const QUEUE_BYTES: usize = 1024 * 1024;

/// Memory of the book. Facts of a typical statement take 3 KB, so all shapes of a full ledger fit in half.
const BOOK_BYTES: usize = 32 * 1024 * 1024;

/// The parser may use a tenth of a core: for each unit of work it rests nine. Parsing what a storm of new
/// shapes brings is worth no more, as most of them will not come again.
const REST: u32 = 9;

/// And at most 500 shapes a second, so that a storm of short ones does not fill the log or the scheduler.
const REST_MIN: Duration = Duration::from_millis(2);

/// Unparsed shapes that a minute's log shows at level info; the rest is at debug, and the metrics count all.
const LOGGED_A_MINUTE: u32 = 20;

/// The book, and the queue in front of it.
#[derive(Debug, Default)]
pub struct Book {
    state: Mutex<State>,
    work: Condvar,
    parsed: AtomicU64,
    refused: [AtomicU64; Refused::LABELS.len()],
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<u64, Arc<Known>>,
    weight: usize,
    queue: VecDeque<(u64, Box<str>)>,
    queued: HashSet<u64>,
    queued_bytes: usize,
    /// Something did not fit since the last sweep.
    missed: bool,
    ended: bool,
}

impl Book {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a shape; none while the parser has not come to it.
    pub fn get(&self, fingerprint: u64) -> Option<Arc<Known>> {
        self.state().known.get(&fingerprint).cloned()
    }

    /// Tells of a shape that may be new. Takes a lock for a moment; meant for what happens once per shape.
    pub fn announce(&self, fingerprint: u64, canonical: &str) {
        if canonical.len() > guard::BYTES_MAX {
            return self.too_long(fingerprint, canonical);
        }
        let mut state = self.state();
        if state.ended || state.known.contains_key(&fingerprint) || state.queued.contains(&fingerprint) {
            return;
        }
        if state.queue.len() >= QUEUE_MAX || state.queued_bytes + canonical.len() > QUEUE_BYTES {
            state.missed = true;
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        state.queued_bytes += canonical.len();
        state.queued.insert(fingerprint);
        state.queue.push_back((fingerprint, canonical.into()));
        self.work.notify_one();
    }

    /// Books a shape whose text is too long, or of which only the beginning is left.
    fn too_long(&self, fingerprint: u64, beginning: &str) {
        if self.state().known.contains_key(&fingerprint) {
            return;
        }
        let known = Known::Unparsed { reason: Refused::Size, class: class::of(beginning) };
        self.count(&known);
        self.keep(fingerprint, known);
    }

    fn count(&self, known: &Known) {
        match known {
            Known::Read(_) => self.parsed.fetch_add(1, Relaxed),
            Known::Unparsed { reason, .. } => self.refused[reason.index()].fetch_add(1, Relaxed),
        };
    }

    /// False: there was no room.
    fn keep(&self, fingerprint: u64, known: Known) -> bool {
        let mut state = self.state();
        if state.weight + known.weight() > BOOK_BYTES {
            self.dropped.fetch_add(1, Relaxed);
            return false;
        }
        state.weight += known.weight();
        if let Some(old) = state.known.insert(fingerprint, Arc::new(known)) {
            state.weight -= old.weight();
        }
        true
    }

    /// Forgets shapes that the ledger has evicted.
    fn forget(&self, kept: &HashSet<u64>) {
        let mut state = self.state();
        state.known.retain(|fingerprint, _| kept.contains(fingerprint));
        state.weight = state.known.values().map(|known| known.weight()).sum();
    }

    pub fn shapes(&self) -> usize {
        self.state().known.len()
    }

    /// Shapes that the parser has read.
    pub fn parsed(&self) -> u64 {
        self.parsed.load(Relaxed)
    }

    /// Shapes that it could not read, by the reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refused::LABELS.into_iter().zip(self.refused.iter().map(|count| count.load(Relaxed)))
    }

    /// Shapes that found the queue or the book full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// The shapes without facts.
    pub fn unparsed(&self) -> HashSet<u64> {
        let state = self.state();
        let without = state.known.iter().filter(|(_, known)| known.facts().is_none());
        without.map(|(fingerprint, _)| *fingerprint).collect()
    }

    /// Lets the parser's thread end. What waits is not parsed any more.
    pub fn end(&self) {
        self.state().ended = true;
        self.work.notify_all();
    }
}

/// Starts the thread that parses what is announced, until [`Book::end`].
///
/// # Errors
/// The system gives no thread.
pub fn start(registry: Arc<Registry>) -> std::io::Result<JoinHandle<()>> {
    let thread = thread::Builder::new().name("parser".to_owned()).stack_size(guard::STACK);
    thread.spawn(move || Parser { registry: &registry, minute: Instant::now(), logged: 0 }.run())
}

/// The facts of one canonical statement, read on a thread of its own that has the stack for it.
pub fn read_apart(canonical: &str) -> Known {
    let text = canonical.to_owned();
    let thread = thread::Builder::new().name("parser".to_owned()).stack_size(guard::STACK);
    let spawned = thread.spawn(move || read(&text)).map(JoinHandle::join);
    match spawned {
        Ok(Ok(known)) => known,
        Ok(Err(_)) => failed(canonical, "it has panicked"),
        Err(error) => failed(canonical, &format!("it has no thread: {error}")),
    }
}

fn failed(canonical: &str, how: &str) -> Known {
    Known::Unparsed { reason: Refused::Syntax(how.to_owned()), class: class::of(canonical) }
}

fn read(canonical: &str) -> Known {
    match catch_unwind(AssertUnwindSafe(|| facts::read(canonical))) {
        Ok(Ok(facts)) => Known::Read(facts.into()),
        Ok(Err(reason)) => Known::Unparsed { reason, class: class::of(canonical) },
        Err(_) => failed(canonical, "it has panicked"),
    }
}

/// The background thread.
struct Parser<'a> {
    registry: &'a Registry,
    /// When the minute began in which `logged` lines were written.
    minute: Instant,
    logged: u32,
}

enum Task {
    Parse(u64, Box<str>),
    Sweep,
}

impl Parser<'_> {
    fn run(mut self) {
        while let Some(task) = self.next() {
            let start = Instant::now();
            match task {
                Task::Parse(fingerprint, text) => self.parse(fingerprint, &text),
                Task::Sweep => self.sweep(),
            }
            self.rest((start.elapsed() * REST).max(REST_MIN));
        }
    }

    fn next(&self) -> Option<Task> {
        let book = &self.registry.facts;
        let mut state = book.state();
        loop {
            if state.ended {
                return None;
            }
            if let Some((fingerprint, text)) = state.queue.pop_front() {
                state.queued.remove(&fingerprint);
                state.queued_bytes -= text.len();
                return Some(Task::Parse(fingerprint, text));
            }
            if std::mem::take(&mut state.missed) {
                return Some(Task::Sweep);
            }
            state = book.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn rest(&self, rest: Duration) {
        let book = &self.registry.facts;
        // Nothing to do with the answer: whether it was the time or the end is asked for next.
        drop(book.work.wait_timeout_while(book.state(), rest, |state| !state.ended));
    }

    fn parse(&mut self, fingerprint: u64, text: &str) {
        let (book, known) = (&self.registry.facts, read(text));
        if let Known::Unparsed { reason, .. } = &known {
            self.log(fingerprint, text, reason);
        }
        book.count(&known);
        if book.state().weight + known.weight() > BOOK_BYTES {
            book.forget(&self.registry.ledger.texts().into_keys().collect());
        }
        book.keep(fingerprint, known);
        self.registry.ledger.judge_shape(fingerprint);
    }

    /// Announces what the ledger has and the book does not. Its texts may be cut; those are not parsed.
    fn sweep(&self) {
        let book = &self.registry.facts;
        for (fingerprint, (text, whole)) in self.registry.ledger.texts() {
            match whole {
                true => book.announce(fingerprint, &text),
                false => book.too_long(fingerprint, &text),
            }
        }
    }

    /// One line per shape. Its text has holes where the values were, and so has the parser's message.
    fn log(&mut self, fingerprint: u64, text: &str, reason: &Refused) {
        if self.minute.elapsed() > Duration::from_secs(60) {
            (self.minute, self.logged) = (Instant::now(), 0);
        }
        self.logged += 1;
        let shape = format!("{fingerprint:016x}");
        let message = "a statement has no facts and is forwarded unchanged";
        if self.logged <= LOGGED_A_MINUTE {
            tracing::info!(%shape, %reason, statement = text, "{message}");
        } else {
            tracing::debug!(%shape, %reason, statement = text, "{message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Key;
    use super::*;

    fn key(fingerprint: u64) -> Key {
        Key { database: "app".into(), user: "app".into(), fingerprint }
    }

    /// Waits for the parser, with a bound.
    fn until(what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !condition() {
            assert!(Instant::now() < deadline, "{what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn new_shapes_are_parsed_once_in_the_background() {
        let registry = Arc::new(Registry::default());
        let parser = start(registry.clone()).unwrap();
        for _ in 0..3 {
            registry.enter(key(1), "select a from t where b = $1");
            registry.enter(key(2), "select a b c d");
            registry.enter(key(3), &format!("select {}1", "a, ".repeat(6_000)));
            registry.enter(key(4), &format!("insert into t select {}1", "(".repeat(60)));
        }
        let book = &registry.facts;
        until("four shapes are known", || book.shapes() == 4);
        let known = book.get(1).unwrap();
        assert_eq!(known.facts().map(|facts| facts.tables[0].name.as_str()), Some("t"));
        assert_eq!(book.get(4).unwrap().class().class, class::Class::Write);
        assert_eq!(book.parsed(), 1);
        let refused: Vec<_> = book.refused().collect();
        assert_eq!(refused, [("size", 1), ("terms", 0), ("depth", 1), ("effort", 0), ("syntax", 1)]);
        assert_eq!(book.unparsed(), HashSet::from([2, 3, 4]));
        book.end();
        parser.join().unwrap();
    }

    #[test]
    fn what_finds_the_queue_full_is_swept_up_later() {
        let registry = Arc::new(Registry::default());
        let surplus = 20;
        let shapes = QUEUE_MAX + surplus;
        for fingerprint in 0..shapes as u64 {
            registry.enter(key(fingerprint), "select $1");
        }
        // The ledger keeps 4 KiB of this one, so that only its beginning is there for the sweep.
        let long = format!("insert into t values ({}$1)", "$1, ".repeat(1_500));
        registry.enter(key(77_777), &long);
        let book = &registry.facts;
        assert_eq!(book.dropped(), surplus as u64 + 1);
        let parser = start(registry.clone()).unwrap();
        until("all shapes are known", || book.shapes() == shapes + 1);
        let known = book.get(77_777).unwrap();
        assert!(matches!(&*known, Known::Unparsed { reason: Refused::Size, .. }));
        assert_eq!(known.class().class, class::Class::Write);
        book.end();
        parser.join().unwrap();
    }

    #[test]
    fn the_book_is_bounded_and_follows_the_ledger() {
        let book = Book::default();
        let mut kept = 0;
        while book.keep(kept, failed("x", "y")) {
            kept += 1;
        }
        assert!(book.state().weight <= BOOK_BYTES);
        assert_eq!(book.dropped(), 1);
        book.forget(&HashSet::from([1, 2]));
        assert_eq!((book.shapes(), book.state().weight), (2, 1_000));
        assert!(book.keep(kept, failed("x", "y")));
    }

    #[test]
    fn a_statement_is_read_apart() {
        assert!(read_apart("select $1").facts().is_some());
        assert!(read_apart("selct $1").facts().is_none());
    }
}
