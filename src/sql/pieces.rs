//! A statement's text as words, names, values and single marks: enough to count and to classify without a
//! parse. Not the lexer of `shape`, which is exact and fast; where a text is malformed this one may be wrong,
//! and whoever uses it must not rely on more than its being linear and never failing. Pure.

use super::{is_word, skip_blank, word};

/// One piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A keyword or an unquoted name.
    Word(&'a [u8]),
    /// A quoted name.
    Name,
    /// A string, a number or a hole.
    Value,
    /// Any other byte.
    Mark(u8),
}

impl Piece<'_> {
    pub fn is(self, keyword: &str) -> bool {
        matches!(self, Piece::Word(word) if word.eq_ignore_ascii_case(keyword.as_bytes()))
    }

    pub fn is_one_of(self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.is(keyword))
    }
}

/// The pieces of `text`, comments left out.
pub fn pieces(text: &str) -> Pieces<'_> {
    Pieces { rest: text.as_bytes() }
}

#[derive(Debug, Clone)]
pub struct Pieces<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        self.rest = skip_blank(self.rest);
        let (piece, rest) = match *self.rest.first()? {
            b'\'' => (Piece::Value, after_quoted(self.rest, b'\'', false)),
            b'"' => (Piece::Name, after_quoted(self.rest, b'"', false)),
            b'$' => (Piece::Value, after_dollar(self.rest)),
            byte if byte.is_ascii_digit() => (Piece::Value, word(self.rest).1),
            byte if is_word(byte) => {
                let (found, rest) = word(self.rest);
                match rest.first() {
                    Some(b'\'') if found.eq_ignore_ascii_case(b"e") => {
                        (Piece::Value, after_quoted(rest, b'\'', true))
                    }
                    _ => (Piece::Word(found), rest),
                }
            }
            byte => (Piece::Mark(byte), &self.rest[1..]),
        };
        self.rest = rest;
        Some(piece)
    }
}

/// What follows a quoted thing; a doubled quote stands for itself. An open end takes all.
fn after_quoted(text: &[u8], quote: u8, backslashes: bool) -> &[u8] {
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte == b'\\' && backslashes {
            at += 1;
        } else if byte == quote {
            if text.get(at) != Some(&quote) {
                return &text[at..];
            }
            at += 1;
        }
    }
    &[]
}

/// What follows `$1` or `$tag$ … $tag$`.
fn after_dollar(text: &[u8]) -> &[u8] {
    let is_tag = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
    let end = 1 + text[1..].iter().take_while(|byte| is_tag(byte)).count();
    let starts_with_digit = text.get(1).is_some_and(u8::is_ascii_digit);
    if starts_with_digit || text.get(end) != Some(&b'$') {
        return &text[end..];
    }
    let (tag, body) = text.split_at(end + 1);
    memchr::memmem::find(body, tag).map_or(&[], |at| &body[at + tag.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        let one = |piece| match piece {
            Piece::Word(word) => String::from_utf8_lossy(word).into_owned(),
            Piece::Name => "N".to_owned(),
            Piece::Value => "V".to_owned(),
            Piece::Mark(byte) => char::from(byte).to_string(),
        };
        pieces(text).map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn quotes_hide_what_is_in_them() {
        for (text, expected) in [
            ("select a.b, 'or '' or' from \"or\"\"x\"", "select a . b , V from N"),
            ("x=$1 or y=$2", "x = V or y = V"),
            ("$a$ or $b$ or $a$ z", "V z"),
            ("$$ or", "V"),
            ("e'a\\' or' z 'a\\' y", "V z V y"),
            ("/* or /* or */ */ 1e5 -- or", "V"),
            ("'open or", "V"),
            ("", ""),
        ] {
            assert_eq!(told(text), expected, "{text}");
        }
    }
}
