//! What one session remembers for fetching ahead, between two of its statements: key columns, answers, how
//! far its loops went. And everything that makes it forget: one method for each, which the shell calls when
//! it happens. Pure.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use super::buffer::{Batch, Budget, Buffer, Member, OtherForm, Served};
use super::keys::Key;
use super::level::{Level, Place, Taken};
use super::plan::{Order, What};
use super::rate::Off;
use super::same::Recent;
use super::small::{Answer, HITS_WORTH, Whole};
use super::table::Tables;
use super::template::{Kind, Templates};
use super::{Child, Episode};

/// Loops that one session runs at the same time, and runs that wait to be told of.
const LOOPS_MAX: usize = 32;
const SETTLED_MAX: usize = 256;

/// One answer of an identical read that is kept.
pub const ANSWER_MAX: usize = 64 * 1024;

/// One run of a loop.
pub struct Loop {
    pub episode: Episode,
    /// The table that it goes through; 0: none.
    pub table: u32,
    /// The row behind the last one that was fetched or asked for.
    pub next: usize,
    /// How often it fetched.
    pub step: usize,
    /// Batches that are held.
    live: u32,
    used: u64,
    unused: u64,
    idle: u64,
    hits: u64,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub template: u32,
    pub kind: Kind,
    /// The child's shape.
    pub shape: u64,
    /// Rows that were fetched and given, and that were not; a look-up without rows counts as one.
    pub used: u64,
    pub unused: u64,
    /// Look-ups that were fetched and never asked for.
    pub idle: u64,
    /// Answers given from the buffer.
    pub hits: u64,
    /// The template is off from now on.
    pub off: Option<Off>,
}

/// Of one session.
pub struct Session {
    pub tables: Tables,
    pub(super) buffer: Buffer,
    pub(super) loops: Vec<Loop>,
    pub(super) recent: Recent,
    serial: u32,
    settled: Vec<Settled>,
    /// The unit of work ended, and its loops with it.
    over: bool,
}

impl Session {
    pub fn new(budget: Rc<Budget>) -> Self {
        let (tables, recent) = (Tables::default(), Recent::default());
        let (loops, settled) = (Vec::new(), Vec::new());
        Session { tables, buffer: Buffer::new(budget), loops, recent, serial: 0, settled, over: false }
    }

    /// Bytes of answers, and of keys.
    pub fn weight(&self) -> (usize, usize) {
        (self.buffer.bytes(), self.tables.bytes())
    }

    /// Nothing is buffered: what could make it forget need not be told.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    // --- answers that come ---

    /// The answer to an order by keys came: `answers` says for each of its members, in order, where its
    /// DataRow frames stand and how many they are. Returns the first member's answer, which the client waits
    /// for.
    pub fn file(
        &mut self,
        order: Order,
        taken: Taken,
        frames: Rc<[u8]>,
        answers: &[(Range<usize>, u32)],
        now_us: u64,
    ) -> Option<Served> {
        self.file_both(order, taken, (frames, answers), None, now_us)
    }

    /// The same with the answers in another form beside.
    pub fn file_both(
        &mut self,
        order: Order,
        taken: Taken,
        (frames, answers): (Rc<[u8]>, &[Answer]),
        other: Option<OtherForm>,
        now_us: u64,
    ) -> Option<Served> {
        let mut batch = Batch::new(order.child, taken, order.episode, frames);
        (batch.constants, batch.varying) = (order.constants, order.varying);
        let own = match order.what {
            What::Keys(members) if members.len() == answers.len() => {
                let first = members.first().cloned();
                let place = |at: usize| other.as_ref().and_then(|other| other.at.get(at).cloned());
                let members = members.into_iter().zip(answers).enumerate().map(|(at, (keys, answer))| {
                    let mut member = Member::new(answer.0.clone(), answer.1);
                    member.other = place(at).unwrap_or_default();
                    (keys, member)
                });
                batch.members = members.collect();
                batch.other = other.map(|other| (other.child, other.frames));
                first
            }
            _ => return None,
        };
        self.keep(batch, own.as_deref(), now_us)
    }

    /// The answer to an order for a whole table came. Returns the answer to the look-up that the client waits
    /// for.
    pub fn file_table(&mut self, order: Order, taken: Taken, whole: Whole, now_us: u64) -> Option<Served> {
        let What::Table(own) = order.what else {
            return None;
        };
        let mut batch = Batch::new(order.child, taken, order.episode, whole.frames);
        (batch.constants, batch.varying) = (order.constants, order.varying);
        batch.whole = true;
        batch.absent = whole.others_give_none.then(Member::default);
        let member = |(key, (at, rows))| (Box::from([key]), Member::new(at, rows));
        batch.members = whole.keys.into_iter().map(member).collect();
        self.keep(batch, Some(&[own]), now_us)
    }

