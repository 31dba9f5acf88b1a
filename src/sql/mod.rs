//! The language in the messages: what a statement may do to the session that runs it, found by one scan
//! without a parse. Pure. It may say yes too often (a look at the server's state is then wasted), and says
//! no only where PostgreSQL's grammar leaves no other way to write the thing.

pub mod body;
mod canonical;
pub mod class;
mod collapse;
pub mod comment;
pub mod dialect;
pub mod edit;
pub mod facts;
pub mod filter;
mod fingerprint;
pub mod guard;
pub mod insert;
#[cfg(test)]
mod insert_tests;
mod keyword;
pub mod kind;
mod lex;
pub mod mark;
pub mod name;
pub mod outline;
mod output;
pub mod plannable;
mod scan;
pub mod scans;
pub mod shape;
pub mod shape_properties;
#[cfg(test)]
mod shape_spellings;
#[cfg(test)]
mod shape_tests;
mod token;
pub mod words;

/// What a statement's text lets one expect, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traits(u8);

impl Traits {
    pub const NONE: Traits = Traits(0);
    /// May leave something behind in the session: a setting, a lock, a temporary table, a cursor, a
    /// listener, a prepared statement.
    pub const STATE: Traits = Traits(1);
    /// Changes settings until the transaction ends.
    pub const LOCAL: Traits = Traits(2);
    /// Returns settings to their defaults.
    pub const RESETS: Traits = Traits(4);
    /// Starts with DEALLOCATE or EXECUTE: names a prepared statement in SQL.
    pub const NAMES_STATEMENT: Traits = Traits(8);
    /// Changes the schema, so that texts may mean other things from now on.
    pub const DDL: Traits = Traits(16);
    /// Runs a statement that PREPARE named; what that may do is known from its own text.
    pub const EXECUTES: Traits = Traits(32);
    /// Opens a transaction block.
    pub const BEGINS: Traits = Traits(64);

    #[inline]
    pub fn has(self, other: Traits) -> bool {
        self.0 & other.0 != 0
    }

    #[inline]
    pub fn with(self, other: Traits) -> Traits {
        Traits(self.0 | other.0)
    }
}

/// What the text of one or more statements may do. A text that was cut short must not be asked about.
pub fn traits(text: &[u8]) -> Traits {
    let mut found = words(text);
    let mut rest = Some(text);
    while let Some(statement) = rest {
        found = found.with(first_words(skip_blank(statement)));
        rest = memchr::memchr(b';', statement).map(|at| &statement[at + 1..]);
    }
    found
}

/// Whether one of the statements starts with this keyword. May say yes for a string that looks like one.
pub fn has_statement(text: &[u8], keyword: &str) -> bool {
    let starts = |statement: &[u8]| {
        let (first, _) = word(skip_blank(statement));
        first.eq_ignore_ascii_case(keyword.as_bytes())
    };
    text.split(|&byte| byte == b';').any(starts)
}

/// Whether a text with these traits may take away every prepared statement (DISCARD ALL, DEALLOCATE ALL).
pub fn clears(traits: Traits, text: &[u8]) -> bool {
    let has = |word: &[u8]| text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    traits.has(Traits::RESETS.with(Traits::NAMES_STATEMENT)) && (has(b"discard") || has(b"deallocate"))
}

/// Cuts white space and comments (nested ones too) off the front.
pub fn skip_blank(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        // PostgreSQL counts the vertical tab as white space, Rust does not.
        if let [b'\x0b', rest @ ..] = text {
            text = rest;
        } else if text.starts_with(b"--") {
            let end = memchr::memchr2(b'\n', b'\r', text).map_or(text.len(), |at| at + 1);
            text = &text[end..];
        } else if text.starts_with(b"/*") {
            text = after_comment(text);
        } else {
            return text;
        }
    }
}

fn after_comment(text: &[u8]) -> &[u8] {
    let (mut at, mut depth) = (0, 0);
    while at + 1 < text.len() {
        match &text[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return &text[at..];
                }
            }
            _ => at += 1,
        }
    }
    &[]
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80 || byte == b'$'
}

/// The word at the front of `text`, and what follows it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&byte| !is_word(byte)).unwrap_or(text.len());
    text.split_at(end)
}

fn first_words(text: &[u8]) -> Traits {
    let (first, rest) = word(text);
    let is = |keyword: &str| first.eq_ignore_ascii_case(keyword.as_bytes());
    let Some(initial) = first.first() else {
        return Traits::NONE;
    };
    match initial.to_ascii_lowercase() {
        b's' if is("set") => set(rest),
        b's' if is("start") => Traits::BEGINS,
        b'b' if is("begin") => Traits::BEGINS,
        b'r' if is("reset") => Traits::STATE.with(Traits::RESETS),
        b'd' if is("discard") => Traits::STATE.with(Traits::RESETS),
        b'd' if is("deallocate") => Traits::STATE.with(Traits::NAMES_STATEMENT),
        b'd' if is("do") => Traits::STATE,
        b'd' if is("drop") => Traits::DDL,
        b'e' if is("execute") => Traits::EXECUTES.with(Traits::NAMES_STATEMENT),
        b'e' if is("explain") => Traits::EXECUTES,
        b'p' if is("prepare") => prepare(rest),
        b'l' if is("listen") || is("load") => Traits::STATE,
        b'u' if is("unlisten") => Traits::STATE,
        b'c' if is("call") => Traits::STATE,
        b'c' if is("create") => Traits::DDL,
        b'a' if is("alter") => Traits::DDL,
        b'i' if is("import") => Traits::DDL,
        _ => Traits::NONE,
    }
}

