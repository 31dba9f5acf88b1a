//! Look-ups that need no server of their own: a read by values, outside of any transaction, whose whole request is
//! at hand. It may be answered together with others of its kind, or from rows that are at hand already. Recognises
//! such a request, and leaves the session as if a server had answered. Decides nothing about who answers. Pure.

use std::rc::Rc;

use super::{Session, heal};
use crate::pool::settings::PoolMode;
use crate::pool::shape::{Known, Reader, Shape, Shapes};
use crate::pool::statement::{Context, Interner, Statement};
use crate::pool::template::Site;
use crate::sql::Traits;
use crate::sql::kind::Kind;
use crate::sql::mark::Marks;
use crate::wire::client::{Bind, Parse, Target, TargetKind, query_text, tag};
use crate::wire::server::TxStatus;
use crate::wire::{self, HEADER};

/// A longer request is forwarded: no key is that long.
const REQUEST_MAX: usize = 16 * 1024;

/// Values that are told apart; requests with more are forwarded.
pub const VALUES_MAX: usize = 32;

/// A request that one look-up makes.
pub struct Lookup {
    /// What it shares with others of its kind.
    pub site: Site,
    pub shape: Rc<Shape>,
    pub known: Rc<Known>,
    /// Of the extended protocol.
    pub statement: Option<Rc<Statement>>,
    pub form: Form,
    /// Bytes of the input that it takes.
    pub size: usize,
    /// Where its text stands in the input, if it came along.
    pub text: (u32, u32),
    pub marks: Marks,
}

/// Which messages the request consists of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Form {
    /// A Query; the rest is of no meaning then.
    pub simple: bool,
    pub parse: bool,
    pub describe_statement: bool,
    pub describe_portal: bool,
    /// Of the Execute; 0: all rows.
    pub rows_max: u32,
}

/// A value of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// Where it stands in the input, without quotes.
    pub start: u32,
    pub end: u32,
    pub kind: ValueKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// A parameter.
    Null,
    Text,
    Binary,
    /// A number or a plain string in the text.
    Integer,
    String,
}

impl Value {
    /// `None`: NULL.
    #[inline]
    pub fn bytes<'a>(&self, input: &'a [u8]) -> Option<&'a [u8]> {
        (self.kind != ValueKind::Null).then(|| &input[self.start as usize..self.end as usize])
    }
}

/// The values of a request, and the formats that its rows are wanted in; kept from one request to the next.
#[derive(Debug, Default)]
pub struct Values {
    pub each: Vec<Value>,
    /// Of the parameters, as the Bind has them: count and codes. Empty for a Query.
    pub parameters: Vec<u8>,
    /// Of the result, as the Bind has them: count and codes. Empty for a Query.
    pub formats: Vec<u8>,
}

impl Values {
    fn clear(&mut self) {
        self.each.clear();
        self.parameters.clear();
        self.formats.clear();
    }

    /// Adds those that stand in a text which begins at `base` of the input.
    fn add_literals(&mut self, text: &[u8], base: u32, spans: &[(u32, u32)]) -> Option<()> {
        if spans.len() > VALUES_MAX {
            return None;
        }
        for &(start, end) in spans {
            self.each.push(if text.get(start as usize) == Some(&b'\'') {
                Value { start: base + start + 1, end: base + end - 1, kind: ValueKind::String }
            } else {
                Value { start: base + start, end: base + end, kind: ValueKind::Integer }
            });
        }
        Some(())
    }
}

impl Session {
    /// The look-up at the front of the input, if there is one and nothing that this client did before has any
    /// influence on its answer beyond its settings, or what it wrote in the transaction that is open.
    pub fn lookup(
        &mut self,
        input: &[u8],
        interner: &mut Interner,
        epoch: u64,
        values: &mut Values,
    ) -> Option<Lookup> {
        self.read_ahead = None;
        let head = wire::head(input).ok()??;
        if head.size > input.len().min(REQUEST_MAX) || !self.is_free() {
            return None;
        }
        match head.tag {
            tag::QUERY => self.simple(&input[HEADER..head.size], &mut interner.reader, values),
            tag::PARSE | tag::BIND => self.extended(input, interner, epoch, values),
            _ => None,
        }
    }

