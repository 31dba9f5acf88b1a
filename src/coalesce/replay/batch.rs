//! The values of a batch: each member's are written, as they come, to the end of one array per column; when the
//! batch leaves, the arrays are put into one Bind. Values are copied and never read, so that what PostgreSQL
//! makes of them is what it would have made of them alone. Knows no connection. Buffers stay for the next batch.

use std::fmt;

use super::{Replay, Slot, SlotKind, Source, literal, types};
use crate::catalog::Oid;
use crate::wire::client::Bind;
use crate::wire::reply;

/// Members of one batch. Arrays of this length are read in microseconds; a statement's timeout is shared by all.
pub const MEMBERS_MAX: u32 = 512;

/// Bytes of a batch's values. Larger ones go alone: what is saved by a batch is small beside them.
pub const BYTES_MAX: usize = 1024 * 1024;

/// Why a statement of the shape cannot be a member of this batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    Full,
    /// Its text differs from the others in more than the values that vary.
    Text,
    /// A value that should be the same for all is not, or is one in another form.
    Scalar,
    /// A value is in text form and others are in binary form, or the other way round.
    Form,
    /// Columns are wanted in other formats.
    Results,
    /// The Bind message is cut or wrong, or has another number of parameters.
    Malformed,
}

impl fmt::Display for Unfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Unfit::Full => "the batch is full",
            Unfit::Text => "the text differs in more than its values",
            Unfit::Scalar => "a value differs that is the same for all others",
            Unfit::Form => "a value is in another form than the others",
            Unfit::Results => "the columns are wanted in another format",
            Unfit::Malformed => "the message is wrong",
        })
    }
}

/// A statement that wants to be part of a batch. The text and its slots are looked at only where literals vary;
/// otherwise the caller knows that the statement is the same. Without a Bind all columns are wanted as text.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    pub text: &'a [u8],
    pub slots: &'a [Slot],
    pub bind: Option<Bind<'a>>,
}

/// One array.
#[derive(Debug, Default)]
struct Array {
    /// Its elements as they will be sent, without what is around them.
    bytes: Vec<u8>,
    binary: bool,
    nulls: bool,
    /// Length and `nulls` before the member that is being added.
    before: (usize, bool),
}

/// A value of the first member that all others must have.
#[derive(Debug, Clone, Copy, Default)]
struct Scalar {
    binary: bool,
    /// In `scalar_bytes`; `None` for NULL.
    at: Option<(usize, usize)>,
}

/// A batch under way.
#[derive(Debug, Default)]
pub struct Batch {
    arrays: Vec<Array>,
    scalars: Vec<Scalar>,
    scalar_bytes: Vec<u8>,
    /// Format codes of the columns, as the first member's Bind had them.
    results: Vec<u8>,
    count: u32,
}

impl Batch {
    /// Begins a batch of this shape, with the buffers of the last one.
    pub fn clear(&mut self, replay: &Replay) {
        self.arrays.resize_with(replay.columns.len(), Array::default);
        for array in &mut self.arrays {
            array.bytes.clear();
            array.nulls = false;
        }
        self.count = 0;
        self.clear_first(replay);
    }

    /// Forgets what only the first member says.
    fn clear_first(&mut self, replay: &Replay) {
        self.scalars.clear();
        self.scalars.resize(replay.scalars.len(), Scalar::default());
        self.scalar_bytes.clear();
        self.results.clear();
    }

    /// Members so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of values so far.
    pub fn bytes(&self) -> usize {
        self.arrays.iter().map(|array| array.bytes.len()).sum::<usize>() + self.scalar_bytes.len()
    }

    /// Adds a member to a batch that was cleared for this shape. Its index is the number of those before it.
    ///
    /// # Errors
    /// Why it is not part of the batch, which is as it was before.
    pub fn add(&mut self, replay: &Replay, member: &Member<'_>) -> Result<(), Unfit> {
        if self.count >= replay.members_max {
            return Err(Unfit::Full);
        }
        for array in &mut self.arrays {
            array.before = (array.bytes.len(), array.nulls);
        }
        let added = self
            .add_results(member)
            .and_then(|()| self.add_literals(replay, member))
            .and_then(|()| self.add_parameters(replay, member))
            .and_then(|()| if self.bytes() > BYTES_MAX { Err(Unfit::Full) } else { Ok(()) });
        match added {
            Ok(()) => self.count += 1,
            Err(_) => {
                for array in &mut self.arrays {
                    array.bytes.truncate(array.before.0);
                    array.nulls = array.before.1;
                }
                if self.count == 0 {
                    self.clear_first(replay);
                }
            }
        }
        added
    }

