//! Which look-up follows which result, learned from what sessions did, for all sessions of a pool: where each
//! of its values comes from, and whether fetching it ahead paid. Holds shapes and, in memory alone, the last
//! values. Must not know a session. Pure.

use std::collections::HashMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::Child;
use super::keys::{Form, Key};
use super::rate::{Off, Rate};

/// Templates of one pool. An application has dozens; those that were of use least recently make room.
pub const TEMPLATES_MAX: usize = 1_000;

/// Of one child's shape: it is looked up in loops over different results.
const PER_CHILD: usize = 6;

/// What makes it worth to fetch more than what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A loop over the rows of a result.
    Rows,
    /// Keys from the application's input, looked up in a small table.
    Table,
    /// The same look-up again and again.
    Repeat,
}

/// Where one value of the child comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// This column of the parent's row, counted from 0.
    Column(u16),
    /// This value of the parent's own statement.
    Parameter(u16),
    /// The same in every look-up so far.
    Same,
    /// The same in every look-up of one loop, and nobody knows beforehand what.
    Own,
}

/// One look-up that follows.
pub struct Template {
    pub id: u32,
    pub kind: Kind,
    /// Shapes; a parent only if it is a loop over rows.
    pub parent: Option<u64>,
    pub child: u64,
    /// Of each of the child's values.
    pub sources: Box<[Source]>,
    pub rate: Rate,
    /// The last look-up of this template, for those that go along with others.
    pub last: Option<Last>,
    touched_us: u64,
}

/// A look-up as it was asked.
pub struct Last {
    pub child: Rc<Child>,
    pub values: Box<[Key]>,
    /// In which form the client sends each.
    pub forms: Box<[Form]>,
}

impl Template {
    /// The columns that its values come from, and which values they are.
    pub fn columns(&self) -> (Vec<u16>, Vec<u16>) {
        let each = self.sources.iter().enumerate().filter_map(|(at, source)| match source {
            Source::Column(column) => Some((*column, at as u16)),
            _ => None,
        });
        each.unzip()
    }

    /// A look-up that was not asked yet, its values `Null` where they come from columns. `None`: they are not
    /// known.
    pub fn foresee(&self, parameters: &[Key]) -> Option<Last> {
        let last = self.last.as_ref()?;
        let values = self.sources.iter().zip(&last.values).map(|(source, last)| match source {
            Source::Column(_) => Some(Key::Null),
            Source::Parameter(at) => parameters.get(usize::from(*at)).cloned(),
            Source::Same => Some(last.clone()),
            Source::Own => None,
        });
        let (child, forms) = (last.child.clone(), last.forms.clone());
        Some(Last { child, values: values.collect::<Option<_>>()?, forms })
    }

    /// The first look-up of a loop was asked with these values, the parent with those.
    pub fn observe(
        &mut self,
        child: &Rc<Child>,
        (values, forms): (&[Key], &[Form]),
        parameters: &[Key],
        now_us: u64,
    ) {
        self.touched_us = now_us;
        let before = self.last.as_ref().map(|last| &last.values).filter(|last| last.len() == values.len());
        for (at, source) in self.sources.iter_mut().enumerate() {
            let Some(value) = values.get(at) else { continue };
            let last = before.map(|last| &last[at]);
            let parameter = || parameters.iter().position(|parameter| parameter == value);
            *source = match *source {
                Source::Same if last.is_some_and(|last| last != value) => {
                    parameter().map_or(Source::Own, |at| Source::Parameter(at as u16))
                }
                Source::Parameter(from) if parameters.get(usize::from(from)) != Some(value) => Source::Own,
                source => source,
            };
        }
        self.last = Some(Last { child: child.clone(), values: values.into(), forms: forms.into() });
    }
}

/// All templates of a pool.
#[derive(Default)]
pub struct Templates {
    all: HashMap<u32, Template>,
    by_child: HashMap<u64, Vec<u32>>,
    by_parent: HashMap<u64, Vec<u32>>,
    ids: u32,
    /// Counts what was learned, forgotten, proved or turned off: whoever keeps them sees that something changed.
    pub changes: u64,
}