    /// Nothing is owed, doubted or held that a server would have to know of.
    fn is_free(&self) -> bool {
        self.mode != PoolMode::Session
            && self.exchange.is_at_rest()
            && !self.doubt.any()
            && self.pins.is_empty()
            && self.kept == heal::Kept::Nothing
            && self.baggage.prepared().is_empty()
            && !self.prepared.holds_large()
            && !self.is_half_sent()
            && self.client_drop == 0
    }

    fn simple(&mut self, body: &[u8], reader: &mut Reader, values: &mut Values) -> Option<Lookup> {
        let text = query_text(body)?;
        let known = reader.read(text, true);
        self.read_ahead = Some(known.clone());
        if known.site == 0 {
            return None;
        }
        let shape = lookup_shape(&known)?.clone();
        values.clear();
        values.add_literals(text, HEADER as u32, reader.spans(&known))?;
        let (size, marks) = (HEADER + body.len(), known.marks);
        let form = Form { simple: true, ..Form::default() };
        let text = (HEADER as u32, (HEADER + text.len()) as u32);
        Some(Lookup { site: known.site, shape, known, statement: None, form, size, text, marks })
    }

    fn extended(
        &self,
        input: &[u8],
        interner: &mut Interner,
        epoch: u64,
        values: &mut Values,
    ) -> Option<Lookup> {
        let group = Group::read(input.get(..REQUEST_MAX).unwrap_or(input))?;
        let statement = match group.parse {
            Some(parse) if parse.name.is_empty() || self.prepared.get(parse.name).is_none() => {
                // An unnamed statement that the session wants for itself alone is forwarded.
                let alone = parse.name.is_empty() && !self.reuse_unnamed;
                let context = Context { meaning: self.baggage.meaning(), epoch, standard_strings: true };
                (!alone).then(|| interner.shared(parse.text, parse.types, context)).flatten()?
            }
            Some(_) => return None,
            None => self.prepared.get(group.bind.statement)?.clone(),
        };
        let shape = lookup_shape(&statement.known)?.clone();
        values.clear();
        let base = input.as_ptr().addr();
        let place = |value: &[u8]| (value.as_ptr().addr() - base) as u32;
        let formats = group.bind.each_value(|value, binary| {
            values.each.push(match value {
                None => Value { start: 0, end: 0, kind: ValueKind::Null },
                Some(value) => {
                    let kind = if binary { ValueKind::Binary } else { ValueKind::Text };
                    Value { start: place(value), end: place(value) + value.len() as u32, kind }
                }
            });
        })?;
        let (count, codes) = wire::int16(formats)?;
        if codes.len() != usize::try_from(count).ok()? * 2 || values.each.len() > VALUES_MAX {
            return None;
        }
        let codes = wire::int16(group.bind.rest).map_or(0, |(count, _)| 2 + 2 * count as usize);
        values.parameters.extend_from_slice(&group.bind.rest[..codes]);
        values.formats.extend_from_slice(formats);
        let known = statement.known.clone();
        let mut text = (0, 0);
        let site = match (known.site, group.parse) {
            (0, _) if statement.shared && !values.each.is_empty() => statement.id,
            // Values in the text, and none beside it.
            (site, Some(parse)) if site != 0 && values.each.is_empty() => {
                text = (place(parse.text), place(parse.text) + parse.text.len() as u32);
                values.add_literals(parse.text, text.0, interner.reader.spans(&known))?;
                site
            }
            // One that was kept before others like it were met.
            (_, Some(parse)) if known.marks.count > 0 && values.each.is_empty() => {
                text = (place(parse.text), place(parse.text) + parse.text.len() as u32);
                let (site, spans) = interner.reader.site_of(parse.text, &known)?;
                values.add_literals(parse.text, text.0, spans)?;
                site
            }
            _ => return None,
        };
        let (marks, _) = super::account::marks_of(group.bind, known.marks);
        let (form, size) = (group.form, group.size);
        Some(Lookup { site, shape, known, statement: Some(statement), form, size, text, marks })
    }

    /// The look-up was answered: the session is as if a server had done it.
    pub fn lookup_answered(&mut self, lookup: &Lookup, name: &[u8]) {
        self.read_ahead = None;
        self.tally.queries += 1;
        self.tally.readies += 1;
        self.tally.transactions += u32::from(self.status() == TxStatus::Idle);
        match &lookup.statement {
            None => {
                self.prepared.put(b"", None);
            }
            Some(statement) if lookup.form.parse => {
                self.tally.statement_hits += 1;
                self.prepared.put(name, Some(statement.clone()));
            }
            Some(_) => {}
        }
    }
}

