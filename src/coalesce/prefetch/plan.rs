//! What to do with a look-up that is about to be asked: the one decision of this room. Pure.

use std::rc::Rc;

use super::buffer::Served;
use super::follow::{cold, fetch, warm};
use super::keys::{Form, Key, Value};
use super::level::{Level, Place, may_fetch, may_serve};
use super::session::{Kept, Session};
use super::small::LOOKUPS;
use super::template::{Kind, Source, Templates};
use super::{Child, Episode};
use crate::coalesce::unit::Watch;

/// A look-up that the client sent, if it may be replayed.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub child: &'a Rc<Child>,
    /// Those in the text, in its order, and the parameters behind them: in the order of the marks that the
    /// watch sees.
    pub values: &'a [Value<'a>],
    pub place: Place,
    /// How many keys a query may have, for other reasons than this room's: timeouts. 1: none may be fetched
    /// ahead.
    pub keys_max: usize,
}

impl Ask<'_> {
    pub(super) fn forms(&self) -> Box<[Form]> {
        self.values.iter().map(|value| value.form).collect()
    }
}

/// What the decision looks at beside the session.
pub struct World<'a> {
    pub templates: &'a mut Templates,
    /// Has been told of this look-up (`Watch::asked`), and not yet of its answer.
    pub watch: &'a Watch,
    /// Whether nobody is writing to these tables at the moment, so that a fence can be seen.
    pub is_calm: &'a dyn Fn(&[u32]) -> bool,
}

/// What to do.
pub enum Plan {
    /// Send it as it is. `keep`: give its answer to `Session::file_own`, if it is no error and not too long.
    Forward { why: Why, keep: Option<Kept> },
    /// Answer it so.
    Serve(Served),
    /// Ask these, in one snapshot; the first one's first member is the look-up itself.
    Fetch(Vec<Order>),
}

/// Why a look-up goes to the server as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The level does not allow to answer later look-ups of this place from an earlier snapshot.
    Level,
    /// It does not have the values that its statement is known to have.
    Values,
    /// Nothing says what will be asked next.
    Alone,
    /// It is known what will be asked next, and nothing is left of it.
    Last,
    /// It was turned off.
    Off,
    /// Somebody is writing to its tables, so that nothing that is fetched now could be kept.
    Writes,
}

impl Why {
    pub fn label(self) -> &'static str {
        match self {
            Why::Level => "level",
            Why::Values => "values",
            Why::Alone => "alone",
            Why::Last => "last",
            Why::Off => "off",
            Why::Writes => "writes",
        }
    }
}

/// One query for several look-ups of one statement.
pub struct Order {
    pub child: Rc<Child>,
    pub episode: Episode,
    /// All values of the statement, `Null` where they vary.
    pub constants: Box<[Key]>,
    /// Which values vary, in rising order.
    pub varying: Box<[u16]>,
    /// In which form the client sends each value.
    pub forms: Box<[Form]>,
    pub what: What,
}

/// Which look-ups.
pub enum What {
    /// By these values, each different, in the order in which they will be asked: replay them with ordinals.
    Keys(Vec<Box<[Key]>>),
    /// By every key of the table (`Child::small`), and NULL: replay them with the key itself in front of each
    /// row. The value is the client's own.
    Table(Key),
}

/// Decides. The session settles its accounts first, so templates are as they should be.
pub fn plan(session: &mut Session, ask: &Ask<'_>, world: &mut World<'_>) -> Plan {
    let (child, place) = (ask.child, &ask.place);
    session.settle(world.templates, place.now_us);
    if ask.values.len() != child.slots.len() {
        return Plan::Forward { why: Why::Values, keep: None };
    }
    if !may_fetch(child.level, child.serializable, place) {
        return Plan::Forward { why: Why::Level, keep: None };
    }
    let keys: Vec<Key> =
        ask.values.iter().zip(&child.slots).map(|(value, slot)| Key::of(*value, *slot)).collect();
    let may = |taken: &_| may_serve(child.level, child.serializable, place, taken);
    if let Some(served) = session.buffer.serve(child, &keys, place.now_us, may) {
        return Plan::Serve(served);
    }
    // What could not be served any more may have turned its template off.
    session.settle(world.templates, place.now_us);
    if child.level == Level::Fenced && !place.is_fixed() && !(world.is_calm)(&child.tables) {
        return Plan::Forward { why: Why::Writes, keep: None };
    }
    let mut why = Why::Alone;
    let at =
        warm(session, &keys, ask, world, &mut why).or_else(|| cold(session, &keys, ask, world, &mut why));
    if let Some(at) = at {
        match fetch(session, at, &keys, ask, world) {
            Some(orders) => return Plan::Fetch(orders),
            None => why = Why::Last,
        }
    }
    let (again, count) = session.recent.note(child, &keys);
    if let Some(order) = table(session, &keys, count, ask, world, &mut why) {
        return Plan::Fetch(vec![order]);
    }
    Plan::Forward { keep: repeat(session, keys, again, ask, world), why }
}

/// A small table that is read as a whole.
fn table(
    session: &mut Session,
    keys: &[Key],
    count: u32,
    ask: &Ask<'_>,
    world: &mut World<'_>,
    why: &mut Why,
) -> Option<Order> {
    let (child, now_us) = (ask.child, ask.place.now_us);
    let small = child.small.as_ref()?;
    let value = usize::from(small.value);
    let slot = child.slots.get(value).filter(|slot| slot.by_value)?;
    let own = keys.get(value).filter(|key| key.is_decisive(slot.type_oid) && ask.keys_max > 1)?;
    if session.buffer.has_whole(child, keys) {
        return None;
    }
    let known = world.templates.of_child(child.shape).find(|template| template.kind == Kind::Table);
    let known = known.map(|template| (template.id, template.rate.off(now_us)));
    let template = match known {
        Some((_, Some(_))) => {
            *why = Why::Off;
            return None;
        }
        Some((template, None)) => template,
        None if count < LOOKUPS => return None,
        None => {
            let source = |at| if at == value { Source::Own } else { Source::Same };
            let sources = (0..keys.len()).map(source).collect();
            world.templates.learn((Kind::Table, None, child.shape), sources, now_us)
        }
    };
    let held = session.enter(template, 0, 0);
    let mut constants = keys.to_vec();
    constants[value] = Key::Null;
    Some(Order {
        child: child.clone(),
        episode: session.loops[held].episode,
        constants: constants.into(),
        varying: [small.value].into(),
        forms: ask.forms(),
        what: What::Table(own.clone()),
    })
}

/// Whether the answer is to be kept, because the same is asked again and again.
fn repeat(
    session: &mut Session,
    keys: Vec<Key>,
    again: bool,
    ask: &Ask<'_>,
    world: &mut World<'_>,
) -> Option<Kept> {
    let (child, now_us) = (ask.child, ask.place.now_us);
    let known = world.templates.of_child(child.shape).find(|template| template.kind == Kind::Repeat);
    let template = match known {
        Some(template) if template.rate.off(now_us).is_some() => return None,
        Some(template) => template.id,
        None if !again => return None,
        None => {
            let sources = keys.iter().map(|_| Source::Own).collect();
            world.templates.learn((Kind::Repeat, None, child.shape), sources, now_us)
        }
    };
    let held = session.enter(template, 0, 0);
    Some(Kept { child: child.clone(), keys: keys.into(), episode: session.loops[held].episode })
}