    fn add_results(&mut self, member: &Member<'_>) -> Result<(), Unfit> {
        let results = match &member.bind {
            None => &[],
            Some(bind) => bind.results().ok_or(Unfit::Malformed)?,
        };
        if self.count == 0 {
            self.results.extend_from_slice(results);
        }
        if self.results == results { Ok(()) } else { Err(Unfit::Results) }
    }

    fn add_literals(&mut self, replay: &Replay, member: &Member<'_>) -> Result<(), Unfit> {
        if replay.literals == 0 {
            return Ok(());
        }
        if member.slots.len() != replay.slots.len() {
            return Err(Unfit::Text);
        }
        // Between the literals that vary the text is the same as the first one's, byte by byte.
        let (mut done, mut original_done) = (0, 0);
        let columns = replay.columns.iter().enumerate();
        for (at, column) in columns {
            let Source::Literal(slot_at) = column.source else {
                continue;
            };
            let (slot, original) = (&member.slots[slot_at], &replay.slots[slot_at]);
            let (start, end) = (slot.start as usize, slot.end as usize);
            let literal = member.text.get(start..end).ok_or(Unfit::Text)?;
            let between = member.text.get(done..start).ok_or(Unfit::Text)?;
            let same = between == &replay.original[original_done..original.start as usize];
            if !same || slot.kind != original.kind {
                return Err(Unfit::Text);
            }
            (done, original_done) = (end, original.end as usize);
            let (array, delimiter) = (&mut self.arrays[at], column.array.delimiter);
            array.binary = false;
            let first = self.count == 0;
            match slot.kind {
                SlotKind::Integer
                    if types::of_integer(literal) == Some(column.element)
                        && (column.signed || literal[0] != b'-') =>
                {
                    array.text(first, delimiter, literal);
                }
                SlotKind::String if literal::is_plain(literal) => {
                    array.begin_quoted(first, delimiter);
                    literal::parts(literal, |part| array.quote(part));
                    array.bytes.push(b'"');
                }
                _ => return Err(Unfit::Text),
            }
        }
        let same = member.text[done..] == replay.original[original_done..];
        if same { Ok(()) } else { Err(Unfit::Text) }
    }

    fn add_parameters(&mut self, replay: &Replay, member: &Member<'_>) -> Result<(), Unfit> {
        let Some(bind) = &member.bind else {
            return if replay.places.is_empty() { Ok(()) } else { Err(Unfit::Malformed) };
        };
        let (mut seen, mut failed) = (0, None);
        let read = bind.each_value(|value, binary| {
            let added = match replay.places.get(seen) {
                None => Err(Unfit::Malformed),
                Some(&place) => match replay.columns.get(place) {
                    Some(column) => {
                        self.arrays[place].add(self.count == 0, column.array.delimiter, value, binary)
                    }
                    None => self.add_scalar(place - replay.columns.len(), value, binary),
                },
            };
            failed = failed.or(added.err());
            seen += 1;
        });
        match failed {
            Some(unfit) => Err(unfit),
            None if read.is_none() || seen != replay.places.len() => Err(Unfit::Malformed),
            None => Ok(()),
        }
    }

    fn add_scalar(&mut self, at: usize, value: Option<&[u8]>, binary: bool) -> Result<(), Unfit> {
        let Some(scalar) = self.scalars.get_mut(at) else {
            return Err(Unfit::Malformed);
        };
        if self.count == 0 {
            let start = self.scalar_bytes.len();
            self.scalar_bytes.extend_from_slice(value.unwrap_or_default());
            *scalar = Scalar { binary, at: value.map(|value| (start, start + value.len())) };
            return Ok(());
        }
        let known = scalar.at.map(|(start, end)| &self.scalar_bytes[start..end]);
        if scalar.binary == binary && known == value { Ok(()) } else { Err(Unfit::Scalar) }
    }

    /// The Bind of the whole batch.
    pub fn write_bind(&self, replay: &Replay, portal: &[u8], statement: &[u8], out: &mut Vec<u8>) {
        self.write(replay, (portal, statement), out, |out| self.write_results(out));
    }

    /// The same for a statement that brings each of so many columns twice: as the members want it, and behind all of
    /// these as other format codes say.
    pub fn write_bind_twice(
        &self,
        replay: &Replay,
        statement: &[u8],
        (columns, other): (usize, &[i16]),
        out: &mut Vec<u8>,
    ) {
        let own: Vec<i16> =
            self.results.as_chunks::<2>().0.iter().map(|code| i16::from_be_bytes(*code)).collect();
        self.write(replay, (b"", statement), out, |out| {
            out.extend_from_slice(&(2 * columns as u16 + 1).to_be_bytes());
            out.extend_from_slice(&[0, 0]);
            for codes in [&own[..], other] {
                for column in 0..columns {
                    let code =
                        if codes.len() == 1 { codes[0] } else { codes.get(column).copied().unwrap_or(0) };
                    out.extend_from_slice(&code.to_be_bytes());
                }
            }
        });
    }