/// The Bind of an extended request that `Session::lookup` has read.
pub fn bind_of(request: &[u8]) -> Option<Bind<'_>> {
    Group::read(request).map(|group| group.bind)
}

/// The text of its Parse, if there is one.
pub fn text_of(request: &[u8]) -> Option<&[u8]> {
    Group::read(request)?.parse.map(|parse| parse.text)
}

/// The name that the request's Parse gives its statement.
pub fn statement_name(request: &[u8]) -> &[u8] {
    let body = request.get(HEADER..).unwrap_or_default();
    wire::cstr(body).map_or(b"", |(name, _)| name)
}

impl Session {
    /// Whether the message at the front of the input may speak of this table, written in lower case.
    pub fn may_name(&self, input: &[u8], table: &str) -> bool {
        let Ok(Some(head)) = wire::head(input) else {
            return false;
        };
        let body = &input[HEADER..head.size.min(input.len())];
        let statement = match head.tag {
            tag::QUERY | tag::PARSE => None,
            tag::BIND => Bind::read(body).map(|bind| bind.statement),
            tag::DESCRIBE => Target::read(body).map(|target| target.name),
            _ => return false,
        };
        let text = match statement {
            None => body,
            Some(name) => self.prepared.get(name).map_or(&b""[..], |statement| &statement.text),
        };
        String::from_utf8_lossy(text).to_ascii_lowercase().contains(table)
    }
}

/// The shape of a text that is one read and leaves nothing behind.
fn lookup_shape(known: &Known) -> Option<&Rc<Shape>> {
    match &known.shapes {
        Shapes::One(shape)
            if matches!(shape.kind, Kind::Read | Kind::Page) && known.traits == Traits::NONE =>
        {
            Some(shape)
        }
        _ => None,
    }
}

/// The messages of one extended request that reads through the unnamed portal.
pub(super) struct Group<'a> {
    parse: Option<Parse<'a>>,
    bind: Bind<'a>,
    pub(super) form: Form,
    pub(super) size: usize,
}

impl<'a> Group<'a> {
    /// `None`: it is another kind of request, or not all of it is here.
    pub(super) fn read(input: &'a [u8]) -> Option<Group<'a>> {
        let mut at = 0;
        let mut next = || {
            let head = wire::head(input.get(at..)?).ok()??;
            let body = input.get(at + HEADER..at + head.size)?;
            at += head.size;
            Some((head.tag, body))
        };
        let mut form = Form::default();
        let (mut tag, mut body) = next()?;
        let mut parse = None;
        if tag == tag::PARSE {
            parse = Some(Parse::read(body)?);
            form.parse = true;
            (tag, body) = next()?;
        }
        let mut described = None;
        if tag == tag::DESCRIBE {
            described = Some(Target::read(body).filter(|target| target.kind == TargetKind::Statement)?);
            form.describe_statement = true;
            (tag, body) = next()?;
        }
        let bind = (tag == tag::BIND).then(|| Bind::read(body)).flatten()?;
        let same = |name: &[u8]| name == bind.statement;
        let named_alike = parse.is_none_or(|parse| same(parse.name));
        if !bind.portal.is_empty() || !named_alike || !described.is_none_or(|target| same(target.name)) {
            return None;
        }
        (tag, body) = next()?;
        if tag == tag::DESCRIBE {
            if body != b"P\0" {
                return None;
            }
            form.describe_portal = true;
            (tag, body) = next()?;
        }
        if tag != tag::EXECUTE || body.len() != 5 || body[0] != 0 {
            return None;
        }
        form.rows_max = wire::int32(&body[1..]).and_then(|(rows, _)| u32::try_from(rows).ok())?;
        let (tag, body) = next()?;
        (tag == tag::SYNC && body.is_empty()).then_some(Group { parse, bind, form, size: at })
    }
}

impl Lookup {
    /// Whether the next request of the same client means the same before this one is answered as after it. The
    /// names of statements are known only then.
    pub fn may_be_followed_by(&self, next: &Lookup, request: &[u8]) -> bool {
        if next.form.simple {
            return true;
        }
        match &next.statement {
            Some(_) if next.form.parse => statement_name(request).is_empty() || !self.form.parse,
            _ => !self.form.simple && !self.form.parse,
        }
    }
}
