//! One session's answers that were fetched ahead. Each batch of them came with one query and goes as a whole,
//! so that what is counted is what is held. Must not know why something was fetched, nor judge when it may be
//! given. Pure.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use super::keys::Key;
use super::level::Taken;
use super::{Child, Episode};

/// Of one session.
pub const BYTES_MAX: usize = 1024 * 1024;
pub const BATCHES_MAX: usize = 64;
/// Rows and look-ups of one session, absent ones included; with 1 MiB of bytes the usual bound is that one.
pub const ROWS_MAX: usize = 50_000;

/// Bytes of a member beside its key, and of a batch.
const MEMBER: usize = 96;
const BATCH: usize = size_of::<Batch>();

/// Bytes that the sessions of one worker may hold in all; the 256 MiB of a process are divided between its
/// workers.
#[derive(Debug)]
pub struct Budget {
    used: Cell<usize>,
    max: usize,
}

/// The 256 MiB, for all workers.
pub const ALL_BYTES_MAX: usize = 256 * 1024 * 1024;

impl Budget {
    pub fn new(max: usize) -> Self {
        Budget { used: Cell::new(0), max }
    }

    /// Bytes held at present.
    pub fn used(&self) -> usize {
        self.used.get()
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.used.get() + bytes <= self.max
    }

    fn take(&self, bytes: usize) {
        self.used.set(self.used.get() + bytes);
    }

    fn give_back(&self, bytes: usize) {
        self.used.set(self.used.get().saturating_sub(bytes));
    }
}

/// Where the answer to one look-up stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Member {
    /// Whole DataRow frames, as the client would get them.
    pub at: Range<usize>,
    pub rows: u32,
    /// The same in the other form, if there is one.
    pub other: Range<usize>,
    used: bool,
}

/// The same answers in other result formats: some drivers ask for text until they know a statement well.
pub struct OtherForm {
    /// The look-up that wants them so.
    pub child: Rc<Child>,
    pub frames: Rc<[u8]>,
    /// Of each member, in the order of the batch, where its frames stand.
    pub at: Vec<Range<usize>>,
}

impl Member {
    pub fn new(at: Range<usize>, rows: u32) -> Self {
        Member { at, rows, other: 0..0, used: false }
    }

    /// Rows, and a look-up that finds none is as much work as one.
    fn weight(&self) -> u64 {
        u64::from(self.rows.max(1))
    }
}

/// Answers that came with one query.
pub struct Batch {
    pub child: Rc<Child>,
    pub taken: Taken,
    /// What it was fetched for.
    pub episode: Episode,
    /// The values that all members share, and `Null` where they differ.
    pub constants: Box<[Key]>,
    /// Where they differ, in rising order.
    pub varying: Box<[u16]>,
    /// By the values that differ, in the order of `varying`.
    pub members: HashMap<Box<[Key]>, Member>,
    /// All keys that there are were asked for.
    pub whole: bool,
    /// The answer to every other key, if it is known.
    pub absent: Option<Member>,
    /// DataRow frames of all members, in the order in which they were asked for.
    pub frames: Rc<[u8]>,
    /// The same in another form, and for whom.
    pub other: Option<(Rc<Child>, Rc<[u8]>)>,
    /// The number of the table that was made of its rows, if loops go through them.
    pub table: Option<u32>,
    /// When it was last of use, and how often it was.
    touched: u64,
    hits: u64,
    /// Set when it is kept.
    bytes: usize,
    rows: usize,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// `frames[at]` are whole DataRow frames.
    pub frames: Rc<[u8]>,
    pub at: Range<usize>,
    pub rows: u32,
    /// How old its snapshot may be, µs.
    pub age_us: u64,
    /// It had not been given before.
    pub first: bool,
    pub episode: Episode,
}

/// What became of a batch, when it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    pub episode: Episode,
    /// The child's shape.
    pub shape: u64,
    /// Rows that were given to the client, and that were not; a look-up without rows counts as one.
    pub used: u64,
    pub unused: u64,
    /// Look-ups whose answers nobody asked for.
    pub idle: u64,
    /// Answers given, repetitions included.
    pub hits: u64,
}