/// SET LOCAL, SET TRANSACTION and SET CONSTRAINTS end with their transaction; all else stays.
fn set(rest: &[u8]) -> Traits {
    let (second, _) = word(skip_blank(rest));
    let local = ["local", "transaction", "constraints"];
    if local.iter().any(|keyword| second.eq_ignore_ascii_case(keyword.as_bytes())) {
        Traits::LOCAL
    } else {
        // SET x TO DEFAULT returns to the start-up value, like RESET.
        let default = rest.windows(7).any(|word| word.eq_ignore_ascii_case(b"default"));
        let resets = if default { Traits::RESETS } else { Traits::NONE };
        Traits::STATE.with(resets)
    }
}

/// PREPARE TRANSACTION leaves nothing in the session; the locks it takes belong to the transaction.
fn prepare(rest: &[u8]) -> Traits {
    let (second, _) = word(skip_blank(rest));
    if second.eq_ignore_ascii_case(b"transaction") { Traits::NONE } else { Traits::STATE }
}

/// Words that matter wherever they stand, since functions and clauses can be anywhere; and the place in each of
/// two letters that are rare enough to look for.
const WORDS: [(&[u8], usize); 5] =
    [(b"advisory", 1), (b"set_config", 6), (b"temp", 2), (b"hold", 2), (b"u&\"", 1)];

/// Bytes that are looked at together.
const STRIDE: usize = 16;

/// The part of `traits` that does not depend on where a statement starts.
pub fn words(text: &[u8]) -> Traits {
    let is_state_in = |mut places: std::ops::Range<usize>| places.any(|at| is_state_at(text, at));
    let Some(last) = text.len().checked_sub(STRIDE + 1) else {
        return if is_state_in(0..text.len()) { Traits::STATE } else { Traits::NONE };
    };
    let mut at = 0;
    loop {
        // The last bytes are looked at together with some that have been.
        at = at.min(last);
        let pairs = text[at..].first_chunk().zip(text[at + 1..].first_chunk());
        if pairs.is_none_or(|(bytes, behind)| has_rare_pair(bytes, behind)) && is_state_in(at..at + STRIDE) {
            return Traits::STATE;
        }
        if at == last {
            return Traits::NONE;
        }
        at += STRIDE;
    }
}

/// Whether one of the pairs of letters stands in the text, given its bytes and those behind each. All arithmetic,
/// so that the processor does it for all bytes at once.
#[inline]
fn has_rare_pair(bytes: &[u8; STRIDE], behind: &[u8; STRIDE]) -> bool {
    let found: [u8; STRIDE] = std::array::from_fn(|at| {
        let (one, other) = (bytes[at] | 0x20, behind[at] | 0x20);
        let differs = |which: usize| {
            let (word, rare) = WORDS[which];
            (one ^ word[rare]) | (other ^ word[rare + 1])
        };
        let least = differs(0).min(differs(1)).min(differs(2)).min(differs(3)).min(differs(4));
        if least == 0 { 0xff } else { 0 }
    });
    u128::from_le_bytes(found) != 0
}

/// Whether a word is there whose rare letters stand at `at`, and where it means something.
fn is_state_at(text: &[u8], at: usize) -> bool {
    WORDS.iter().enumerate().any(|(which, &(word, rare))| {
        let start = at.checked_sub(rare).filter(|&start| starts_with_ignore_case(&text[start..], word));
        start.is_some_and(|start| is_state(&text[..start], &text[start + word.len()..], which))
    })
}

/// Whether a word means something between what stands before and after it.
fn is_state(before: &[u8], after: &[u8], which: usize) -> bool {
    match which {
        0 => !starts_with_ignore_case(after, b"_xact"),
        2 => temporary(before, after),
        3 => !after.first().is_some_and(|&byte| is_word(byte)) && follows(before, &["with"]),
        _ => true,
    }
}

/// Every `a.b` in the text that could be the name of a custom setting, quoted or not.
pub fn dotted(text: &[u8]) -> Vec<Vec<u8>> {
    let bare: Vec<u8> = text.iter().copied().filter(|&byte| byte != b'"').collect();
    let mut names: Vec<Vec<u8>> = bare
        .split(|&byte| !is_word(byte) && byte != b'.')
        .filter(|name| name.contains(&b'.') && name.split(|&byte| byte == b'.').all(starts_a_name))
        .map(<[u8]>::to_vec)
        .collect();
    names.sort();
    names.dedup();
    names
}