    /// The answer to a statement that was sent on came, and `plan` had said to keep it.
    pub fn file_own(&mut self, kept: Kept, taken: Taken, frames: Rc<[u8]>, rows: u32, now_us: u64) {
        if frames.len() > ANSWER_MAX {
            return;
        }
        let end = frames.len();
        let mut batch = Batch::new(kept.child, taken, kept.episode, frames);
        batch.constants = vec![Key::Null; kept.keys.len()].into();
        batch.varying = (0..kept.keys.len() as u16).collect();
        batch.members = HashMap::from([(kept.keys, Member::new(0..end, rows))]);
        self.keep(batch, None, now_us);
    }

    fn keep(&mut self, mut batch: Batch, own: Option<&[Key]>, now_us: u64) -> Option<Served> {
        if let Level::Bounded { .. } = batch.child.level {
            // A session must not see a table as it was before what it has seen of it already.
            let (sent, tables) = (batch.taken.sent_us, batch.child.tables.clone());
            self.buffer.drop_if(|other| other.taken.sent_us < sent && other.child.reads(&tables));
        }
        let served = own.and_then(|own| batch.answer(own, now_us));
        if let Some(held) = self.loops.iter_mut().find(|held| held.episode == batch.episode) {
            held.live += 1;
        }
        self.buffer.supersede(&batch);
        self.buffer.keep(batch);
        self.collect();
        served
    }

    /// An order failed: the client's own statement goes to the server as it is. Returns why the template is
    /// off from now on, if it is.
    pub fn failed(&mut self, order: &Order, templates: &mut Templates, now_us: u64) -> Option<Off> {
        self.loops.retain(|held| held.episode != order.episode || held.live > 0);
        templates.fail(order.episode.template, now_us)
    }

    // --- loops ---

    /// The loop of a template through a table, which begins if there is none. `step`: where it begins on the
    /// ramp.
    pub(super) fn enter(&mut self, template: u32, table: u32, step: usize) -> usize {
        let of = |held: &Loop| held.episode.template == template && held.table == table;
        if let Some(at) = self.loops.iter().position(of) {
            return at;
        }
        if self.loops.len() >= LOOPS_MAX {
            let idle = self.loops.iter().position(|held| held.live == 0);
            let out = self.loops.remove(idle.unwrap_or(0)).episode;
            self.buffer.drop_if(|batch| batch.episode == out);
        }
        self.serial += 1;
        let episode = Episode { template, serial: self.serial };
        self.loops.push(Loop {
            episode,
            table,
            next: 0,
            step,
            live: 0,
            used: 0,
            unused: 0,
            idle: 0,
            hits: 0,
        });
        self.loops.len() - 1
    }

    /// Adds what became of the batches that went to the loops that they were for.
    fn collect(&mut self) {
        for gone in self.buffer.gone() {
            let Some(held) = self.loops.iter_mut().find(|held| held.episode == gone.episode) else {
                continue;
            };
            held.live = held.live.saturating_sub(1);
            held.used += gone.used;
            held.unused += gone.unused;
            held.idle += gone.idle;
            held.hits += gone.hits;
            if gone.unused > gone.used {
                // What is thrown away unused is fetched in small pieces from here on.
                held.step = 0;
            }
        }
    }

    /// Tells the templates of the runs that are over: their answers are gone. `plan` does it; call it too
    /// when a unit of work has ended.
    pub fn settle(&mut self, templates: &mut Templates, now_us: u64) {
        self.collect();
        for held in &mut self.loops {
            if held.live > 0 || held.used + held.unused == 0 {
                continue;
            }
            let (used, unused, idle, hits) = (held.used, held.unused, held.idle, held.hits);
            (held.used, held.unused, held.idle, held.hits) = (0, 0, 0, 0);
            let Some(template) = templates.get(held.episode.template) else { continue };
            let (kind, shape) = (template.kind, template.child);
            let off = match kind {
                Kind::Rows => templates.settle(template.id, used, unused, now_us),
                // A table is read whole by design; what counts is whether that saved look-ups.
                Kind::Table if hits >= HITS_WORTH => templates.settle(template.id, used + unused, 0, now_us),
                Kind::Table => templates.settle(template.id, 0, used + unused, now_us),
                Kind::Repeat => templates.settle(template.id, used, unused, now_us),
            };
            if self.settled.len() < SETTLED_MAX {
                let template = held.episode.template;
                self.settled.push(Settled { template, kind, shape, used, unused, idle, hits, off });
            }
        }
        let (over, tables) = (std::mem::take(&mut self.over), &self.tables);
        let gone = |held: &Loop| over || (held.table != 0 && tables.get(held.table).is_none());
        self.loops.retain(|held| held.live > 0 || !gone(held));
    }

