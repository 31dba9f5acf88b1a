//! The canonical text while it is written: bytes in a buffer that has room beforehand, so that words go in many
//! bytes at a time, and the rule for blanks between tokens. Knows kinds of tokens, and no statements. Pure.

use super::lex::Kind;
use super::shape::Hole;

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

/// A bit for each kind that has a blank before it, by what was written before.
const APART: &[u32; SPACED as usize + 1] = &apart();

const fn apart() -> [u32; SPACED as usize + 1] {
    use Kind::*;
    const fn bit(kind: Kind) -> u32 {
        1 << kind as u8
    }
    let all = !(bit(Comma) | bit(Close) | bit(CloseBracket) | bit(Semicolon));
    let joined = bit(Cast) | bit(OpenBracket);
    let mut apart = [all; SPACED as usize + 1];
    apart[Word as usize] = all & !(joined | bit(Dot) | bit(Open));
    apart[Quoted as usize] = all & !(joined | bit(Dot) | bit(Open));
    apart[SPACED as usize] = all & !(joined | bit(Dot));
    apart[Close as usize] = all & !(joined | bit(Dot));
    apart[CloseBracket as usize] = all & !(joined | bit(Dot));
    apart[Parameter as usize] = all & !joined;
    apart[Integer as usize] = all & !joined;
    apart[Cast as usize] = all & !(bit(Word) | bit(Quoted));
    apart[Dot as usize] = all & !(bit(Word) | bit(Quoted));
    apart[Open as usize] = 0;
    apart[OpenBracket as usize] = 0;
    apart[START as usize] = 0;
    apart
}

/// Whether a blank stands between what was written last and the next token; `star`: that is a `*`. What is
/// joined here is cut apart again by the lexer.
#[inline]
pub fn is_apart(last: u8, next: Kind, star: bool) -> bool {
    if star && last == Kind::Dot as u8 {
        return false;
    }
    APART[usize::from(last)] >> next as u8 & 1 != 0
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
