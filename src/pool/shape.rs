//! Which shape a text has. A text that comes again is known by itself; one that differs in its values is
//! known by its shape. One of these per pool and worker. Pure.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;

use super::routing::Reach;
use super::template::{Site, Templates};
use super::values::{self, Values};
use crate::observe::ledger::Entry;
use crate::sql::comment::{self, Origin};
use crate::sql::dialect::{self, Library};
use crate::sql::kind::{self, Kind};
use crate::sql::mark::{self, Marks};
use crate::sql::shape::{self, Fingerprint, Hole, HoleKind, Shaper};
use crate::sql::{self, Traits};

/// Statements that differ in nothing but their values.
#[derive(Debug)]
pub struct Shape {
    pub fingerprint: Fingerprint,
    /// The statement without its values.
    pub text: Box<str>,
    pub kind: Kind,
    /// Who wrote it, by the style of the first text of this shape.
    pub library: Option<Library>,
    /// Where in the application the last one with a comment came from; the shell fills it in.
    pub origin: RefCell<Option<Rc<Origin<'static>>>>,
    /// By which [`super::routing::Routing`] it was found to name a partitioned table, and how often in a row there
    /// was nothing to add.
    pub routed: Cell<Option<(u64, u8)>>,
    /// How far back its pages are looked for.
    pub reach: Cell<Reach>,
    /// Where its calls are counted; the shell fills it in.
    pub entry: RefCell<Option<Arc<Entry>>>,
}

/// What is known of a text from reading it.
#[derive(Debug, Default)]
pub struct Known {
    pub traits: Traits,
    pub shapes: Shapes,
    /// Of the values in the text itself.
    pub marks: Marks,
    /// What its comments say.
    pub origin: Option<Rc<Origin<'static>>>,
    /// These values, where somebody wants them and the text is one statement.
    pub values: Option<Rc<Values>>,
    /// The text itself, under the same condition.
    pub original: Option<Rc<Original>>,
    /// Which texts it shares all with but its values; 0: that is not known.
    pub site: Site,
    /// Where these values stand; empty: where the reader found them last.
    spans: Box<[(u32, u32)]>,
    text: Box<[u8]>,
    standard_strings: bool,
}

impl Known {
    /// It was read as such a server reads it.
    pub fn is_for(&self, standard_strings: bool) -> bool {
        self.standard_strings == standard_strings
    }
}

/// One statement as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    pub text: Box<str>,
    /// So many of the values that are kept stand in the text; parameters come behind them.
    pub literals: usize,
}

/// The shapes of a text's statements, in order.
#[derive(Debug, Default, Clone)]
pub enum Shapes {
    #[default]
    None,
    One(Rc<Shape>),
    Several(Box<[Rc<Shape>]>),
}

impl Shapes {
    #[inline]
    pub fn get(&self, at: usize) -> Option<&Rc<Shape>> {
        match self {
            Shapes::None => None,
            Shapes::One(shape) => (at == 0).then_some(shape),
            Shapes::Several(shapes) => shapes.get(at),
        }
    }

    fn add(&mut self, shape: Rc<Shape>) {
        *self = match std::mem::take(self) {
            Shapes::None => Shapes::One(shape),
            Shapes::One(first) => Shapes::Several([first, shape].into()),
            Shapes::Several(shapes) => Shapes::Several(shapes.into_iter().chain([shape]).collect()),
        };
    }
}

/// Texts that came twice are kept, so that they are read once; 2,000 of typical 300 bytes come to 1 MiB.
const TEXTS_MAX: usize = 2_000;
const TEXT_MAX: usize = 4 * 1024;

/// Places that remember a text's hash, to know it when it comes a second time.
const SEEN: usize = 1024;

/// Shapes known here; the ledger has its own, smaller bound.
const SHAPES_MAX: usize = 10_000;

/// Longer texts are not read: dumps and bulk loads, of which each is its own.
pub const READ_MAX: usize = 64 * 1024;

/// What one pool has read.
pub struct Reader {
    /// Whether statements are observed at all.
    pub on: bool,
    /// Whether their values are kept for people to read.
    pub values: bool,
    shaper: Shaper,
    templates: Templates,
    /// Of the text that was read last.
    holes: Vec<(Hole, u32)>,
    /// Texts that had to be read.
    understood: u64,
    texts: HashMap<u64, Rc<Known>, foldhash::fast::RandomState>,
    hasher: foldhash::fast::RandomState,
    seen: Box<[u64; SEEN]>,
    shapes: ByFingerprint,
}

impl Default for Reader {
    fn default() -> Self {
        Reader {
            on: true,
            values: false,
            shaper: Shaper::default(),
            templates: Templates::default(),
            holes: Vec::new(),
            understood: 0,
            texts: HashMap::default(),
            hasher: Default::default(),
            seen: Box::new([0; SEEN]),
            shapes: HashMap::default(),
        }
    }
}

impl Reader {
    /// What a text is. `standard_strings`: the server reads backslashes in plain strings as themselves.
    #[inline]
    pub fn read(&mut self, text: &[u8], standard_strings: bool) -> Rc<Known> {
        let key = self.hasher.hash_one(text);
        if let Some(known) = self.texts.get(&key)
            && *known.text == *text
            && known.standard_strings == standard_strings
        {
            return known.clone();
        }
        let place = &mut self.seen[key as usize % SEEN];
        let again = std::mem::replace(place, key) == key;
        let mut known = self.like_others(text, standard_strings);
        if !again || text.len() > TEXT_MAX {
            return Rc::new(known);
        }
        known.text = text.into();
        if known.site != 0 {
            known.spans = self.templates.values().into();
        }
        let known = Rc::new(known);
        if self.texts.len() >= TEXTS_MAX {
            self.texts.clear();
        }
        self.texts.insert(key, known.clone());
        known
    }

