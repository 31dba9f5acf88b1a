//! What may be given to the parser. Its syntax tree is as deep as its terms are many, and a tree that is too
//! deep ends the whole process when it is dropped; so a text is measured before, by one scan without
//! recursion. Pure. Does not know what a text means.

use std::fmt;

use super::token::{Kind, pieces};

/// Longer statements are rarely written by hand or by an object mapper; parsing time grows with them.
pub const BYTES_MAX: usize = 16 * 1024;

/// Operators and words that join terms. The parser's tree may be this deep; at 64 MiB of stack
/// ([`STACK`]) each level has 64 KiB, of which even a debug build uses less than a tenth.
pub const TERMS_MAX: usize = 1_000;

/// Joins without their conditions are read by a recursion of the parser that its own limit does not count,
/// and that takes more of the stack than an operator does: 200 may be chained.
const TERMS_OF_JOIN: usize = 5;

/// Brackets within brackets. People and object mappers stay below ten.
pub const DEPTH_MAX: usize = 50;

/// The stack that the parser has to be given, in bytes. It costs memory only where it is used.
pub const STACK: usize = 64 * 1024 * 1024;

/// Why a statement has no facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Longer than [`BYTES_MAX`], or kept only in part.
    Size,
    /// More terms than [`TERMS_MAX`].
    Terms,
    /// Nested deeper than [`DEPTH_MAX`], or than the parser follows.
    Depth,
    /// The parser has tried too many readings of it.
    Effort,
    /// The parser does not know this syntax: its message.
    Syntax(String),
}

impl Refused {
    pub const LABELS: [&'static str; 5] = ["size", "terms", "depth", "effort", "syntax"];

    /// The place in [`Refused::LABELS`].
    pub fn index(&self) -> usize {
        match self {
            Refused::Size => 0,
            Refused::Terms => 1,
            Refused::Depth => 2,
            Refused::Effort => 3,
            Refused::Syntax(_) => 4,
        }
    }

    pub fn label(&self) -> &'static str {
        Self::LABELS[self.index()]
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Size => write!(formatter, "it is longer than {BYTES_MAX} bytes"),
            Refused::Terms => write!(formatter, "it has more than {TERMS_MAX} operators and terms"),
            Refused::Depth => write!(formatter, "it is nested deeper than {DEPTH_MAX} levels"),
            Refused::Effort => formatter.write_str("it can be read in too many ways"),
            Refused::Syntax(message) => write!(formatter, "the parser does not know its syntax: {message}"),
        }
    }
}

/// Words that make the parser's tree deeper by one.
const JOINING: [&str; 22] = [
    "and",
    "or",
    "not",
    "is",
    "isnull",
    "notnull",
    "in",
    "like",
    "ilike",
    "similar",
    "between",
    "escape",
    "case",
    "when",
    "collate",
    "at",
    "overlaps",
    "union",
    "intersect",
    "except",
    "explain",
    "interval",
];

/// Whether the parser may see this text.
///
/// # Errors
/// The bound that the text exceeds.
pub fn check(text: &str) -> Result<(), Refused> {
    if text.len() > BYTES_MAX {
        return Err(Refused::Size);
    }
    // Half terms: each byte of an operator is one, since the parser may cut it into several.
    let (mut halves, mut depth, mut deepest) = (0, 0_usize, 0);
    for piece in pieces(text) {
        match (piece.kind, piece.text) {
            (Kind::Open, _) | (Kind::Other, b"{") => depth += 1,
            (Kind::OpenBracket, _) => (depth, halves) = (depth + 1, halves + 2),
            (Kind::Close | Kind::CloseBracket, _) | (Kind::Other, b"}") => depth = depth.saturating_sub(1),
            (Kind::Dot, _) => halves += 2,
            (Kind::Operator | Kind::Cast | Kind::Other, bytes) => halves += bytes.len(),
            // The parser may read a sign or point of a number as an operator.
            (Kind::Integer | Kind::Number, bytes) => {
                halves += 2 * bytes.iter().filter(|byte| matches!(byte, b'.' | b'-' | b'+')).count();
            }
            (Kind::Word, _) if piece.is_one_of(&JOINING) => {
                halves += 2;
                depth += usize::from(piece.is("case"));
            }
            (Kind::Word, _) if piece.is("join") => halves += 2 * TERMS_OF_JOIN,
            (Kind::Word, _) if piece.is("end") => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if halves > 2 * TERMS_MAX {
        return Err(Refused::Terms);
    }
    if deepest > DEPTH_MAX { Err(Refused::Depth) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_statements_pass_and_hostile_ones_do_not() {
        let many = |part: &str, n| format!("select {}1", part.repeat(n));
        for (text, expected) in [
            ("select a from t where id = $1".to_owned(), Ok(())),
            (many("a.b, ", 400), Ok(())),
            (many("$1, ", 3_000), Ok(())),
            (many("(", 50), Ok(())),
            (many("(", 51), Err(Refused::Depth)),
            (many("case when a then ", 51), Err(Refused::Depth)),
            (many("'((((((((((((((((((((((((((((((((((((((((((((((((((((((((((', ", 20), Ok(())),
            (many("a or ", 1_001), Err(Refused::Terms)),
            (many("not ", 1_001), Err(Refused::Terms)),
            (many("a.", 1_001), Err(Refused::Terms)),
            (many("- ", 2_001), Err(Refused::Terms)),
            (many("a from a join ", 201), Err(Refused::Terms)),
            (many("x", 16 * 1024), Err(Refused::Size)),
        ] {
            assert_eq!(check(&text), expected, "{} {}", text.len(), &text[..40.min(text.len())]);
        }
    }
}
