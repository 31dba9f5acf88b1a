//! Cuts a text into PostgreSQL's tokens, statement by statement, by the rules of its scanner (scan.l): nested
//! comments, dollar quotes, escapes, continued strings, operators. What is not terminated runs to the end of
//! the text. No bytes make it panic, and no text costs more than a few looks at each byte. Knows the grammar
//! only where a statement's end depends on it. Pure.

use super::keyword::{self, Key, PREFIX, QUERY};
use super::scan;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name or keyword without quotes, or one that needs none.
    Word,
    /// A quoted name that keeps its quotes.
    Quoted,
    String,
    Bits,
    Integer,
    Number,
    Parameter,
    Operator,
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    Comma,
    Dot,
    Cast,
    Semicolon,
    /// `:`, `:=`, `..` and whatever has no meaning in SQL.
    Other,
}

#[derive(Debug, Clone, Copy)]
pub struct Token {
    /// Byte offsets in the text.
    pub start: u32,
    pub end: u32,
    pub kind: Kind,
    pub key: Key,
    /// Of the keyword, see `keyword`.
    pub flags: u8,
}

impl Token {
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    pub fn text<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start as usize..self.end as usize]
    }
}

/// Whether an expression, and so a sign or a value, may start after this token. `None`: at the start.
pub fn expects_value(before: Option<&Token>) -> bool {
    let Some(before) = before else {
        return true;
    };
    match before.kind {
        Kind::Operator | Kind::Open | Kind::OpenBracket | Kind::Comma | Kind::Cast | Kind::Other => true,
        Kind::Word => before.has(PREFIX),
        Kind::Semicolon => true,
        _ => false,
    }
}

