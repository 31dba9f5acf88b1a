//! The shape of a statement: its text without its values, in one fixed way of writing, and a fingerprint of
//! that. Statements that differ only in values, spacing, comments, case, needless quotes, the length of lists,
//! or the side on which a value is compared have one shape. Finds it in one pass over the tokens; knows no
//! catalog, and of the grammar only what neighbouring tokens say. Pure.

use super::canonical::Canonical;
use super::fingerprint;
use super::lex::Lexer;
use super::output::Output;
use super::token::Token;

pub use super::fingerprint::Fingerprint;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoleKind {
    /// `$n`, with n as the client counts; too large numbers are 65,535.
    Parameter(u16),
    /// May have a sign, `0x` and underscores.
    Integer,
    /// With a point or an exponent.
    Number,
    /// In quotes of any kind, which belong to the hole: `'…'`, `E'…'`, `N'…'`, `U&'…'`, `$tag$…$tag$`, and
    /// strings that are continued on another line.
    String,
    /// `B'…'` and `X'…'`.
    Bits,
    Null,
    Boolean,
}

/// A value in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// Byte offsets in the original text.
    pub start: u32,
    pub end: u32,
    pub kind: HoleKind,
    /// It is `$number` in the canonical text. Values of one list share a number. Counted up to 65,535.
    pub number: u16,
}

pub struct Shape<'a> {
    pub fingerprint: Fingerprint,
    pub canonical: &'a [u8],
    /// In the order of the text.
    pub holes: &'a [Hole],
}

/// Finds shapes; keeps its buffers from one text to the next.
#[derive(Default)]
pub struct Shaper {
    tokens: Vec<Token>,
    output: Output,
    /// The first and last `/*…*/` of the last text, as byte offsets with the marks of the comment.
    pub first_comment: Option<(u32, u32)>,
    pub last_comment: Option<(u32, u32)>,
}

/// Buffers beyond this many entries are given back after use: statements of ORMs have fewer tokens.
const KEEP: usize = 16 * 1024;

impl Shaper {
    /// Calls `each` once per statement of the text; empty ones are left out. `standard_strings`: the server
    /// reads backslashes in plain strings as themselves.
    pub fn shapes(&mut self, text: &[u8], standard_strings: bool, mut each: impl FnMut(Shape<'_>)) {
        let mut lexer = Lexer::new(text, standard_strings);
        while lexer.statement(&mut self.tokens) {
            if let [first, .., last] | [first @ last] = self.tokens.as_slice() {
                self.output.clear((last.end - first.start) as usize, self.tokens.len());
            }
            Canonical::new(text, &self.tokens, &mut self.output).write();
            let canonical = self.output.text();
            each(Shape { fingerprint: fingerprint::of(canonical), canonical, holes: &self.output.holes });
        }
        (self.first_comment, self.last_comment) = (lexer.first_comment, lexer.last_comment);
        if self.tokens.capacity() > KEEP {
            self.tokens = Vec::new();
            self.output = Output::default();
        }
    }
}