impl Templates {
    /// Notes that this look-up follows. Returns its template, old or new.
    pub fn learn(
        &mut self,
        (kind, parent, child): (Kind, Option<u64>, u64),
        sources: Box<[Source]>,
        now_us: u64,
    ) -> u32 {
        let like = |template: &&Template| {
            (template.kind, template.parent) == (kind, parent)
                && columns(&template.sources) == columns(&sources)
        };
        if let Some(known) = self.of_child(child).find(like) {
            return known.id;
        }
        let own = self.of_child(child).map(|template| (template.touched_us, template.id));
        let own: Vec<(u64, u32)> = own.collect();
        if own.len() >= PER_CHILD
            && let Some(&(_, oldest)) = own.iter().min()
        {
            self.forget(oldest);
        }
        while self.all.len() >= TEMPLATES_MAX {
            let oldest = self.all.values().min_by_key(|template| (template.touched_us, template.id));
            let Some(oldest) = oldest.map(|template| template.id) else { break };
            self.forget(oldest);
        }
        self.ids += 1;
        self.changes += 1;
        let id = self.ids;
        let (rate, last, touched_us) = (Rate::default(), None, now_us);
        self.all.insert(id, Template { id, kind, parent, child, sources, rate, last, touched_us });
        self.by_child.entry(child).or_default().push(id);
        if let Some(parent) = parent {
            self.by_parent.entry(parent).or_default().push(id);
        }
        id
    }

    fn forget(&mut self, id: u32) {
        let Some(template) = self.all.remove(&id) else { return };
        self.changes += 1;
        let (child, parent) = (self.by_child.get_mut(&template.child), template.parent);
        child.into_iter().for_each(|ids| ids.retain(|&other| other != id));
        let parent = parent.and_then(|parent| self.by_parent.get_mut(&parent));
        parent.into_iter().for_each(|ids| ids.retain(|&other| other != id));
        self.by_child.retain(|_, ids| !ids.is_empty());
        self.by_parent.retain(|_, ids| !ids.is_empty());
    }