    fn write(
        &self,
        replay: &Replay,
        (portal, statement): (&[u8], &[u8]),
        out: &mut Vec<u8>,
        results: impl FnOnce(&mut Vec<u8>),
    ) {
        reply::frame(out, b'B', |out| {
            reply::cstr(out, portal);
            reply::cstr(out, statement);
            let forms = self.arrays.iter().map(|array| array.binary);
            let forms = forms.chain(self.scalars.iter().map(|scalar| scalar.binary));
            let count = (self.arrays.len() + self.scalars.len()) as u16;
            out.extend_from_slice(&count.to_be_bytes());
            forms.for_each(|binary| out.extend_from_slice(&u16::from(binary).to_be_bytes()));
            out.extend_from_slice(&count.to_be_bytes());
            for (array, column) in self.arrays.iter().zip(&replay.columns) {
                array.write(self.count, column.element, out);
            }
            for scalar in &self.scalars {
                let value = scalar.at.map(|(start, end)| &self.scalar_bytes[start..end]);
                let length = value.map_or(-1, |value| value.len() as i32);
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(value.unwrap_or_default());
            }
            results(out);
        });
    }

    /// The number of the set comes first: in the form of the others where they share one, else as text.
    fn write_results(&self, out: &mut Vec<u8>) {
        let codes = self.results.len() / 2;
        match codes {
            0 => out.extend_from_slice(&[0, 0]),
            1 => {
                out.extend_from_slice(&[0, 1]);
                out.extend_from_slice(&self.results);
            }
            codes => {
                out.extend_from_slice(&(codes as u16).saturating_add(1).to_be_bytes());
                out.extend_from_slice(&[0, 0]);
                out.extend_from_slice(&self.results);
            }
        }
    }
}

impl Array {
    fn add(&mut self, first: bool, delimiter: u8, value: Option<&[u8]>, binary: bool) -> Result<(), Unfit> {
        if first {
            self.binary = binary;
        } else if self.binary != binary {
            return Err(Unfit::Form);
        }
        if value.is_some_and(|value| value.len() > BYTES_MAX) {
            return Err(Unfit::Full);
        }
        self.nulls |= value.is_none();
        match value {
            _ if binary => {
                let length = value.map_or(-1, |value| value.len() as i32);
                self.bytes.extend_from_slice(&length.to_be_bytes());
                self.bytes.extend_from_slice(value.unwrap_or_default());
            }
            Some(value) => self.text(first, delimiter, value),
            None => {
                self.separate(first, delimiter);
                self.bytes.extend_from_slice(b"NULL");
            }
        }
        Ok(())
    }

    fn separate(&mut self, first: bool, delimiter: u8) {
        if !first {
            self.bytes.push(delimiter);
        }
    }

    fn text(&mut self, first: bool, delimiter: u8, value: &[u8]) {
        // Digits and signs mean themselves; all else is safe in quotes.
        if !value.is_empty() && value.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-') {
            self.separate(first, delimiter);
            return self.bytes.extend_from_slice(value);
        }
        self.begin_quoted(first, delimiter);
        self.quote(value);
        self.bytes.push(b'"');
    }

    fn begin_quoted(&mut self, first: bool, delimiter: u8) {
        self.separate(first, delimiter);
        self.bytes.push(b'"');
    }

    fn quote(&mut self, mut value: &[u8]) {
        while let Some(at) = value.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
            self.bytes.extend_from_slice(&value[..at]);
            self.bytes.extend_from_slice(&[b'\\', value[at]]);
            value = &value[at + 1..];
        }
        self.bytes.extend_from_slice(value);
    }

    /// As a parameter: its length, and its elements in what the form puts around them.
    fn write(&self, count: u32, element: Oid, out: &mut Vec<u8>) {
        let around = if self.binary { 20 } else { 2 };
        out.extend_from_slice(&((self.bytes.len() + around) as u32).to_be_bytes());
        if self.binary {
            // Dimensions, whether there are NULLs, the element's type; length and first index of the only dimension.
            for number in [1, u32::from(self.nulls), element, count, 1] {
                out.extend_from_slice(&number.to_be_bytes());
            }
            out.extend_from_slice(&self.bytes);
        } else {
            out.push(b'{');
            out.extend_from_slice(&self.bytes);
            out.push(b'}');
        }
    }
}
