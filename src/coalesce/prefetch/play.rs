//! A model of a database and of one session that goes through `plan`, for the tests: it answers queries from
//! a history of versions, so that it can be said which answers were legal at which moment.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use super::Child;
use super::buffer::{Budget, Served};
use super::keys::{Form, Key, Slot, Value, oid};
use super::level::{Isolation, Level, Place, Taken, Transaction};
use super::plan::{Ask, Order, Plan, What, World, plan};
use super::session::Session;
use super::small::{Small, Whole};
use super::table::Fields;
use super::template::Templates;
use crate::coalesce::Thresholds;
use crate::coalesce::unit::Watch;
use crate::sql::kind::Kind;
use crate::sql::mark::{self, Marks};
use crate::wire::reply;
use crate::wire::server::tag;

/// The shape of the list, and those of look-ups: shape n reads table n.
pub const LIST: u64 = 1;
pub const TABLES: Range<u64> = 2..6;

/// How often each row was written: what is in it.
pub type State = HashMap<(u64, i64), u64>;

/// DataRow frames of one answer.
pub type Frames = Vec<u8>;

pub struct Play {
    pub session: Session,
    pub templates: Templates,
    pub watch: Watch,
    pub budget: Rc<Budget>,
    pub now_us: u64,
    pub level: Level,
    pub transaction: Option<Transaction>,
    transactions: u64,
    /// What is committed, and since when; the last is now.
    pub history: Vec<(u64, State)>,
    /// What the open transaction wrote, and the snapshot that it reads if it has one for all its statements.
    own: State,
    snapshot: Option<State>,
    /// When each table was written last by anyone who uses this process.
    fence: Rc<RefCell<HashMap<u64, u64>>>,
    pub fence_works: bool,
    /// Data queries that reached the server.
    pub queries: u32,
    /// Rows of a table of which a look-up finds some.
    pub small: Option<u64>,
    pub rows_per_key: fn(u64, i64) -> u64,
    /// In a bounded level: the oldest time that each table may be seen as of.
    pub seen_us: HashMap<u64, u64>,
    pub formats: u32,
}

impl Play {
    pub fn new(level: Level) -> Self {
        let budget = Rc::new(Budget::new(usize::MAX));
        Play {
            session: Session::new(budget.clone()),
            templates: Templates::default(),
            watch: Watch::with_values(),
            budget,
            now_us: 1_000_000,
            level,
            transaction: None,
            transactions: 0,
            history: vec![(0, State::default())],
            own: State::default(),
            snapshot: None,
            fence: Rc::default(),
            fence_works: true,
            queries: 0,
            small: None,
            rows_per_key: |_, key| (key % 3).unsigned_abs(),
            seen_us: HashMap::new(),
            formats: 0,
        }
    }

    pub fn place(&self) -> Place {
        Place { now_us: self.now_us, transaction: self.transaction }
    }

    // --- the database ---

    pub fn committed(&self) -> &State {
        &self.history.last().expect("it begins with one").1
    }

    /// What a statement would see that is sent now.
    pub fn visible(&mut self) -> State {
        let fixed = self.place().is_fixed();
        if fixed && self.snapshot.is_none() {
            self.snapshot = Some(self.committed().clone());
        }
        let base = if fixed { self.snapshot.clone() } else { None };
        self.over(&base.unwrap_or_else(|| self.committed().clone()))
    }

    /// The open transaction's own writes over a state.
    pub fn over(&self, state: &State) -> State {
        let mut state = state.clone();
        state.extend(self.own.iter().map(|(place, version)| (*place, *version)));
        state
    }

    /// The answer to a look-up in a state.
    pub fn answer(&self, state: &State, table: u64, key: &Key) -> (Frames, u32) {
        let mut frames = Vec::new();
        let Key::Integer(number) = *key else { return (frames, 0) };
        let version = state.get(&(table, number)).copied().unwrap_or(0);
        let rows = (self.rows_per_key)(table, number);
        for row in 0..rows {
            let cells = [(number * 10 + row as i64).to_string(), format!("{table}/{number}/{version}")];
            frame(&mut frames, &cells);
        }
        (frames, rows as u32)
    }

    fn commit(&mut self, writes: State) {
        let mut state = self.committed().clone();
        state.extend(writes);
        self.history.push((self.now_us, state));
    }

    // --- others ---

    /// Another client commits a write, through this process or around it.
    pub fn other_writes(&mut self, table: u64, key: i64, around: bool) {
        self.now_us += 10;
        let version = self.now_us;
        self.commit(HashMap::from([((table, key), version)]));
        if !around {
            self.fence.borrow_mut().insert(table, self.now_us);
        }
    }

    // --- the client ---

    pub fn pause(&mut self, us: u64) {
        self.now_us += us;
    }

    pub fn begin(&mut self, isolation: Isolation) {
        if self.transaction.is_none() {
            self.transactions += 1;
            self.transaction = Some(Transaction { serial: self.transactions, isolation });
        }
    }

    pub fn end(&mut self, commits: bool) {
        if self.transaction.take().is_some() {
            let writes = std::mem::take(&mut self.own);
            self.snapshot = None;
            for (table, _) in writes.keys() {
                self.fence.borrow_mut().insert(*table, self.now_us);
            }
            if commits && !writes.is_empty() {
                self.commit(writes);
            }
            self.session.transaction_ended();
        }
    }

    pub fn write(&mut self, table: u64, key: i64) {
        self.now_us += 10;
        self.visible();
        self.session.own_write(Some(&[table as u32]));
        self.fence.borrow_mut().insert(table, self.now_us);
        let write = ((table, key), self.now_us);
        if self.transaction.is_some() {
            self.own.extend([write]);
        } else {
            self.commit(HashMap::from([write]));
        }
    }