    pub fn get(&self, id: u32) -> Option<&Template> {
        self.all.get(&id)
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut Template> {
        self.all.get_mut(&id)
    }

    pub fn of_child(&self, shape: u64) -> impl Iterator<Item = &Template> {
        self.by_child.get(&shape).into_iter().flatten().filter_map(|id| self.all.get(id))
    }

    pub fn of_parent(&self, shape: u64) -> impl Iterator<Item = &Template> {
        self.by_parent.get(&shape).into_iter().flatten().filter_map(|id| self.all.get(id))
    }

    /// The columns of this shape's results that loops take their keys from; empty: it is not watched. Called
    /// for every statement, so it answers at once for most.
    pub fn watched(&self, shape: u64, now_us: u64) -> Vec<u16> {
        if !self.by_parent.contains_key(&shape) {
            return Vec::new();
        }
        let live = self.of_parent(shape).filter(|template| template.rate.off(now_us).is_none());
        let mut columns: Vec<u16> = live.flat_map(|template| template.columns().0).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// The types of these columns of a shape's results, as far as look-ups tell that follow it; 0: nobody knows.
    /// In the order of a result's columns, from the first on.
    pub fn types(&self, shape: u64, columns: &[u16]) -> Vec<u32> {
        let mut types = vec![0; columns.last().map_or(0, |&last| usize::from(last) + 1)];
        for template in self.of_parent(shape) {
            let Some(last) = &template.last else { continue };
            let (columns, values) = template.columns();
            for (column, value) in columns.into_iter().zip(values) {
                let slot = last.child.slots.get(usize::from(value)).filter(|slot| slot.by_value);
                if let (Some(own), Some(slot)) = (types.get_mut(usize::from(column)), slot) {
                    *own = slot.type_oid;
                }
            }
        }
        types
    }

    /// A loop is over. Returns why its template is off from now on, if it is.
    pub fn settle(&mut self, id: u32, used: u64, unused: u64, now_us: u64) -> Option<Off> {
        let rate = &mut self.all.get_mut(&id)?.rate;
        let was_sure = rate.is_sure();
        let off = rate.settle(used, unused, now_us);
        self.changes += u64::from(off.is_some() || rate.is_sure() != was_sure);
        off
    }

    /// A fetch failed. Returns why its template is off from now on, if it is.
    pub fn fail(&mut self, id: u32, now_us: u64) -> Option<Off> {
        let off = self.all.get_mut(&id)?.rate.fail(now_us);
        self.changes += u64::from(off.is_some());
        off
    }

    /// A fetch brought something else than a look-up had got alone: its template is off.
    pub fn differ(&mut self, id: u32, now_us: u64) {
        if let Some(template) = self.all.get_mut(&id) {
            template.rate.differ(now_us);
            self.changes += 1;
        }
    }

    /// The schema changed: statements as they were known are known no more.
    pub fn schema_changed(&mut self) {
        self.all.values_mut().for_each(|template| template.last = None);
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// For keeping them over a restart, and for other workers.
    pub fn records(&self, now_us: u64) -> Vec<Record> {
        self.all.values().map(|template| Record::of(template, now_us)).collect()
    }

    /// Takes over what another process or worker learned. What is known here stays as it is, but for a loop that
    /// was proved there and not yet here.
    pub fn remember(&mut self, records: Vec<Record>, now_us: u64) {
        for record in records {
            let Some((parent, child)) = record.shapes() else { continue };
            let known = self.len();
            let id = self.learn((record.template, parent, child), record.sources.clone().into(), now_us);
            let is_new = self.len() > known;
            let Some(template) = self.all.get_mut(&id) else { continue };
            let rate = record.rate(now_us);
            if is_new || (rate.is_sure() && template.rate.is_open()) {
                template.rate = rate;
            }
        }
    }
}

/// What is the same today may be another value tomorrow; which columns are meant tells loops apart.
fn columns(sources: &[Source]) -> Vec<Option<u16>> {
    let column = |source: &Source| if let Source::Column(at) = source { Some(*at) } else { None };
    sources.iter().map(column).collect()
}

/// One template as it is kept in a file or a table. Holds no value of any statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub template: Kind,
    /// 16 hexadecimal digits each.
    pub parent: Option<String>,
    pub child: String,
    pub sources: Vec<Source>,
    /// Rows of late, fetched and used, and runs in all.
    pub fetched: u64,
    pub used: u64,
    pub episodes: u64,
    /// Why it is off: `wasteful`, `failing`, `differing`.
    pub off: Option<OffRecord>,
}

/// A reason as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OffRecord {
    Wasteful,
    Failing,
    Differing,
}

impl Record {
    /// Both are of the same loop.
    pub fn is_of(&self, other: &Record) -> bool {
        let own = (self.template, &self.parent, &self.child);
        own == (other.template, &other.parent, &other.child)
            && columns(&self.sources) == columns(&other.sources)
    }

    /// The same for both if [`Record::is_of`], and only then.
    pub fn key(&self) -> String {
        let parent = self.parent.as_deref().unwrap_or_default();
        format!("{:?}/{parent}/{}/{:?}", self.template, self.child, columns(&self.sources))
    }

    fn of(template: &Template, now_us: u64) -> Record {
        let off = template.rate.off(now_us).map(|off| match off {
            Off::Wasteful => OffRecord::Wasteful,
            Off::Failing => OffRecord::Failing,
            Off::Differing => OffRecord::Differing,
        });
        Record {
            template: template.kind,
            parent: template.parent.map(|parent| format!("{parent:016x}")),
            child: format!("{:016x}", template.child),
            sources: template.sources.to_vec(),
            fetched: template.rate.fetched,
            used: template.rate.used,
            episodes: template.rate.episodes,
            off,
        }
    }

    fn shapes(&self) -> Option<(Option<u64>, u64)> {
        let read = |shape: &String| u64::from_str_radix(shape, 16).ok();
        let parent = match &self.parent {
            Some(parent) => Some(read(parent)?),
            None => None,
        };
        // A loop has a parent, and nothing else has.
        (parent.is_some() == (self.template == Kind::Rows)).then_some((parent, read(&self.child)?))
    }

    fn rate(&self, now_us: u64) -> Rate {
        let off = self.off.map(|off| match off {
            OffRecord::Wasteful => Off::Wasteful,
            OffRecord::Failing => Off::Failing,
            OffRecord::Differing => Off::Differing,
        });
        Rate::restore(self.fetched, self.used, self.episodes, off, now_us)
    }
}
