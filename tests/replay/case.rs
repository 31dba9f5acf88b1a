//! One case: a shape with a type, its replay, and members with values.

use pgweir::catalog::Oid;
use pgweir::coalesce::replay::{Probe, Replay, Slot, SlotKind, described};
use pgweir::coalesce::split;
use pgweir::wire::reply;
use rand::Rng;
use rand::seq::IndexedRandom;

use super::Fuzz;
use super::shapes::SHAPES;
use super::values::Kind;
use super::wire::Frame;

/// Members of a batch, and batches of a case.
const MEMBERS: usize = 40;
const BATCHES: usize = 3;

/// One statement and what belongs to it.
pub struct Asked {
    pub text: String,
    pub slots: Vec<Slot>,
    /// The body of its Bind; of a simple query, none.
    pub bind: Option<Vec<u8>>,
}

/// A shape that can be asked either way.
pub struct Prepared {
    pub replay: Replay,
    /// Which slots became parameters of the probe, of literals only.
    pub lifted: Vec<bool>,
    described: Vec<Oid>,
    columns: usize,
}

impl Fuzz {
    pub fn case(&mut self) {
        let (kind, _) = *self.kinds.choose(&mut self.random).expect("there are types");
        let shape = self.random.random_range(0..SHAPES.len());
        let table = format!("{}_{}", ["t", "v", "p"].choose(&mut self.random).expect("three"), kind.name);
        let bare = kind.sql.split(" collate ").next().unwrap_or(kind.sql);
        let text = SHAPES[shape].replace("{t}", &table).replace("{type}", bare);
        let before = self.figures.comparisons;
        if self.random.random_bool(0.3) {
            self.literals(kind, &text)
        } else {
            self.parameters(&text)
        }
        if self.figures.comparisons > before {
            self.figures.shapes.insert(shape);
            self.figures.types.insert(kind.name);
            self.figures.pairs.insert((shape, kind.name));
        }
    }

    /// The extended protocol, with values as parameters.
    fn parameters(&mut self, text: &str) {
        let slots = self.slots(text);
        let numbers: Vec<u16> = slots.iter().filter_map(parameter).collect();
        let Some(&chosen) = numbers.choose(&mut self.random) else {
            return;
        };
        let more = self.random.random_bool(0.6);
        let varies = |slot: &Slot| parameter(slot).is_some_and(|number| number == chosen || more);
        let varying: Vec<bool> = slots.iter().map(varies).collect();
        let Some(prepared) = self.prepare(text, &slots, &varying) else {
            return;
        };
        let varies = |number: usize| {
            slots.iter().zip(&varying).any(|(s, v)| *v && parameter(s) == Some(number as u16))
        };
        let count = prepared.described.len();
        let fixed: Vec<bool> = (1..=count).map(|number| !varies(number)).collect();
        let mut out = Vec::new();
        reply::parse(&mut out, b"s", text.as_bytes(), &[0, 0]);
        out.extend_from_slice(&reply::SYNC);
        self.wire.ask(&out, 1, |_, _| {});
        for _ in 0..BATCHES {
            let binds = self.binds(&prepared, &fixed);
            let asked = binds.into_iter().map(|bind| Asked {
                text: text.to_owned(),
                slots: slots.clone(),
                bind: Some(bind),
            });
            let asked: Vec<Asked> = asked.collect();
            self.compare(&prepared, &asked);
        }
        self.wire.must("deallocate all");
    }

    /// The simple protocol, with values in the text.
    fn literals(&mut self, kind: &Kind, template: &str) {
        let mut asked = Vec::new();
        for _ in 0..self.random.random_range(2..MEMBERS) {
            let text = template.replace("$1", &self.literal(kind));
            let of_kind =
                ["$2)", "and $2", "k = $2", "$2]", "$2::"].iter().any(|use_| template.contains(use_))
                    && !template.contains("(k, n)");
            let second = match of_kind {
                true => self.literal(kind),
                false => self.random.random_range(0..6).to_string(),
            };
            let text = text.replace("$2", &second);
            asked.push(Asked { slots: self.slots(&text), text, bind: None });
        }
        let first = &asked[0];
        let value = |asked: &Asked, at: usize| {
            let slot = asked.slots.get(at)?;
            Some(asked.text.as_bytes()[slot.start as usize..slot.end as usize].to_vec())
        };
        let differs = |at: usize| asked.iter().any(|other| value(other, at) != value(first, at));
        let varying: Vec<bool> = (0..first.slots.len()).map(differs).collect();
        let (text, slots) = (first.text.clone(), first.slots.clone());
        if let Some(prepared) = self.prepare(&text, &slots, &varying) {
            self.compare(&prepared, &asked);
            self.wire.must("deallocate all");
        }
    }

    fn literal(&mut self, kind: &Kind) -> String {
        let value = *kind.values.choose(&mut self.random).expect("every type has values");
        let number = value.parse::<i64>().is_ok() && self.random.random_bool(0.7);
        match self.random.random_range(0..20) {
            0 => "NULL".to_owned(),
            1 => "'no such value \\ '".to_owned(),
            _ if number => value.to_owned(),
            _ => format!("'{}'", value.replace('\'', "''")),
        }
    }

    fn slots(&mut self, text: &str) -> Vec<Slot> {
        let mut slots = Vec::new();
        self.shaper.shapes(text.as_bytes(), true, |shape| {
            slots.extend(shape.holes.iter().map(Slot::of_hole));
        });
        // A comparison may have been turned.
        slots.sort_by_key(|slot| slot.start);
        slots
    }