fn starts_a_name(part: &[u8]) -> bool {
    part.first().is_some_and(|&byte| byte == b'_' || byte.is_ascii_alphabetic() || byte >= 0x80)
}

fn starts_with_ignore_case(text: &[u8], prefix: &[u8]) -> bool {
    text.len() >= prefix.len() && text[..prefix.len()].eq_ignore_ascii_case(prefix)
}

/// `pg_temp`, or TEMP and TEMPORARY where the grammar lets them make something.
fn temporary(before: &[u8], after: &[u8]) -> bool {
    if before.len() >= 3 && before[before.len() - 3..].eq_ignore_ascii_case(b"pg_") {
        return true;
    }
    let tail = if starts_with_ignore_case(after, b"orary") { &after[5..] } else { after };
    !tail.first().is_some_and(|&byte| is_word(byte))
        && follows(before, &["create", "local", "global", "into", "replace"])
}

/// Whether the word in front is one of `keywords`. A comment in between counts as yes.
fn follows(before: &[u8], keywords: &[&str]) -> bool {
    let trimmed = before.trim_ascii_end();
    if trimmed.len() == before.len() && before.last().is_some_and(|&byte| is_word(byte)) {
        return false;
    }
    match trimmed.last() {
        None => false,
        Some(&byte) if is_word(byte) => {
            let start = trimmed.iter().rposition(|&byte| !is_word(byte)).map_or(0, |at| at + 1);
            let previous = &trimmed[start..];
            let line = trimmed.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            // A line comment may hide the keyword that really precedes.
            let commented = line < start && memchr::memmem::find(&trimmed[line..], b"--").is_some();
            commented || keywords.iter().any(|keyword| previous.eq_ignore_ascii_case(keyword.as_bytes()))
        }
        Some(&byte) => byte == b'/' || byte == b'\x0b',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_something_behind() {
        let state = [
            "SET search_path = x",
            "  /* a /* b */ */ set timezone to 'UTC'",
            "select 1; set x.y = 1",
            "RESET ALL",
            "DISCARD ALL",
            "LISTEN jobs",
            "SELECT pg_advisory_lock(1)",
            "select PG_TRY_ADVISORY_LOCK(1)",
            "create temp table t(a int)",
            "CREATE TEMPORARY TABLE t()",
            "select 1 into temp x",
            "create or replace temp view v as select 1",
            "create /* x */ temp table t()",
            "create -- x\n temp table t()",
            "create table pg_temp.t()",
            "declare c cursor with hold for select 1",
            "select set_config('a.b','c',false)",
            "prepare p as select 1",
            "do $$begin end$$",
            "call p()",
            "select u&\"set\\005fconfig\"('a','b',false)",
            "-- x\nset a=1",
            "load 'x'",
            "\x0bset a=1",
        ];
        for text in state {
            assert!(traits(text.as_bytes()).has(Traits::STATE), "{text}");
        }
    }

    #[test]
    fn a_word_is_found_wherever_it_stands() {
        for (before, after) in (0..40).flat_map(|before| (0..20).map(move |after| (before, after))) {
            for word in ["ADVISORY", "set_config", "pg_temp", "with hold", "U&\""] {
                let text = " ".repeat(before) + word + &" ".repeat(after);
                assert!(words(text.as_bytes()).has(Traits::STATE), "{text}");
            }
        }
    }

    #[test]
    fn names_of_custom_settings() {
        let names = dotted(b"set \"app\".tenant = '1.5'; select set_config('my.x', $1, false), .5");
        assert_eq!(names, [b"app.tenant".to_vec(), b"my.x".to_vec()]);
    }

    #[test]
    fn what_does_not() {
        let plain = [
            "select temp from readings",
            "update t set a = 1",
            "select template, hold from x",
            "select pg_advisory_xact_lock(1)",
            "set local a.b = '1'",
            "set transaction read only",
            "begin",
            "insert into t values (1) on conflict do nothing",
            "select temperature from t",
            "select attempt, household from t",
            "prepare transaction 'x'",
            "declare c cursor without hold for select 1",
            "select 'x' || temp from t",
        ];
        for text in plain {
            assert!(!traits(text.as_bytes()).has(Traits::STATE), "{text}");
        }
        assert!(traits(b"set local a=1").has(Traits::LOCAL));
        assert!(traits(b"create table t()").has(Traits::DDL));
        assert!(traits(b"execute p(1)").has(Traits::EXECUTES));
        assert!(traits(b"select 1; begin").has(Traits::BEGINS));
        assert!(traits(b"start transaction").has(Traits::BEGINS));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(text: Vec<u8>) {
            traits(&text);
            name::of(&text);
        }

        #[test]
        fn a_prefix_of_blanks_changes_nothing(blanks in "([ \t\n\r]|/\\*[a-z]*\\*/|--[a-z]*\n){0,6}") {
            let text = blanks + "SET a = 1";
            proptest::prop_assert!(traits(text.as_bytes()).has(Traits::STATE), "{text}");
        }
    }
}
