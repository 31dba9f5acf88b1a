//! Values that look-ups are asked with, in a form in which they can be compared. Two values are the same key
//! only if PostgreSQL cannot tell them apart: by their bytes, and for whole numbers, booleans and UUIDs that
//! are used for nothing but `=`, by what they mean. What is not sure to be equal counts as different, and the
//! server is asked. Must not know what a key is looked up in. Pure.

use crate::sql::shape::HoleKind;

/// Types whose values are compared by meaning, by their fixed OIDs in pg_type.
pub mod oid {
    pub const BOOL: u32 = 16;
    pub const NAME: u32 = 19;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const UUID: u32 = 2950;
}

/// How a value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    Binary,
    /// A token of the statement's text, with its quotes.
    Literal(HoleKind),
}

/// A value as the client sent it; `None` is NULL.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    pub form: Form,
    pub bytes: Option<&'a [u8]>,
}

/// What is known of the place of a value in a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slot {
    /// The type that the server reads it as; 0: not known.
    pub type_oid: u32,
    /// It is used only with `=` of a btree operator family, so that its meaning decides the answer. Otherwise
    /// only equal bytes are equal.
    pub by_value: bool,
}

/// A value that can be compared. Not `Debug`: what clients look up is written nowhere.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Key {
    Null,
    Integer(i64),
    Boolean(bool),
    Uuid([u8; 16]),
    /// Whatever else, as it stands in a message. The binary form of text is its text form, and called so.
    Bytes {
        binary: bool,
        bytes: Box<[u8]>,
    },
    /// A token that is not taken apart.
    Token(Box<[u8]>),
}

impl Key {
    /// The key that a client's value is.
    pub fn of(value: Value<'_>, slot: Slot) -> Key {
        let Some(bytes) = value.bytes else {
            return Key::Null;
        };
        match value.form {
            Form::Literal(HoleKind::Null) => Key::Null,
            Form::Literal(kind) => {
                let meaning = if slot.by_value { literal(kind, bytes, slot.type_oid) } else { None };
                meaning.unwrap_or_else(|| Key::Token(bytes.into()))
            }
            Form::Text | Form::Binary => {
                let binary = value.form == Form::Binary;
                if slot.by_value {
                    Key::read(slot.type_oid, binary, bytes)
                } else {
                    Key::exact(binary, bytes)
                }
            }
        }
    }

    /// The key that a value of this type and form is, in a row or in a Bind.
    pub fn read(type_oid: u32, binary: bool, bytes: &[u8]) -> Key {
        let meaning = match (type_oid, binary) {
            (oid::INT2 | oid::INT4 | oid::INT8, false) => {
                integer(bytes).filter(|&number| fits(number, type_oid)).map(Key::Integer)
            }
            (oid::INT2, true) => bytes.try_into().ok().map(|b| Key::Integer(i16::from_be_bytes(b).into())),
            (oid::INT4, true) => bytes.try_into().ok().map(|b| Key::Integer(i32::from_be_bytes(b).into())),
            (oid::INT8, true) => bytes.try_into().ok().map(|b| Key::Integer(i64::from_be_bytes(b))),
            (oid::BOOL, false) => boolean(bytes).map(Key::Boolean),
            (oid::BOOL, true) if matches!(bytes, [0 | 1]) => Some(Key::Boolean(bytes == [1])),
            (oid::UUID, false) => uuid(bytes).map(Key::Uuid),
            (oid::UUID, true) => bytes.try_into().ok().map(Key::Uuid),
            (oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME, _) => Some(Key::exact(false, bytes)),
            _ => None,
        };
        meaning.unwrap_or_else(|| Key::exact(binary, bytes))
    }

    fn exact(binary: bool, bytes: &[u8]) -> Key {
        Key::Bytes { binary, bytes: bytes.into() }
    }

    /// Appends the value as a parameter of this type and form. `None`, and nothing appended: it is NULL, or
    /// has no such form.
    pub fn write(&self, type_oid: u32, binary: bool, out: &mut Vec<u8>) -> Option<()> {
        let begin = out.len();
        match self {
            Key::Null | Key::Token(_) => return None,
            Key::Bytes { binary: own, bytes } => {
                let text = matches!(type_oid, oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME);
                let takes = *own == binary || (text && !*own);
                takes.then_some(())?;
                out.extend_from_slice(bytes);
            }
            Key::Integer(number) => match (type_oid, binary) {
                _ if !fits(*number, type_oid) => return None,
                (_, false) => out.extend_from_slice(number.to_string().as_bytes()),
                (oid::INT2, true) => out.extend_from_slice(&(*number as i16).to_be_bytes()),
                (oid::INT4, true) => out.extend_from_slice(&(*number as i32).to_be_bytes()),
                (oid::INT8, true) => out.extend_from_slice(&number.to_be_bytes()),
                _ => return None,
            },
            Key::Boolean(is) => match (type_oid, binary) {
                (_, false) => out.push(if *is { b't' } else { b'f' }),
                (oid::BOOL, true) => out.push(u8::from(*is)),
                _ => return None,
            },
            Key::Uuid(bytes) if binary => {
                (type_oid == oid::UUID).then_some(())?;
                out.extend_from_slice(bytes);
            }
            Key::Uuid(bytes) => {
                for (at, byte) in bytes.iter().enumerate() {
                    if matches!(at, 4 | 6 | 8 | 10) {
                        out.push(b'-');
                    }
                    let digit = |four: u8| b"0123456789abcdef"[usize::from(four)];
                    out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
                }
            }
        }
        debug_assert!(out.len() >= begin);
        Some(())
    }