    /// As the proxy would: probe, build, compare the descriptions.
    fn prepare(&mut self, text: &str, slots: &[Slot], varying: &[bool]) -> Option<Prepared> {
        let probe = match Probe::build(text.as_bytes(), slots, varying) {
            Ok(probe) => probe,
            Err(refusal) => return self.refused(refusal.to_string()),
        };
        let Ok((types, original)) = self.describe(|out| probe.write_parse(b"p", out), b"p") else {
            self.figures.impossible += 1;
            return None;
        };
        let described = described(&types).expect("PostgreSQL's own message");
        let replay = match probe.replay(&described, &|oid| self.catalog.array_of(oid)) {
            Ok(replay) => replay,
            Err(refusal) => return self.refused(format!("types of values: {refusal}")),
        };
        match self.describe(|out| replay.write_parse(b"b", out), b"b") {
            Err(error) => self.refused(format!("PostgreSQL: {error}")),
            Ok((_, batch)) if !split::is_described(&batch, &original) => {
                self.refused("its columns are described in another way".to_owned())
            }
            Ok(_) => {
                let columns = usize::from(u16::from_be_bytes([original[0], original[1]]));
                let literal = |(slot, varies): (&Slot, &bool)| *varies && parameter(slot).is_none();
                let lifted = slots.iter().zip(varying).map(literal).collect();
                Some(Prepared { replay, lifted, described, columns })
            }
        }
    }

    fn refused(&mut self, why: String) -> Option<Prepared> {
        self.wire.must("deallocate all");
        let why: String = why.chars().filter(|char| !char.is_ascii_digit()).collect();
        *self.figures.refused.entry(why).or_default() += 1;
        None
    }

    /// The bodies of ParameterDescription and RowDescription.
    fn describe(
        &mut self,
        parse: impl FnOnce(&mut Vec<u8>),
        name: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), String> {
        let mut out = Vec::new();
        parse(&mut out);
        reply::statement_target(&mut out, b'D', name);
        out.extend_from_slice(&reply::SYNC);
        let mut found = Err("no rows".to_owned());
        self.wire.ask(&out, 1, |_, frames| {
            let body = |tag| frames.iter().find(|frame| frame.tag == tag).map(Frame::body);
            found = match (body(b't'), body(b'T')) {
                (Some(types), Some(rows)) => Ok((types.to_vec(), rows.to_vec())),
                _ => {
                    let error = frames.iter().find(|frame| frame.tag == b'E');
                    Err(error.map_or_else(|| "no rows".to_owned(), Frame::message))
                }
            };
        });
        found
    }

    /// Bodies of Bind messages: the same formats for all, the same values where they are fixed.
    fn binds(&mut self, prepared: &Prepared, fixed: &[bool]) -> Vec<Vec<u8>> {
        let binary: Vec<bool> = fixed.iter().map(|_| self.random.random_bool(0.4)).collect();
        let results: Vec<u8> = match self.random.random_range(0..4) {
            0 => Vec::new(),
            1 => vec![0, 0],
            2 => vec![0, 1],
            _ => (0..prepared.columns).flat_map(|_| [0, u8::from(self.random.random_bool(0.5))]).collect(),
        };
        let bogus = self.random.random_bool(0.02);
        let constant: Vec<_> =
            prepared.described.iter().map(|&oid| self.value(oid, &mut false, false)).collect();
        let mut bodies = Vec::new();
        for _ in 0..self.random.random_range(1..MEMBERS) {
            let mut body = b"\0s\0".to_vec();
            body.extend_from_slice(&(fixed.len() as u16).to_be_bytes());
            let mut values = Vec::new();
            for (at, &oid) in prepared.described.iter().enumerate() {
                let mut form = binary[at];
                let fresh = self.value(oid, &mut form, bogus);
                let value = if fixed[at] { constant[at].clone() } else { fresh };
                // A constant is in text form, and so is what has no other.
                let form = form && !fixed[at];
                body.extend_from_slice(&[0, u8::from(form)]);
                values.push(value);
            }
            body.extend_from_slice(&(values.len() as u16).to_be_bytes());
            for value in values {
                body.extend_from_slice(&value.as_ref().map_or(-1, |value| value.len() as i32).to_be_bytes());
                body.extend_from_slice(&value.unwrap_or_default());
            }
            body.extend_from_slice(&((results.len() / 2) as u16).to_be_bytes());
            body.extend_from_slice(&results);
            bodies.push(body);
        }
        bodies
    }

    /// A value of the type, in binary form if it has one and that is wanted.
    fn value(&mut self, oid: Oid, binary: &mut bool, bogus: bool) -> Option<Vec<u8>> {
        let pool = self.pools.get(&oid);
        let values = pool.map_or(&[][..], |pool| &pool.values);
        *binary &= values.iter().all(|value| value.binary.is_some());
        if bogus && self.random.random_bool(0.1) {
            return Some(b"bogus \\ value".to_vec());
        }
        if self.random.random_bool(0.08) {
            return None;
        }
        let value = values.choose(&mut self.random)?;
        if *binary { value.binary.clone() } else { Some(value.text.clone()) }
    }
}

fn parameter(slot: &Slot) -> Option<u16> {
    match slot.kind {
        SlotKind::Parameter(number) => Some(number),
        _ => None,
    }
}