/// One text, and how far it has been read.
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    /// `standard_conforming_strings`.
    standard: bool,
    /// Up to here there is nothing but signs, which are operators of their own.
    signs_until: usize,
    pub first_comment: Option<(u32, u32)>,
    pub last_comment: Option<(u32, u32)>,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a [u8], standard: bool) -> Self {
        // Offsets have four bytes; no message of the protocol is as long.
        let text = text.get(..u32::MAX as usize).unwrap_or(text);
        Lexer { text, at: 0, standard, signs_until: 0, first_comment: None, last_comment: None }
    }

    /// Reads one statement, without the semicolon that ends it. False at the end of the text.
    pub fn statement(&mut self, tokens: &mut Vec<Token>) -> bool {
        tokens.clear();
        let (mut depth, mut body) = (0_u32, Body::default());
        while let Some(mut token) = self.next() {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.saturating_sub(1),
                Kind::Word => {
                    if token.key != Key::None {
                        body.see(token.key, tokens);
                    }
                    if token.key == Key::Uescape && self.escape_character(tokens) {
                        continue;
                    }
                }
                Kind::Integer | Kind::Number => take_sign(tokens, self.text, &mut token),
                Kind::Semicolon if depth == 0 && body.depth == 0 => {
                    if tokens.is_empty() {
                        continue;
                    }
                    return true;
                }
                _ => {}
            }
            tokens.push(token);
        }
        !tokens.is_empty()
    }

    fn next(&mut self) -> Option<Token> {
        let (text, start) = (self.text, self.at);
        let &byte = text.get(start)?;
        let one = |kind| (kind, start + 1);
        let (kind, end) = match scan::class(byte) {
            scan::BLANK => {
                self.blank();
                return self.next_after_blank();
            }
            scan::LETTER => return Some(self.word()),
            scan::DIGIT => self.number(),
            scan::QUOTE => (Kind::String, scan::string(text, start, !self.standard)),
            scan::DOUBLE_QUOTE => return Some(self.quoted()),
            scan::DOLLAR => self.dollar(),
            scan::OPERATOR => {
                if is_comment(text, start) {
                    self.blank();
                    return self.next_after_blank();
                }
                (Kind::Operator, self.operator())
            }
            scan::DOT if text.get(start + 1).is_some_and(u8::is_ascii_digit) => self.number(),
            scan::DOT if text.get(start + 1) == Some(&b'.') => (Kind::Other, start + 2),
            scan::DOT => one(Kind::Dot),
            scan::COLON => match text.get(start + 1) {
                Some(b':') => (Kind::Cast, start + 2),
                Some(b'=') => (Kind::Other, start + 2),
                _ => one(Kind::Other),
            },
            scan::PUNCTUATION => one(match byte {
                b'(' => Kind::Open,
                b')' => Kind::Close,
                b'[' => Kind::OpenBracket,
                b']' => Kind::CloseBracket,
                b',' => Kind::Comma,
                _ => Kind::Semicolon,
            }),
            _ => one(Kind::Other),
        };
        Some(self.token(kind, end))
    }

    /// After white space and comments comes a token, so this goes one deep.
    fn next_after_blank(&mut self) -> Option<Token> {
        let &byte = self.text.get(self.at)?;
        debug_assert!(scan::class(byte) != scan::BLANK && !is_comment(self.text, self.at));
        self.next()
    }

    /// Skips white space and comments.
    fn blank(&mut self) {
        loop {
            while self.text.get(self.at).is_some_and(|&byte| scan::class(byte) == scan::BLANK) {
                self.at += 1;
            }
            let start = self.at;
            if !is_comment(self.text, start) {
                return;
            }
            if self.text[start] == b'-' {
                self.at = scan::line_comment(self.text, start);
            } else {
                self.at = scan::comment(self.text, start);
                let found = Some((start as u32, self.at as u32));
                self.first_comment = self.first_comment.or(found);
                self.last_comment = found;
            }
        }
    }

    #[inline]
    fn token(&mut self, kind: Kind, end: usize) -> Token {
        let start = self.at as u32;
        self.at = end;
        Token { start, end: end as u32, kind, key: Key::None, flags: 0 }
    }

    #[inline]
    fn word(&mut self) -> Token {
        let (text, start) = (self.text, self.at);
        let end = scan::word(text, start);
        if end == start + 1 {
            let next = text.get(end);
            let kind_and_end = match (text[start] | 0x20, next) {
                (b'e', Some(b'\'')) => Some((Kind::String, scan::string(text, end, true))),
                (b'n', Some(b'\'')) => Some((Kind::String, scan::string(text, end, !self.standard))),
                (b'b' | b'x', Some(b'\'')) => Some((Kind::Bits, scan::bits(text, end))),
                (b'u', Some(b'&')) => match text.get(end + 1) {
                    Some(b'\'') => Some((Kind::String, scan::string(text, end + 1, false))),
                    Some(b'"') => Some(
                        scan::name(text, end + 1)
                            .map_or((Kind::String, text.len()), |end| (Kind::Quoted, end)),
                    ),
                    _ => None,
                },
                _ => None,
            };
            if let Some((kind, end)) = kind_and_end {
                return self.token(kind, end);
            }
        }
        let word = keyword::look_up(text, start, end);
        self.at = end;
        Token { start: start as u32, end: end as u32, kind: Kind::Word, key: word.key, flags: word.flags }
    }

    /// A quoted name loses its quotes where it would be the same without them. One that does not end may be a
    /// string with the wrong quote, and is treated like one.
    fn quoted(&mut self) -> Token {
        let (text, start) = (self.text, self.at);
        let Some(end) = scan::name(text, start) else {
            return self.token(Kind::String, text.len());
        };
        let mut token = self.token(Kind::Quoted, end);
        if scan::is_plain_name(&text[start + 1..end - 1]) {
            let word = keyword::look_up(text, start + 1, end - 1);
            if word.flags & keyword::RESERVED == 0 {
                token = Token { key: word.key, flags: word.flags, kind: Kind::Word, ..token };
                (token.start, token.end) = (token.start + 1, token.end - 1);
            }
        }
        token
    }

    fn number(&mut self) -> (Kind, usize) {
        let (end, integer) = scan::number(self.text, self.at);
        (if integer { Kind::Integer } else { Kind::Number }, end)
    }

    fn dollar(&mut self) -> (Kind, usize) {
        let (text, start) = (self.text, self.at);
        if let Some(end) = scan::dollar_string(text, start) {
            return (Kind::String, end);
        }
        let digits = text[start + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        (if digits > 0 { Kind::Parameter } else { Kind::Other }, start + 1 + digits)
    }

    /// An operator does not end with a sign, unless it has a character that no operator of standard SQL has.
    fn operator(&mut self) -> usize {
        let (text, start) = (self.text, self.at);
        if start < self.signs_until {
            return start + 1;
        }
        let (mut end, mut last, mut special) = (start, start, false);
        while let Some(&byte) = text.get(end) {
            if scan::class(byte) != scan::OPERATOR || (end > start && is_comment(text, end)) {
                break;
            }
            special |= matches!(byte, b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'%');
            if !matches!(byte, b'+' | b'-') {
                last = end;
            }
            end += 1;
        }
        if special {
            return end;
        }
        if end > last + 1 {
            self.signs_until = end;
        }
        last + 1
    }

    /// `U&'…' UESCAPE '!'` is one literal, and `U&"…" UESCAPE '!'` one name. The word has just been read.
    fn escape_character(&mut self, tokens: &mut [Token]) -> bool {
        let Some(last) = tokens.last_mut() else {
            return false;
        };
        let literal = matches!(last.kind, Kind::String | Kind::Quoted);
        if !literal || !matches!(last.text(self.text), [b'u' | b'U', b'&', ..]) {
            return false;
        }
        let before = self.at;
        self.blank();
        if let [b'\'', byte, b'\'', ..] = self.text[self.at..]
            && byte != b'\''
        {
            self.at += 3;
            last.end = self.at as u32;
            return true;
        }
        self.at = before;
        false
    }
}

