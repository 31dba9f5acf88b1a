//! Typed views of the client frames that must be understood. Views borrow from the frame's body; a body
//! that does not fit its own message gives `None`, and the caller forwards it for PostgreSQL to judge.

use super::{cstr, int16, int32};

/// Tags that a client may send once it is logged in.
pub mod tag {
    pub const BIND: u8 = b'B';
    pub const CLOSE: u8 = b'C';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_FAIL: u8 = b'f';
    pub const DESCRIBE: u8 = b'D';
    pub const EXECUTE: u8 = b'E';
    pub const FLUSH: u8 = b'H';
    pub const FUNCTION_CALL: u8 = b'F';
    pub const PARSE: u8 = b'P';
    pub const PASSWORD: u8 = b'p';
    pub const QUERY: u8 = b'Q';
    pub const SYNC: u8 = b'S';
    pub const TERMINATE: u8 = b'X';
}

/// Parse: `types` is the tail of the message (count and OIDs) as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    pub name: &'a [u8],
    pub text: &'a [u8],
    pub types: &'a [u8],
}

impl<'a> Parse<'a> {
    #[inline]
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let (name, rest) = cstr(body)?;
        let (text, types) = cstr(rest)?;
        let (count, oids) = int16(types)?;
        (count >= 0 && oids.len() == count as usize * 4).then_some(Parse { name, text, types })
    }
}

/// Bind: `rest` is all behind the two names, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind<'a> {
    pub portal: &'a [u8],
    pub statement: &'a [u8],
    pub rest: &'a [u8],
}

impl<'a> Bind<'a> {
    /// `body` may be the beginning of a longer message, as long as both names are in it.
    #[inline]
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let (portal, rest) = cstr(body)?;
        let (statement, rest) = cstr(rest)?;
        Some(Bind { portal, statement, rest })
    }

    /// The parameter values, `None` for NULL; ends early when the message is cut or wrong.
    pub fn values(&self) -> Vec<Option<&'a [u8]>> {
        let mut values = Vec::new();
        self.each_value(|value, _| values.push(value));
        values
    }

    /// The format codes of the columns, two bytes each: none, one for all, or one for each. `None`: the message
    /// is cut or wrong.
    #[inline]
    pub fn results(&self) -> Option<&'a [u8]> {
        let (count, rest) = int16(self.rest)?;
        let (count, mut rest) = int16(rest.get(usize::try_from(count).ok()? * 2..)?)?;
        for _ in 0..usize::try_from(count).ok()? {
            let (length, tail) = int32(rest)?;
            rest = tail.get(usize::try_from(length).unwrap_or_default()..)?;
        }
        let (count, codes) = int16(rest)?;
        (codes.len() == usize::try_from(count).ok()? * 2).then_some(codes)
    }

    /// Each parameter value, and whether it is in binary form. Returns what follows them, the formats of the
    /// result; `None`: the message is cut or wrong.
    #[inline]
    pub fn each_value(&self, mut look: impl FnMut(Option<&'a [u8]>, bool)) -> Option<&'a [u8]> {
        let (count, rest) = int16(self.rest)?;
        let (formats, rest) = rest.split_at_checked(usize::try_from(count).ok()? * 2)?;
        let (count, mut rest) = int16(rest)?;
        for at in 0..usize::try_from(count).ok()? {
            // One format for all, or one for each; none: text.
            let format = if formats.len() == 2 { 0 } else { at * 2 };
            let binary = formats.get(format..format + 2).is_some_and(|code| code == [0, 1]);
            let (length, tail) = int32(rest)?;
            let Ok(length) = usize::try_from(length) else {
                look(None, binary);
                rest = tail;
                continue;
            };
            let (value, tail) = tail.split_at_checked(length)?;
            look(Some(value), binary);
            rest = tail;
        }
        Some(rest)
    }
}

/// Describe and Close share a form: what kind of thing, and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    pub kind: TargetKind,
    pub name: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    Statement,
    Portal,
}

impl<'a> Target<'a> {
    #[inline]
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = body.split_first()?;
        let kind = match kind {
            b'S' => TargetKind::Statement,
            b'P' => TargetKind::Portal,
            _ => return None,
        };
        let (name, tail) = cstr(rest)?;
        tail.is_empty().then_some(Target { kind, name })
    }
}

