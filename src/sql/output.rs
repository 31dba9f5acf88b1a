//! The canonical text while it is written: bytes in a buffer that has room beforehand, so that words go in many
//! bytes at a time, and the rule for blanks between tokens. Knows kinds of tokens, and no statements. Pure.

use super::keyword::{self, Key};
use super::shape::Hole;
use super::token::{Kind, Token};

#[derive(Default)]
pub struct Output {
    /// Beyond `at` there is nothing of meaning.
    bytes: Vec<u8>,
    at: usize,
    pub holes: Vec<Hole>,
}

/// What a token may take besides its own text: a blank, `'$65535'` instead of one byte, the blanks around an escape
/// character; and behind the last one the rest of sixteen bytes.
const PER_TOKEN: usize = 10;
const SLACK: usize = 32;

impl Output {
    /// Starts anew, with room for a statement of so many bytes and tokens.
    pub fn clear(&mut self, length: usize, tokens: usize) {
        self.at = 0;
        self.holes.clear();
        let needed = length + tokens * PER_TOKEN + SLACK;
        if needed > self.bytes.len() {
            self.bytes.resize(needed, 0);
        }
    }

    pub fn text(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    pub fn length(&self) -> usize {
        self.at
    }

    pub fn truncate(&mut self, length: usize) {
        self.at = self.at.min(length);
    }

    #[inline]
    pub fn push(&mut self, byte: u8) {
        self.bytes[self.at] = byte;
        self.at += 1;
    }

    /// Copies `text[start..end]`.
    #[inline]
    pub fn copy(&mut self, text: &[u8], start: usize, end: usize) {
        let length = end - start;
        if length == 1 {
            self.push(text[start]);
        } else {
            self.bytes[self.at..self.at + length].copy_from_slice(&text[start..end]);
            self.at += length;
        }
    }

    /// Writes tokens that are no more than their text, up to and with the first that has a key. Returns how many,
    /// and what was written last.
    #[inline]
    pub fn plain(&mut self, text: &[u8], tokens: &[Token], mut last: u8) -> (usize, u8) {
        let all = self.bytes.len();
        let (mut place, mut count) = (&mut self.bytes[self.at..], 0);
        let mut rules = RULES[usize::from(last)];
        for token in tokens {
            let rule = rules >> token.kind as u8;
            if rule & EASY == 0 || token.key.is_respelled() {
                break;
            }
            let apart = usize::from(rule & APART != 0);
            let (start, end) = (token.start as usize, token.end as usize);
            let length = end - start;
            match (text.get(start..start + 16), place.first_chunk_mut::<17>()) {
                (Some(piece), Some(place)) if length <= 16 && token.kind != Kind::Quoted => {
                    // A blank, or what is written over at once.
                    place[0] = b' ';
                    let piece: [u8; 16] = piece.try_into().unwrap_or_default();
                    place[apart..apart + 16].copy_from_slice(&piece.map(|byte| byte.to_ascii_lowercase()));
                }
                _ => whole(text, token, place, apart),
            }
            place = &mut place[apart + length..];
            count += 1;
            last = if token.has(keyword::SPACED) { SPACED } else { token.kind as u8 };
            rules = RULES[usize::from(last)];
            if token.key != Key::None {
                break;
            }
        }
        self.at = all - place.len();
        (count, last)
    }

    /// Copies a word in lower case, sixteen bytes at a time: what is too much is written over.
    #[inline]
    pub fn lower(&mut self, text: &[u8], start: usize, end: usize) {
        let (mut from, mut to) = (start, self.at);
        while from < end {
            match (text[from..].first_chunk::<16>(), self.bytes[to..].first_chunk_mut::<16>()) {
                (Some(&word), Some(place)) => *place = word.map(|byte| byte.to_ascii_lowercase()),
                _ => {
                    self.bytes[to..to + end - from].copy_from_slice(&text[from..end]);
                    self.bytes[to..to + end - from].make_ascii_lowercase();
                    break;
                }
            }
            (from, to) = (from + 16, to + 16);
        }
        self.at += end - start;
    }

    #[inline]
    pub fn decimal(&mut self, number: u16) {
        if number < 10 {
            return self.push(b'0' + number as u8);
        }
        let mut unit = 10_000;
        while unit > number {
            unit /= 10;
        }
        while unit > 0 {
            self.push(b'0' + (number / unit % 10) as u8);
            unit /= 10;
        }
    }
}

/// Nothing has been written yet.
pub const START: u8 = Kind::Other as u8 + 1;
/// A word that stands apart from a parenthesis was written.
pub const SPACED: u8 = START + 1;

/// For each kind, two bits at its place, by what was written before: there is a blank between, `APART`; and it
/// is written as it stands in the text, `EASY`. (A `*` is not, behind a point.)
const RULES: &[u64; SPACED as usize + 1] = &rules();
const EASY: u64 = 1;
const APART: u64 = 1 << 32;

const fn rules() -> [u64; SPACED as usize + 1] {
    use Kind::*;
    const fn bit(kind: Kind) -> u64 {
        APART << kind as u8
    }
    // A bit for each kind.
    let every = (bit(Other) << 1) - APART;
    let all = every & !(bit(Comma) | bit(Close) | bit(CloseBracket) | bit(Semicolon));
    let joined = bit(Cast) | bit(OpenBracket);
    let mut rules = [all; SPACED as usize + 1];
    rules[Word as usize] = all & !(joined | bit(Dot) | bit(Open));
    rules[Quoted as usize] = all & !(joined | bit(Dot) | bit(Open));
    rules[SPACED as usize] = all & !(joined | bit(Dot));
    rules[Close as usize] = all & !(joined | bit(Dot));
    rules[CloseBracket as usize] = all & !(joined | bit(Dot));
    rules[Parameter as usize] = all & !joined;
    rules[Integer as usize] = all & !joined;
    rules[Cast as usize] = all & !(bit(Word) | bit(Quoted));
    rules[Dot as usize] = all & !(bit(Word) | bit(Quoted));
    rules[Open as usize] = 0;
    rules[OpenBracket as usize] = 0;
    rules[START as usize] = 0;
    let values = bit(String) | bit(Bits) | bit(Integer) | bit(Number) | bit(Parameter);
    let easy = (every & !(values | bit(Open) | bit(Close))) / APART;
    let mut last = 0;
    while last < rules.len() {
        rules[last] |= easy;
        last += 1;
    }
    rules[Dot as usize] &= !(EASY << Operator as u8);
    rules
}

/// Whether a blank stands between what was written last and the next token; `star`: that is a `*`. What is
/// joined here is cut apart again by the lexer.
#[inline]
pub fn is_apart(last: u8, next: Kind, star: bool) -> bool {
    if star && last == Kind::Dot as u8 {
        return false;
    }
    RULES[usize::from(last)] >> next as u8 & APART != 0
}

/// Writes a token that is long, quoted, or stands at the end of the text; with a blank before it or none.
#[inline(never)]
fn whole(text: &[u8], token: &Token, to: &mut [u8], apart: usize) {
    to[0] = b' ';
    let text = token.text(text);
    let to = &mut to[apart..apart + text.len()];
    if token.kind == Kind::Quoted {
        return to.copy_from_slice(text);
    }
    to.iter_mut().zip(text).for_each(|(to, from)| *to = from.to_ascii_lowercase());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ascii_letters_become_lower_case() {
        let text: Vec<u8> = (0..=255).collect();
        for (start, end) in [(0, 256), (60, 70), (60, 77), (200, 256), (250, 251)] {
            let mut output = Output::default();
            output.clear(end - start, 1);
            output.lower(&text, start, end);
            assert_eq!(output.text(), text[start..end].to_ascii_lowercase());
        }
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 9, 10, 99, 100, 101, 9_999, 10_000, 65_535] {
            let mut output = Output::default();
            output.clear(1, 1);
            output.decimal(number);
            assert_eq!(output.text(), number.to_string().as_bytes());
        }
    }
}
