//! Statements that clients prepare by protocol, each text kept once per pool. Pure.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::rc::Rc;

use super::memory::StatementId;
use super::routing::{Routing, Twin};
use super::shape::{Known, Reader};
use crate::route::narrow::Work;

/// A Parse as some client sent it.
#[derive(Debug)]
pub struct Statement {
    pub id: StatementId,
    pub text: Box<[u8]>,
    /// The tail of the Parse: count and OIDs of declared parameter types.
    pub types: Box<[u8]>,
    pub known: Rc<Known>,
    /// Other sessions may use the same server-side statement.
    pub shared: bool,
    /// It lives in the server's unnamed slot instead of under a name.
    pub unnamed: bool,
    /// The same with room for bounds, where its conditions imply some.
    pub twin: Option<Box<Twin>>,
    context: Context,
}

/// What a text is read under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Context {
    /// Of the session's baggage.
    pub meaning: u64,
    /// Schema changes seen.
    pub epoch: u64,
    /// A backslash in a plain string is a backslash.
    pub standard_strings: bool,
}

/// Length of a server-side statement name.
pub const NAME: usize = 14;

impl Statement {
    /// The name on servers: short, and of fixed width.
    pub fn name(&self) -> ([u8; NAME], usize) {
        if self.unnamed { ([0; NAME], 0) } else { (name(self.id), NAME) }
    }
}

/// `pgw_` and the id in base 32. Clients are not kept from writing such names in SQL.
pub fn name(id: StatementId) -> [u8; NAME] {
    let mut name = *b"pgw_0000000000";
    let mut rest = id;
    for digit in name[4..].iter_mut().rev() {
        *digit = b"0123456789abcdefghijklmnopqrstuv"[(rest & 31) as usize];
        rest >>= 5;
    }
    name
}

/// Where a server-side name stands in `text`, and whose it is.
pub fn find_name(text: &[u8]) -> Option<(usize, StatementId)> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(StatementId::from(byte - b'0')),
        b'a'..=b'v' => Some(StatementId::from(byte - b'a' + 10)),
        _ => None,
    };
    memchr::memmem::find_iter(text, b"pgw_").find_map(|at| {
        let digits = text.get(at + 4..at + NAME)?;
        let id = digits.iter().try_fold(0, |id: StatementId, byte| Some(id << 5 | digit(byte)?))?;
        Some((at, id))
    })
}

/// Texts a pool keeps. With `TEXT_MAX` this bounds a pool's texts to 80 MiB; typical texts of 300 bytes
/// come to 1.5 MiB.
const TEXTS_MAX: usize = 5_000;

/// A longer text is prepared for its session alone.
const TEXT_MAX: usize = 16 * 1024;

/// The shared statements of one pool.
pub struct Interner {
    known: HashMap<u64, Rc<Statement>, foldhash::fast::RandomState>,
    hasher: foldhash::fast::RandomState,
    next: Rc<Cell<StatementId>>,
    /// Reads texts, these and those of simple queries.
    pub reader: Reader,
    /// What statements on partitioned tables are narrowed by; `None`: none is.
    pub routing: Option<Rc<Routing>>,
    /// Buffers for that.
    pub work: Work,
    /// Statements that write are kept until they are answered: a row that finds no partition may get one.
    pub keeps_writes: bool,
}

impl Statement {
    /// What its text was read under.
    pub fn context(&self) -> Context {
        self.context
    }
}

impl Interner {
    /// `next` counts ids for all interners that may meet on one server.
    pub fn new(next: Rc<Cell<StatementId>>) -> Self {
        Interner {
            known: HashMap::default(),
            hasher: Default::default(),
            next,
            reader: Reader::default(),
            routing: None,
            work: Work::default(),
            keeps_writes: false,
        }
    }

    /// The shared statement for this text, read under this context; `None`
    /// when it cannot be shared.
    #[inline]
    pub fn shared(&mut self, text: &[u8], types: &[u8], context: Context) -> Option<Rc<Statement>> {
        let key = self.hasher.hash_one((text, types, context));
        if let Some(known) = self.known.get(&key) {
            let same = *known.text == *text && *known.types == *types && known.context == context;
            return same.then(|| known.clone());
        }
        if text.len() > TEXT_MAX {
            return None;
        }
        if self.known.len() >= TEXTS_MAX {
            self.known.retain(|_, statement| Rc::strong_count(statement) > 1);
            if self.known.len() >= TEXTS_MAX {
                return None;
            }
        }
        let mut statement = self.build(text, types, context, true, false);
        statement.twin = self.twin(&statement);
        let statement = Rc::new(statement);
        self.known.insert(key, statement.clone());
        Some(statement)
    }