#[inline]
fn is_comment(text: &[u8], at: usize) -> bool {
    matches!(text[at..], [b'-', b'-', ..] | [b'/', b'*', ..])
}

/// A sign where an expression starts belongs to the number behind it.
fn take_sign(tokens: &mut Vec<Token>, text: &[u8], number: &mut Token) {
    let [.., sign] = tokens.as_slice() else {
        return;
    };
    let is_sign = sign.kind == Kind::Operator && matches!(sign.text(text), b"-" | b"+");
    if is_sign && expects_value(tokens.len().checked_sub(2).map(|at| &tokens[at])) {
        number.start = sign.start;
        tokens.pop();
    }
}

/// `CREATE FUNCTION … BEGIN ATOMIC …; …; END`: the semicolons inside end nothing.
#[derive(Default)]
struct Body {
    depth: u32,
}

impl Body {
    fn see(&mut self, key: Key, before: &[Token]) {
        match key {
            Key::Begin if self.depth > 0 => self.depth += 1,
            Key::Atomic if self.depth == 0 => {
                let begun = before.last().is_some_and(|token| token.key == Key::Begin);
                self.depth = u32::from(begun && creates_routine(before));
            }
            Key::Case if self.depth > 0 => self.depth += 1,
            Key::End => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

fn creates_routine(tokens: &[Token]) -> bool {
    let key = |at: usize| tokens.get(at).map(|token| token.key);
    let at = if key(1) == Some(Key::Or) && key(2) == Some(Key::Replace) { 3 } else { 1 };
    key(0) == Some(Key::Create) && matches!(key(at), Some(Key::Function | Key::Procedure))
}

/// Whether parameters may stand in the statement: the others are utility commands.
pub fn is_query(tokens: &[Token]) -> bool {
    let first = tokens.iter().find(|token| token.kind != Kind::Open);
    first.is_some_and(|token| token.has(QUERY))
}