    /// The same for a text that is kept: where its values stand stays known when others were read.
    pub fn read_to_keep(&mut self, text: &[u8], standard_strings: bool) -> Rc<Known> {
        let mut known = self.read(text, standard_strings);
        if known.site != 0
            && known.spans.is_empty()
            && let Some(own) = Rc::get_mut(&mut known)
        {
            own.spans = self.templates.values().into();
        }
        known
    }

    /// By another text that differs in its values alone, or by reading it.
    fn like_others(&mut self, text: &[u8], standard_strings: bool) -> Known {
        if self.on
            && !self.values
            && let Some(met) = self.templates.meet(text, standard_strings)
        {
            let (traits, marks, shapes, site) = (met.traits, met.marks, met.shapes.clone(), met.site);
            return Known { traits, marks, shapes, standard_strings, site, ..Known::default() };
        }
        self.understand(text, standard_strings)
    }

    /// Observes from now on, or no more. What was read before is read again when it comes again.
    pub fn observe(&mut self, on: bool, values: bool) {
        (self.on, self.values) = (on, values);
        self.texts.clear();
        self.templates.clear();
        self.seen.fill(0);
        self.shapes.clear();
    }

    fn understand(&mut self, text: &[u8], standard_strings: bool) -> Known {
        let traits = sql::traits(text);
        let mut known = Known { traits, standard_strings, ..Known::default() };
        if !self.on || text.len() > READ_MAX {
            return known;
        }
        self.understood += 1;
        let (shaper, shapes) = (&mut self.shaper, &mut self.shapes);
        self.holes.clear();
        shaper.shapes(text, standard_strings, |seen| {
            known.shapes.add(find(shapes, &seen, text));
            for hole in seen.holes {
                if let Some(mark) = mark_of(text, hole) {
                    known.marks.add(mark);
                    self.holes.push((*hole, mark));
                }
            }
            if self.values {
                let kept = Rc::make_mut(known.values.get_or_insert_default());
                seen.holes.iter().for_each(|hole| keep(kept, text, hole));
            }
        });
        if shaper.first_comment.is_some() {
            let origin = comment::at(text, shaper.first_comment, shaper.last_comment);
            known.origin = (!origin.is_empty()).then(|| Rc::new(origin.into_owned()));
        }
        if matches!(known.shapes, Shapes::Several(_)) {
            known.values = None;
        }
        if let (Some(values), Ok(text)) = (&known.values, str::from_utf8(text)) {
            known.original = Some(Rc::new(Original { text: text.into(), literals: values.len() }));
        }
        if !self.values {
            let site = self.templates.learn(standard_strings, traits, &known.shapes, &self.holes);
            known.site = site.unwrap_or_default();
        }
        known
    }

    /// The site of a text that had none when it was read, if others like it were met since, and where its values stand.
    pub fn site_of(&mut self, text: &[u8], known: &Known) -> Option<(Site, &[(u32, u32)])> {
        let site = self.templates.meet(text, known.standard_strings)?.site;
        Some((site, self.templates.values()))
    }

    /// Where the values of a text with a site stand, quotes included; to be asked right after it was read, if it was
    /// not read to be kept.
    pub fn spans<'a>(&'a self, known: &'a Known) -> &'a [(u32, u32)] {
        if known.spans.is_empty() { self.templates.values() } else { &known.spans }
    }

    /// How many texts had to be read, because nothing like them was known.
    pub fn understood(&self) -> u64 {
        self.understood
    }

    pub fn shape(&self, fingerprint: Fingerprint) -> Option<&Rc<Shape>> {
        self.shapes.get(&fingerprint)
    }
}

type ByFingerprint = HashMap<Fingerprint, Rc<Shape>, foldhash::fast::RandomState>;

fn find(shapes: &mut ByFingerprint, seen: &shape::Shape<'_>, sent: &[u8]) -> Rc<Shape> {
    if let Some(known) = shapes.get(&seen.fingerprint) {
        return known.clone();
    }
    if shapes.len() >= SHAPES_MAX {
        shapes.clear();
    }
    let text = String::from_utf8_lossy(seen.canonical);
    let shape = Rc::new(Shape {
        fingerprint: seen.fingerprint,
        kind: kind::of(&text),
        library: dialect::of(sent),
        text: text.into(),
        origin: RefCell::default(),
        routed: Cell::default(),
        reach: Cell::default(),
        entry: RefCell::default(),
    });
    shapes.insert(seen.fingerprint, shape.clone());
    shape
}

/// A value that stands in the text, as it is written there, for people.
fn keep(kept: &mut Values, text: &[u8], hole: &Hole) {
    let value = text.get(hole.start as usize..hole.end as usize).unwrap_or_default();
    match hole.kind {
        HoleKind::Parameter(_) => {}
        _ => values::add_text(kept, value),
    }
}

/// The mark of a value that stands in the text. Parameters come with each Bind.
fn mark_of(text: &[u8], hole: &Hole) -> Option<u32> {
    let value = text.get(hole.start as usize..hole.end as usize)?;
    match hole.kind {
        HoleKind::Parameter(_) => None,
        HoleKind::Null => Some(mark::NULL),
        HoleKind::String => {
            let inner = value.strip_prefix(b"'").and_then(|value| value.strip_suffix(b"'"));
            Some(mark::text(inner.unwrap_or(value)))
        }
        _ => Some(mark::text(value)),
    }
}