    /// A statement for one session alone.
    pub fn private(&mut self, text: &[u8], types: &[u8], context: Context, unnamed: bool) -> Rc<Statement> {
        Rc::new(self.build(text, types, context, false, unnamed))
    }

    /// Observes statements from now on, or no more. What clients hold already stays as it was read.
    pub fn observe(&mut self, on: bool, values: bool) {
        if (on, values) != (self.reader.on, self.reader.values) {
            self.reader.observe(on, values);
            self.known.clear();
        }
    }

    /// An id for a statement that pgweir makes for itself.
    pub fn new_id(&mut self) -> StatementId {
        let id = self.next.get() + 1;
        self.next.set(id);
        id
    }

    /// Narrows by this from now on. What is known by heart stays, if it was found out by the same.
    pub fn route(&mut self, routing: Option<Routing>) {
        if Routing::replace(&mut self.routing, routing) {
            self.known.clear();
        }
    }

    /// The statement with room for bounds; only what is the same for all sessions is narrowed.
    fn twin(&mut self, statement: &Statement) -> Option<Box<Twin>> {
        let routing = self.routing.clone()?;
        if routing.epoch.get() != statement.context.epoch {
            return None;
        }
        let prepared = routing.prepare(statement, statement.context.standard_strings)?;
        let id = self.new_id();
        let twin = Statement {
            id,
            text: prepared.text().as_bytes().into(),
            types: statement.types.clone(),
            known: statement.known.clone(),
            shared: true,
            unnamed: false,
            twin: None,
            context: statement.context,
        };
        Some(Box::new(Twin { statement: Rc::new(twin), prepared, routing }))
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn build(
        &mut self,
        text: &[u8],
        types: &[u8],
        context: Context,
        shared: bool,
        unnamed: bool,
    ) -> Statement {
        let id = self.new_id();
        let known = self.reader.read_to_keep(text, context.standard_strings);
        Statement { id, text: text.into(), types: types.into(), known, shared, unnamed, twin: None, context }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_per_context() {
        let mut interner = Interner::new(Rc::default());
        let at = |meaning, epoch| Context { meaning, epoch, standard_strings: true };
        let one = interner.shared(b"select 1", b"\0\0", at(0, 0)).expect("short");
        assert_eq!(interner.shared(b"select 1", b"\0\0", at(0, 0)).expect("short").id, one.id);
        assert_ne!(interner.shared(b"select 1", b"\0\0", at(7, 0)).expect("short").id, one.id);
        assert_ne!(interner.shared(b"select 1", b"\0\0", at(0, 1)).expect("short").id, one.id);
        assert_ne!(interner.private(b"select 1", b"\0\0", at(0, 0), false).id, one.id);
        assert!(interner.shared(&[b'x'; TEXT_MAX + 1], b"\0\0", at(0, 0)).is_none());
    }

    #[test]
    fn values_stand_where_they_stood_when_other_texts_were_read() {
        let mut interner = Interner::new(Rc::default());
        let context = Context { meaning: 0, epoch: 0, standard_strings: true };
        let text = |n: u32| format!("select a from t where id = {n}").into_bytes();
        (1..4).for_each(|n| drop(interner.shared(&text(n), b"\0\0", context)));
        for n in [5_000, 5_001, 5_000] {
            let statement = interner.shared(&text(n), b"\0\0", context).expect("short");
            interner.reader.read(b"select a, b, c from somewhere.else where name = 'x' and id = 1", true);
            assert_eq!(interner.reader.spans(&statement.known), [(27, 31)], "{n}");
            assert_ne!(statement.known.site, 0);
        }
    }

    #[test]
    fn nothing_is_read_for_its_shape_while_nobody_observes() {
        use super::super::shape::Shapes;
        let mut interner = Interner::new(Rc::default());
        let context = Context { meaning: 0, epoch: 0, standard_strings: true };
        let mut ask = |on: Option<bool>| {
            on.iter().for_each(|on| interner.observe(*on, false));
            let one = interner.shared(b"select 1", b"\0\0", context).expect("short");
            let two = interner.reader.read(b"select 1", true);
            [&one.known.shapes, &two.shapes].map(|shapes| matches!(shapes, Shapes::None))
        };
        assert_eq!(ask(None), [false, false]);
        assert_eq!(ask(Some(false)), [true, true], "what was known before is forgotten");
        assert_eq!(ask(None), [true, true]);
        assert_eq!(ask(Some(true)), [false, false]);
    }

    #[test]
    fn names_have_one_width() {
        assert_eq!(&name(0), b"pgw_0000000000");
        assert_eq!(&name(33), b"pgw_0000000011");
        let text = [b"pgw_ is \"", &name(1_234_567)[..], b"\""].concat();
        assert_eq!(find_name(&text), Some((9, 1_234_567)));
        assert_eq!(find_name(b"pgw_000000000"), None);
    }
}