    /// A result has come that a later run of its loops will go through: what was fetched for earlier ones is over.
    pub fn renewed(&mut self, parent: u64) {
        let Some(newest) = self.tables.of(parent).next().map(|table| table.serial) else { return };
        let tables = &self.tables;
        let is_over = |held: &Loop| {
            held.table != newest && tables.get(held.table).is_some_and(|table| table.shape == parent)
        };
        let over: Vec<Episode> =
            self.loops.iter().filter(|held| is_over(held)).map(|held| held.episode).collect();
        if !over.is_empty() {
            self.buffer.drop_if(|batch| over.contains(&batch.episode));
        }
    }

    /// The runs that ended since this was asked last, for whoever counts.
    pub fn settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    // --- what makes it forget ---

    fn forget_answers(&mut self) {
        self.buffer.drop_if(|_| true);
    }

    /// The session sent what may write these tables, with all that follows from it by triggers and keys;
    /// `None`: any. Call it when the statement is sent.
    pub fn own_write(&mut self, tables: Option<&[u32]>) {
        match tables {
            Some(tables) => self.buffer.drop_if(|batch| batch.child.reads(tables)),
            None => self.forget_answers(),
        }
    }

    /// A statement that reads these tables (`None`: any) went to the server: what was read of them before is
    /// older than what the client will have seen. Only where staleness is allowed does that matter.
    pub fn direct_read(&mut self, tables: Option<&[u32]>) {
        let is_loose = |level| matches!(level, Level::Bounded { .. });
        let reads = |child: &Child| tables.is_none_or(|tables| child.reads(tables));
        self.buffer.drop_if(|batch| is_loose(batch.child.level) && reads(&batch.child));
    }

    /// SET, RESET, set_config: answers may look different from now on.
    pub fn setting_changed(&mut self) {
        self.forget_answers();
    }

    /// SET ROLE, SET SESSION AUTHORIZATION.
    pub fn role_changed(&mut self) {
        self.forget_answers();
    }

    /// ROLLBACK TO SAVEPOINT: what the transaction itself had written may be gone.
    pub fn rolled_back_to_savepoint(&mut self) {
        self.forget_answers();
    }

    /// The server answered with an error.
    pub fn error(&mut self) {
        self.forget_answers();
    }

    /// Somebody changed a table, a view, a function, a policy; statements are known under new numbers.
    pub fn schema_changed(&mut self) {
        self.forget_answers();
        self.recent.clear();
    }

    /// LISTEN, UNLISTEN, NOTIFY: the application tells others to look again.
    pub fn listened(&mut self) {
        self.forget_answers();
    }

    /// DISCARD, and any other cleaning up of a session.
    pub fn discarded(&mut self) {
        self.unit_ended();
    }

    /// COMMIT or ROLLBACK was answered. The key columns stay: objects are often read in one transaction and
    /// looked at in the next.
    pub fn transaction_ended(&mut self) {
        self.buffer.drop_if(|batch| batch.taken.transaction.is_some());
        self.recent.clear();
    }

    /// The unit of work is over, or the client rests: nothing is kept.
    pub fn unit_ended(&mut self) {
        self.forget_answers();
        self.recent.clear();
        self.tables = Tables::default();
        self.over = true;
    }

    /// Drops what is too old to be given at this place, so that memory does not wait for the next look-up.
    pub fn sweep(&mut self, place: &Place) {
        let here = place.serial();
        let fixed = place.is_fixed();
        let old = |taken: &Taken| place.now_us.saturating_sub(taken.sent_us) > super::level::AGE_MAX_US;
        self.buffer.drop_if(|batch| batch.taken.transaction != here || (!fixed && old(&batch.taken)));
    }
}

/// A statement whose answer is to be kept: given by `plan`, given back with the answer.
pub struct Kept {
    pub child: Rc<Child>,
    pub keys: Box<[Key]>,
    pub episode: Episode,
}