    /// Reads a list with these two columns, and remembers it as the shell would.
    pub fn list(&mut self, rows: &[(i64, i64)]) {
        self.now_us += 100;
        self.queries += 1;
        self.visible();
        let thresholds = Thresholds::default();
        self.watch.asked((LIST, Kind::Read), &Marks::default(), self.now_us, &thresholds);
        let mut frames = Vec::new();
        rows.iter().for_each(|(a, b)| frame(&mut frames, &[a.to_string(), b.to_string()]));
        let columns = self.templates.watched(LIST, self.now_us);
        if !columns.is_empty() {
            let types = [oid::INT4, oid::INT8];
            self.session.tables.begin(LIST, &columns, Box::default(), Fields { types: &types, formats: &[] });
            self.session.tables.part(&frames);
            self.session.tables.end();
        }
        self.watch.answered(LIST, rows.len() as u64, 100, &frames, self.now_us);
    }

    pub fn child(&self, table: u64) -> Rc<Child> {
        let slot = |type_oid| Slot { type_oid, by_value: true };
        let keys = "(SELECT 1)".into();
        let small = Some(Small { value: 0, type_oid: oid::INT4, keys }).filter(|_| self.small == Some(table));
        Rc::new(Child {
            shape: table,
            statement: table,
            formats: self.formats,
            context: 1,
            slots: [slot(oid::INT4), slot(oid::INT8)].into(),
            types: [oid::INT4, oid::TEXT].into(),
            result_formats: Box::default(),
            tables: [table as u32].into(),
            level: self.level,
            serializable: false,
            small,
        })
    }

    /// Looks a row up. Returns the answer, and what the buffer said of it, if it came from there.
    pub fn look(&mut self, table: u64, key: i64) -> (Frames, Option<Served>) {
        self.now_us += 50;
        let child = self.child(table);
        let (key_text, limit) = (key.to_string(), "21");
        let value = |text: &'static str| Value { form: Form::Text, bytes: Some(text.as_bytes()) };
        let values = [Value { form: Form::Text, bytes: Some(key_text.as_bytes()) }, value(limit)];
        let mut marks = Marks::default();
        values.iter().flat_map(|value| value.bytes).for_each(|bytes| marks.add(mark::text(bytes)));
        self.watch.asked((table, Kind::Read), &marks, self.now_us, &Thresholds::default());
        let ask = Ask { child: &child, values: &values, place: self.place(), keys_max: 512 };
        let mut world = World { templates: &mut self.templates, watch: &self.watch, is_calm: &|_| true };
        let (frames, rows, served) = match plan(&mut self.session, &ask, &mut world) {
            Plan::Serve(served) => (served.frames[served.at.clone()].to_vec(), served.rows, Some(served)),
            Plan::Forward { keep, .. } => {
                let (frames, rows) = self.ask(table, &Key::Integer(key));
                self.session.direct_read(Some(&[table as u32]));
                if let Some(kept) = keep {
                    self.session.file_own(kept, self.taken(table), frames.clone().into(), rows, self.now_us);
                }
                (frames, rows, None)
            }
            Plan::Fetch(orders) => {
                let mut own = None;
                for order in orders {
                    let served = self.fetch(order);
                    own = own.or(served);
                }
                let own = own.expect("the look-up itself is among those fetched");
                (own.frames[own.at.clone()].to_vec(), own.rows, None)
            }
        };
        self.watch.answered(table, u64::from(rows), 50, &frames, self.now_us);
        (frames, served)
    }

    fn taken(&self, table: u64) -> Taken {
        let (fence, works, since) = (self.fence.clone(), self.fence_works, self.now_us);
        let holds = move || !works || fence.borrow().get(&table).is_none_or(|last| *last < since);
        Taken { sent_us: since, fence: Some(Rc::new(holds)), transaction: self.place().serial() }
    }

    fn ask(&mut self, table: u64, key: &Key) -> (Frames, u32) {
        self.queries += 1;
        let state = self.visible();
        self.seen_us.insert(table, self.now_us);
        self.answer(&state, table, key)
    }

    fn fetch(&mut self, order: Order) -> Option<Served> {
        self.queries += 1;
        let table = order.child.shape;
        let (state, taken) = (self.visible(), self.taken(table));
        self.seen_us.insert(table, self.now_us);
        let (mut frames, mut answers) = (Vec::new(), Vec::new());
        let mut add = |play: &Play, key: &Key| {
            let (own, rows) = play.answer(&state, table, key);
            let begin = frames.len();
            frames.extend_from_slice(&own);
            answers.push((begin..frames.len(), rows));
        };
        match &order.what {
            What::Keys(members) => {
                members.iter().for_each(|member| add(self, &member[0]));
                self.session.file(order, taken, frames.into(), &answers, self.now_us)
            }
            What::Table(_) => {
                let keys: Vec<Key> = (0..30).map(Key::Integer).collect();
                keys.iter().for_each(|key| add(self, key));
                let found = keys.into_iter().zip(answers).filter(|(_, (_, rows))| *rows > 0);
                let whole = Whole { keys: found.collect(), frames: frames.into(), others_give_none: true };
                self.session.file_table(order, taken, whole, self.now_us)
            }
        }
    }
}

fn frame(out: &mut Vec<u8>, cells: &[String]) {
    reply::frame(out, tag::DATA_ROW, |out| {
        out.extend_from_slice(&(cells.len() as i16).to_be_bytes());
        for cell in cells {
            out.extend_from_slice(&(cell.len() as i32).to_be_bytes());
            out.extend_from_slice(cell.as_bytes());
        }
    });
}