impl Batch {
    pub fn new(child: Rc<Child>, taken: Taken, episode: Episode, frames: Rc<[u8]>) -> Self {
        let (constants, varying, members) = (Box::default(), Box::default(), HashMap::new());
        let (absent, touched, hits, bytes, rows) = (None, 0, 0, 0, 0);
        Batch {
            child,
            taken,
            episode,
            constants,
            varying,
            members,
            whole: false,
            absent,
            frames,
            other: None,
            table: None,
            touched,
            hits,
            bytes,
            rows,
        }
    }

    fn weight(&self) -> usize {
        let keys = |keys: &[Key]| keys.iter().map(Key::weight).sum::<usize>();
        let members: usize = self.members.keys().map(|member| keys(member) + MEMBER).sum();
        let other = self.other.as_ref().map_or(0, |(_, frames)| frames.len());
        BATCH + self.frames.len() + other + keys(&self.constants) + members
    }

    /// The values of a look-up in which members differ, if it shares all others.
    pub fn varying_of(&self, keys: &[Key]) -> Option<Vec<Key>> {
        let varies = |at: usize| self.varying.contains(&(at as u16));
        let same = self.constants.len() == keys.len()
            && keys.iter().zip(&self.constants).enumerate().all(|(at, (key, own))| key == own || varies(at));
        same.then(|| self.varying.iter().filter_map(|&at| keys.get(usize::from(at)).cloned()).collect())
    }

    fn member(&mut self, varying: &[Key]) -> Option<&mut Member> {
        let is_absent = self.is_absent(varying);
        match self.members.get_mut(varying) {
            Some(member) => Some(member),
            None => self.absent.as_mut().filter(|_| is_absent),
        }
    }

    /// Whether the answer to these values is that to all keys which do not exist.
    fn is_absent(&self, varying: &[Key]) -> bool {
        let type_of = |at: &u16| self.child.slots.get(usize::from(*at)).map_or(0, |slot| slot.type_oid);
        let mut each = varying.iter().zip(&self.varying);
        self.absent.is_some() && each.all(|(key, at)| key.is_decisive(type_of(at)))
    }

    /// In which form it answers this look-up.
    fn form(&self, child: &Child) -> Option<Form> {
        if self.child.is_like(child) {
            return Some(Form::Own);
        }
        let other = self.other.as_ref().is_some_and(|(own, _)| own.is_like(child));
        other.then_some(Form::Other)
    }

    /// The answer to the values in which members differ, as it was asked for.
    pub fn answer(&mut self, varying: &[Key], now_us: u64) -> Option<Served> {
        self.answer_as(Form::Own, varying, now_us)
    }

    fn answer_as(&mut self, form: Form, varying: &[Key], now_us: u64) -> Option<Served> {
        let (episode, sent_us) = (self.episode, self.taken.sent_us);
        let frames = match (form, &self.other) {
            (Form::Own, _) => self.frames.clone(),
            (Form::Other, other) => other.as_ref()?.1.clone(),
        };
        let member = self.member(varying)?;
        let first = !std::mem::replace(&mut member.used, true);
        let at = if form == Form::Own { member.at.clone() } else { member.other.clone() };
        let rows = member.rows;
        self.hits += 1;
        Some(Served { frames, at, rows, age_us: now_us.saturating_sub(sent_us), first, episode })
    }

    fn gone(&self) -> Gone {
        let all = self.members.values();
        let (used, unused): (Vec<&Member>, Vec<&Member>) = all.partition(|member| member.used);
        let sum = |members: &[&Member]| members.iter().map(|member| member.weight()).sum();
        let idle = unused.len() as u64;
        let (used, unused) = (sum(&used), sum(&unused));
        Gone { episode: self.episode, shape: self.child.shape, used, unused, idle, hits: self.hits }
    }
}

/// One of the two forms that a batch may have its answers in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Own,
    Other,
}

/// The batches of one session.
pub struct Buffer {
    batches: Vec<Batch>,
    bytes: usize,
    clock: u64,
    budget: Rc<Budget>,
    gone: Vec<Gone>,
}

impl Buffer {
    pub fn new(budget: Rc<Budget>) -> Self {
        Buffer { batches: Vec::new(), bytes: 0, clock: 0, budget, gone: Vec::new() }
    }