    /// Whether keys that differ from this one are different values of this type to every deterministic `=`, so
    /// that a look-up with it finds nothing where this key is not. Text has to be text that the server would
    /// take; what is no plain number or UUID may be one to the server, or an error.
    pub fn is_decisive(&self, type_oid: u32) -> bool {
        match (self, type_oid) {
            (Key::Null, _) => true,
            (Key::Integer(_), oid::INT2 | oid::INT4 | oid::INT8) => true,
            (Key::Boolean(_), oid::BOOL) | (Key::Uuid(_), oid::UUID) => true,
            (Key::Bytes { binary, bytes }, oid::TEXT | oid::VARCHAR) => {
                !binary && str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'))
            }
            _ => false,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Key::Null)
    }

    /// Bytes of memory, about.
    pub fn weight(&self) -> usize {
        let outside = match self {
            Key::Bytes { bytes, .. } | Key::Token(bytes) => bytes.len() + 16,
            _ => 0,
        };
        size_of::<Key>() + outside
    }
}

/// What a token of a statement's text means, where that is beyond doubt.
fn literal(kind: HoleKind, token: &[u8], type_oid: u32) -> Option<Key> {
    match kind {
        // PostgreSQL reads it as int4 or int8, whichever fits, whatever it is compared with.
        HoleKind::Integer if matches!(type_oid, 0 | oid::INT2 | oid::INT4 | oid::INT8) => {
            integer(token).map(Key::Integer)
        }
        HoleKind::Boolean => match token.to_ascii_lowercase().as_slice() {
            b"true" => Some(Key::Boolean(true)),
            b"false" => Some(Key::Boolean(false)),
            _ => None,
        },
        HoleKind::Number => Some(Key::exact(false, token)),
        HoleKind::String => {
            let inner = token.strip_prefix(b"'")?.strip_suffix(b"'")?;
            // With a backslash it depends on a setting what it is.
            if inner.contains(&b'\\') {
                return None;
            }
            let mut plain = Vec::with_capacity(inner.len());
            let mut rest = inner;
            while let Some((&byte, tail)) = rest.split_first() {
                plain.push(byte);
                rest = if byte == b'\'' { tail.strip_prefix(b"'")? } else { tail };
            }
            Some(Key::read(type_oid, false, &plain))
        }
        _ => None,
    }
}

fn fits(number: i64, type_oid: u32) -> bool {
    match type_oid {
        oid::INT2 => i16::try_from(number).is_ok(),
        oid::INT4 => i32::try_from(number).is_ok(),
        _ => true,
    }
}

/// As PostgreSQL prints whole numbers; other ways of writing them are left to it.
fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = digits.len() <= 19 && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let canonical = digits.first() != Some(&b'0') || text == b"0";
    if !plain || !canonical {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

fn boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"t" | b"true" => Some(true),
        b"f" | b"false" => Some(false),
        _ => None,
    }
}

