//! Cuts a text into PostgreSQL's tokens, statement by statement, by the rules of its scanner (scan.l): nested
//! comments, dollar quotes, escapes, continued strings, operators. What is not terminated runs to the end of
//! the text. No bytes make it panic, and no text costs more than a few looks at each byte. Knows the grammar
//! only where a statement's end depends on it. Pure.

use super::keyword::{self, Key};
use super::scan;
use super::token::{Kind, Token, expects_value};

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
        let (mut depth, mut body) = (0, Body::default());
        loop {
            self.easy(tokens, &mut depth);
            let Some(mut token) = self.next() else {
                return !tokens.is_empty();
            };
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.saturating_sub(1),
                Kind::Word => {
                    body.see(token.key, tokens);
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
    }

    /// Reads on while tokens are such that their first bytes say all of them, as almost all are; the first other one
    /// is left to `next`, which knows all rules. A loop of its own, so that the compiler keeps all of it in registers.
    #[inline(never)]
    fn easy(&mut self, tokens: &mut Vec<Token>, depth: &mut u32) {
        let (text, mut at) = (self.text, self.at);
        while let Some(&byte) = text.get(at) {
            let class = scan::class(byte);
            if class & scan::BLANK != 0 {
                at += 1;
                continue;
            }
            let (start, end, after, refused);
            if class & scan::DOUBLE_QUOTE != 0 {
                let Some(quote) = scan::plain_name(text, at + 1) else {
                    break;
                };
                (start, end, after, refused) = (at + 1, quote, quote + 1, keyword::RESERVED);
            } else if class & scan::LETTER != 0 {
                let word_end = scan::word(text, at);
                if word_end == at + 1 && matches!(text.get(word_end), Some(b'\'' | b'&')) {
                    break;
                }
                (start, end, after, refused) = (at, word_end, word_end, 0);
            } else {
                let Some((kind, end)) = self.easy_other(byte, at, tokens.last(), depth) else {
                    break;
                };
                let token = Token { start: at as u32, end: end as u32, kind, key: Key::None, flags: 0 };
                tokens.push(token);
                at = end;
                continue;
            }
            let word = keyword::look_up(text, start, end);
            if word.key.needs_care() || word.flags & refused != 0 {
                break;
            }
            at = after;
            let (start, end) = (start as u32, end as u32);
            tokens.push(Token { start, end, kind: Kind::Word, key: word.key, flags: word.flags });
        }
        self.at = at;
    }

    /// The token at `at` if it is a single byte, a whole number in digits without a sign, or a plain string.
    #[inline(always)]
    fn easy_other(
        &self,
        byte: u8,
        at: usize,
        last: Option<&Token>,
        depth: &mut u32,
    ) -> Option<(Kind, usize)> {
        let (text, class, mut end) = (self.text, scan::class(byte), at + 1);
        let next = |end| text.get(end).map_or(0, |&byte| scan::class(byte));
        if class & (scan::SINGLE | scan::OPERATOR) != 0 {
            if class & next(end) & (scan::OPERATOR | scan::POINT) != 0 {
                return None;
            }
            let kind = scan::single(byte);
            match kind {
                Kind::Open => *depth += 1,
                Kind::Close => *depth = depth.saturating_sub(1),
                Kind::Semicolon => return None,
                _ => {}
            }
            return Some((kind, end));
        }
        if byte == b'\'' {
            return Some((Kind::String, scan::string(text, at, !self.standard)));
        }
        if !byte.is_ascii_digit() || last.is_some_and(|last| last.kind == Kind::Operator) {
            return None;
        }
        while text.get(end).is_some_and(u8::is_ascii_digit) {
            end += 1;
        }
        (next(end) & (scan::LETTER | scan::POINT) == 0).then_some((Kind::Integer, end))
    }

    /// The questions stand in the order of how often they are answered with yes; a jump by a table would be
    /// guessed wrong by the processor for almost every token.
    fn next(&mut self) -> Option<Token> {
        loop {
            let &byte = self.text.get(self.at)?;
            let class = scan::class(byte);
            if class & scan::BLANK != 0 {
                self.at += 1;
                continue;
            }
            if class & scan::LETTER != 0 {
                return Some(self.word());
            }
            if class & scan::DOUBLE_QUOTE != 0 {
                return Some(self.quoted());
            }
            let next = self.text.get(self.at + 1);
            if class & scan::SINGLE != 0
                && !(byte == b'.' && next.is_some_and(|byte| matches!(byte, b'0'..=b'9' | b'.')))
            {
                return Some(self.token(scan::single(byte), self.at + 1));
            }
            if class & scan::OPERATOR != 0 && is_comment(self.text, self.at) {
                self.comment();
                continue;
            }
            let (kind, end) = self.rarer(byte, class);
            let mut token = self.token(kind, end);
            if kind == Kind::Operator && token.text(self.text) == b"!=" {
                token.key = Key::Respelled;
            }
            return Some(token);
        }
    }

    fn rarer(&mut self, byte: u8, class: u8) -> (Kind, usize) {
        let (text, start) = (self.text, self.at);
        if class & scan::OPERATOR != 0 {
            return (Kind::Operator, self.operator());
        }
        match (byte, text.get(start + 1)) {
            (b'\'', _) => (Kind::String, scan::string(text, start, !self.standard)),
            (b'0'..=b'9', _) | (b'.', Some(b'0'..=b'9')) => self.number(),
            (b'$', _) => self.dollar(),
            (b':', Some(b':')) => (Kind::Cast, start + 2),
            (b':', Some(b'=')) | (b'.', Some(b'.')) => (Kind::Other, start + 2),
            _ => (Kind::Other, start + 1),
        }
    }

    /// Skips the comment that starts here.
    fn comment(&mut self) {
        let start = self.at;
        if self.text[start] == b'-' {
            self.at = scan::line_comment(self.text, start);
        } else {
            self.at = scan::comment(self.text, start);
            let found = Some((start as u32, self.at as u32));
            self.first_comment = self.first_comment.or(found);
            self.last_comment = found;
        }
    }

    /// Skips white space and comments.
    fn blank(&mut self) {
        while let Some(&byte) = self.text.get(self.at) {
            if scan::class(byte) & scan::BLANK != 0 {
                self.at += 1;
            } else if is_comment(self.text, self.at) {
                self.comment();
            } else {
                return;
            }
        }
    }

    #[inline]
    fn token(&mut self, kind: Kind, end: usize) -> Token {
        let start = self.at as u32;
        self.at = end;
        Token { start, end: end as u32, kind, key: Key::None, flags: 0 }
    }

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
                let mut token = self.token(kind, end);
                if kind == Kind::Quoted {
                    token.key = Key::Respelled;
                }
                return token;
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
        if let Some(end) = scan::plain_name(text, start + 1) {
            let word = keyword::look_up(text, start + 1, end);
            if word.flags & keyword::RESERVED == 0 {
                self.at = end + 1;
                let (start, end) = (start as u32 + 1, end as u32);
                return Token { start, end, kind: Kind::Word, key: word.key, flags: word.flags };
            }
        }
        match scan::name(text, start) {
            Some(end) => self.token(Kind::Quoted, end),
            None => self.token(Kind::String, text.len()),
        }
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
            if scan::class(byte) & scan::OPERATOR == 0 || (end > start && is_comment(text, end)) {
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