    /// Keeps a batch, unless it is larger than all that may be kept. Others make room: first the one that was
    /// of use least recently.
    pub fn keep(&mut self, mut batch: Batch) {
        let bytes = batch.weight();
        let rows = batch.members.values().map(|member| member.weight() as usize).sum();
        self.clock += 1;
        (batch.touched, batch.bytes, batch.rows) = (self.clock, bytes, rows);
        if bytes > BYTES_MAX || rows > ROWS_MAX {
            return self.gone.push(batch.gone());
        }
        while self.batches.len() >= BATCHES_MAX
            || self.bytes + bytes > BYTES_MAX
            || self.rows() + rows > ROWS_MAX
            || !self.budget.has_room(bytes)
        {
            let oldest = (0..self.batches.len()).min_by_key(|&at| self.batches[at].touched);
            match oldest {
                Some(at) => self.remove(at),
                None => return self.gone.push(batch.gone()),
            }
        }
        self.bytes += bytes;
        self.budget.take(bytes);
        self.batches.push(batch);
    }

    /// A client asks for the same look-ups in another form from here on: what of these it has not asked for was not
    /// fetched in vain, but is of no use any more.
    pub fn supersede(&mut self, batch: &Batch) {
        let statement = |child: &Child| (child.statement, child.context);
        let same = |old: &&mut Batch| {
            old.episode == batch.episode
                && statement(&old.child) == statement(&batch.child)
                && old.form(&batch.child).is_none()
                && (&old.constants, &old.varying) == (&batch.constants, &batch.varying)
        };
        for old in self.batches.iter_mut().filter(same) {
            old.members.retain(|keys, member| member.used || !batch.members.contains_key(keys));
        }
    }

    /// The answer to these values of this statement. `may`: whether a batch may still answer; what may not is
    /// thrown away.
    pub fn serve(
        &mut self,
        child: &Child,
        keys: &[Key],
        now_us: u64,
        mut may: impl FnMut(&Taken) -> bool,
    ) -> Option<Served> {
        let mut at = self.batches.len();
        // The newest first.
        while at > 0 {
            at -= 1;
            let batch = &mut self.batches[at];
            let Some(form) = batch.form(child) else { continue };
            let Some(varying) = batch.varying_of(keys) else { continue };
            if batch.member(&varying).is_none() {
                continue;
            }
            if may(&batch.taken) {
                self.clock += 1;
                batch.touched = self.clock;
                return batch.answer_as(form, &varying, now_us);
            }
            self.remove(at);
        }
        None
    }

    /// Whether a batch has this look-up. Changes nothing.
    pub fn has(&self, child: &Child, keys: &[Key]) -> bool {
        let has = |batch: &Batch, varying: Vec<Key>| {
            batch.members.contains_key(varying.as_slice()) || batch.is_absent(&varying)
        };
        self.batches
            .iter()
            .filter(|batch| batch.form(child).is_some())
            .any(|batch| batch.varying_of(keys).is_some_and(|varying| has(batch, varying)))
    }

    /// Throws away what `is_out` says.
    pub fn drop_if(&mut self, mut is_out: impl FnMut(&Batch) -> bool) {
        for at in (0..self.batches.len()).rev() {
            if is_out(&self.batches[at]) {
                self.remove(at);
            }
        }
        if self.batches.is_empty() {
            self.batches = Vec::new();
        }
    }

    /// The newest batch of several look-ups of this shape.
    pub fn newest(&mut self, shape: u64) -> Option<&mut Batch> {
        self.batches.iter_mut().rev().find(|batch| batch.child.shape == shape && batch.members.len() > 1)
    }

    /// Whether a statement with these constants was asked for all keys that there are.
    pub fn has_whole(&self, child: &Child, keys: &[Key]) -> bool {
        let whole = |batch: &&Batch| batch.whole && batch.child.is_like(child);
        self.batches.iter().filter(whole).any(|batch| batch.varying_of(keys).is_some())
    }

    /// What became of the batches that went since this was asked last.
    pub fn gone(&mut self) -> Vec<Gone> {
        std::mem::take(&mut self.gone)
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn rows(&self) -> usize {
        self.batches.iter().map(|batch| batch.rows).sum()
    }

    fn remove(&mut self, at: usize) {
        let batch = self.batches.remove(at);
        self.bytes -= batch.bytes;
        self.budget.give_back(batch.bytes);
        self.gone.push(batch.gone());
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}