/// 32 digits, with dashes in their usual places or without any.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let dashed = match text.len() {
        36 => [8, 13, 18, 23].iter().all(|&at| text[at] == b'-'),
        32 => false,
        _ => return None,
    };
    let mut digits = text.iter().enumerate().filter(|&(at, _)| !(dashed && matches!(at, 8 | 13 | 18 | 23)));
    for byte in &mut bytes {
        let mut four = || (*digits.next()?.1 as char).to_digit(16);
        *byte = (four()? << 4 | four()?) as u8;
    }
    digits.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTS: [u32; 3] = [oid::INT2, oid::INT4, oid::INT8];

    fn slot(type_oid: u32) -> Slot {
        Slot { type_oid, by_value: true }
    }

    fn text(type_oid: u32, bytes: &[u8]) -> Key {
        Key::of(Value { form: Form::Text, bytes: Some(bytes) }, slot(type_oid))
    }

    fn token(kind: HoleKind, bytes: &[u8], type_oid: u32) -> Key {
        Key::of(Value { form: Form::Literal(kind), bytes: Some(bytes) }, slot(type_oid))
    }

    #[test]
    fn a_number_is_one_key_in_every_form() {
        assert!(text(oid::INT8, b"42") == Key::read(oid::INT2, true, &[0, 42]));
        assert!(token(HoleKind::Integer, b"42", oid::INT4) == Key::Integer(42));
        assert!(token(HoleKind::String, b"'42'", oid::INT4) == Key::Integer(42));
        for odd in [&b"042"[..], b" 42", b"+42", b"-0", b"", b"-", b"4_2", b"99999999999999999999"] {
            assert!(!matches!(text(oid::INT8, odd), Key::Integer(_)), "{odd:?}");
        }
        // What the type cannot hold is an error of the server's to give.
        assert!(!matches!(text(oid::INT2, b"70000"), Key::Integer(_)));
        assert!(!matches!(token(HoleKind::Integer, b"0x2A", 0), Key::Integer(_)));
    }

    #[test]
    fn what_is_not_used_for_equality_alone_is_its_bytes() {
        let exact = Slot { type_oid: oid::INT4, by_value: false };
        let form = |form, bytes| Key::of(Value { form, bytes: Some(bytes) }, exact);
        assert!(form(Form::Text, b"1") != form(Form::Binary, b"1"));
        assert!(form(Form::Text, b"1") == form(Form::Text, b"1"));
        assert!(form(Form::Literal(HoleKind::Integer), b"1") == Key::Token(b"1"[..].into()));
    }

    #[test]
    fn doubtful_strings_are_taken_as_tokens() {
        assert!(token(HoleKind::String, b"'it''s'", oid::TEXT) == text(oid::TEXT, b"it's"));
        for odd in [&b"E'a'"[..], b"'a\\b'", b"$$a$$", b"U&'a'", b"'a' \n 'b'"] {
            assert!(token(HoleKind::String, odd, oid::TEXT) == Key::Token(odd.into()), "{odd:?}");
        }
        // Numeric values that print differently may be equal; nobody claims that they are.
        assert!(text(1700, b"1.0") != text(1700, b"1.00"));
        assert!(Key::read(oid::TEXT, true, b"a") == text(oid::VARCHAR, b"a"));
        assert!(Key::read(1700, true, b"a") != Key::read(1700, false, b"a"));
    }

    #[test]
    fn only_what_the_server_would_take_says_that_a_key_is_absent() {
        assert!(text(oid::TEXT, "ö".as_bytes()).is_decisive(oid::TEXT));
        assert!(!text(oid::TEXT, b"\xff").is_decisive(oid::TEXT));
        assert!(!text(oid::TEXT, b"a\0").is_decisive(oid::TEXT));
        assert!(!Key::Token(b"1"[..].into()).is_decisive(oid::TEXT));
        for odd in [&b" 42"[..], b"042", b"x", b""] {
            assert!(!text(oid::INT4, odd).is_decisive(oid::INT4), "{odd:?}");
            assert!(!text(oid::UUID, odd).is_decisive(oid::UUID), "{odd:?}");
        }
        assert!(text(oid::INT4, b"42").is_decisive(oid::INT4));
    }

    #[test]
    fn a_uuid_is_one_key_in_every_form() {
        let bytes: [u8; 16] = std::array::from_fn(|at| at as u8 * 17);
        for form in [&b"00112233-4455-6677-8899-aabbccddeeff"[..], b"00112233445566778899AABBCCDDEEFF"] {
            assert!(text(oid::UUID, form) == Key::Uuid(bytes));
        }
        assert!(!matches!(text(oid::UUID, b"{0112233-4455-6677-8899-aabbccddeeff"), Key::Uuid(_)));
        assert!(!matches!(text(oid::UUID, b"001122334455-6677-8899-aabbccddeeff-"), Key::Uuid(_)));
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(number: i64, binary: bool, at in 0..3_usize, bytes: [u8; 16], is: bool) {
            let values = [(Key::Integer(number), INTS[at]), (Key::Uuid(bytes), oid::UUID), (Key::Boolean(is), oid::BOOL)];
            for (key, type_oid) in values {
                let mut out = Vec::new();
                match key.write(type_oid, binary, &mut out) {
                    Some(()) => assert!(Key::read(type_oid, binary, &out) == key),
                    None => assert!(out.is_empty() && !fits(number, type_oid)),
                }
            }
        }

        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, type_oid in 0..30_u32, binary: bool) {
            let key = Key::read(type_oid, binary, &bytes);
            let mut out = Vec::new();
            if let (Key::Bytes { .. }, Some(())) = (&key, key.write(type_oid, binary, &mut out)) {
                assert_eq!(out, bytes);
            }
            for kind in [HoleKind::Integer, HoleKind::Number, HoleKind::String, HoleKind::Boolean, HoleKind::Bits] {
                token(kind, &bytes, type_oid);
            }
        }
    }
}