/// The text of a Query, without its NUL; `None` when there is no NUL or something behind it.
#[inline]
pub fn query_text(body: &[u8]) -> Option<&[u8]> {
    let (text, rest) = cstr(body)?;
    rest.is_empty().then_some(text)
}

/// What the first packet of a connection can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening<'a> {
    Ssl,
    Gss,
    Cancel { pid: i32, secret: &'a [u8] },
    Startup { major: u16, minor: u16, parameters: Vec<(&'a [u8], &'a [u8])> },
}

const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;
const CANCEL_REQUEST: i32 = 80_877_102;

/// PostgreSQL's `MAX_STARTUP_PACKET_LENGTH`.
pub const OPENING_MAX: usize = 10_000;

/// Reads an opening packet's body (all behind its length).
pub fn opening(body: &[u8]) -> Option<Opening<'_>> {
    let (code, rest) = int32(body)?;
    match code {
        SSL_REQUEST if rest.is_empty() => Some(Opening::Ssl),
        GSS_REQUEST if rest.is_empty() => Some(Opening::Gss),
        CANCEL_REQUEST => {
            let (pid, secret) = int32(rest)?;
            (4..=256).contains(&secret.len()).then_some(Opening::Cancel { pid, secret })
        }
        _ => {
            let parameters = parameters(rest)?;
            let (major, minor) = ((code >> 16) as u16, code as u16);
            Some(Opening::Startup { major, minor, parameters })
        }
    }
}

/// One name and its value, as the start-up packet holds them.
type Pair<'a> = (&'a [u8], &'a [u8]);

fn parameters(mut rest: &[u8]) -> Option<Vec<Pair<'_>>> {
    let mut pairs = Vec::new();
    loop {
        let (name, tail) = cstr(rest)?;
        if name.is_empty() {
            return tail.is_empty().then_some(pairs);
        }
        let (value, tail) = cstr(tail)?;
        pairs.push((name, value));
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_is_read_only_when_its_types_fit() {
        let parse = Parse::read(b"s\0select $1\0\0\x01\0\0\0\x17").expect("well-formed");
        assert_eq!((parse.name, parse.text), (&b"s"[..], &b"select $1"[..]));
        assert_eq!(Parse::read(b"s\0select $1\0\0\x02\0\0\0\x17"), None);
        assert_eq!(Parse::read(b"s\0select $1\0"), None);
    }

    #[test]
    fn bind_values_stop_at_the_first_lie() {
        let bind = Bind::read(b"\0s\0\0\0\0\x03\0\0\0\x01x\xff\xff\xff\xff\0\0\0\x09y\0\0")
            .expect("names are whole");
        assert_eq!(bind.values(), [Some(&b"x"[..]), None]);
        assert_eq!(bind.results(), None);
    }

    #[test]
    fn formats_of_columns_stand_behind_the_values() {
        let results = |body: &'static [u8]| Bind::read(body).expect("names are whole").results();
        assert_eq!(results(b"\0\0\0\0\0\0\0\0"), Some(&b""[..]));
        assert_eq!(
            results(b"\0\0\0\x01\0\x01\0\x01\xff\xff\xff\xff\0\x02\0\0\0\x01"),
            Some(&b"\0\0\0\x01"[..])
        );
        assert_eq!(results(b"\0\0\0\0\0\0\0\x01\0"), None);
        assert_eq!(results(b"\0\0\0\0\0\0"), None);
    }

    #[test]
    fn openings() {
        assert_eq!(opening(&80_877_103i32.to_be_bytes()), Some(Opening::Ssl));
        let startup = opening(b"\0\x03\0\0user\0a\0\0").expect("well-formed");
        assert_eq!(startup, Opening::Startup { major: 3, minor: 0, parameters: vec![(b"user", b"a")] });
        assert_eq!(opening(b"\0\x03\0\0user\0a\0"), None);
        assert_eq!(opening(b"\x04\xd2\x16\x2e\0\0\0\x07abc"), None, "a secret of 3 bytes");
    }
}
