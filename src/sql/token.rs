//! What a text is cut into, and what one token says about its neighbours. The cutting is done in `lex`. Pure.

use super::keyword::{Key, PREFIX, QUERY};
use super::lex::Lexer;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
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

/// Whether parameters may stand in the statement: the others are utility commands.
pub fn is_query(tokens: &[Token]) -> bool {
    let first = tokens.iter().find(|token| token.kind != Kind::Open);
    first.is_some_and(|token| token.has(QUERY))
}

/// A token with its text, for whoever wants words and marks and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    pub kind: Kind,
    pub text: &'a [u8],
}

/// The pieces of all statements of a text; comments and the semicolons between are left out.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let text = text.as_bytes();
    let (mut lexer, mut tokens, mut pieces) = (Lexer::new(text, true), Vec::new(), Vec::new());
    while lexer.statement(&mut tokens) {
        pieces.extend(tokens.iter().map(|token| Piece { kind: token.kind, text: token.text(text) }));
    }
    pieces
}

impl Piece<'_> {
    pub fn is(&self, keyword: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(keyword.as_bytes())
    }

    pub fn is_one_of(&self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.is(keyword))
    }
}
