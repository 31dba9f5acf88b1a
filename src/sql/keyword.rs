//! Words that the shape of a statement depends on: which must keep their quotes, after which a sign belongs to
//! the number, which name types. Found by one look into a table that the compiler builds. Knows no text. Pure.

use super::scan;

/// Keeps its quotes: without them it would mean something else somewhere.
pub const RESERVED: u8 = 1;
/// An expression starts after it, so that a sign there is a number's own, and `$1` may stand there.
pub const PREFIX: u8 = 2;
/// Stands apart from a parenthesis: no function or type has this name.
pub const SPACED: u8 = 4;
/// No expression goes on with it.
pub const ENDS: u8 = 8;
/// A type whose parenthesis holds a length or precision.
pub const SIZED: u8 = 16;
/// The name of a type although the word is reserved.
pub const TYPE: u8 = 32;
/// Statements that start with it may have parameters.
pub const QUERY: u8 = 64;
/// A condition starts after it.
pub const CONDITION: u8 = 128;

/// Words that are looked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Key {
    None,
    And,
    Array,
    As,
    At,
    Atomic,
    Begin,
    Between,
    By,
    Case,
    /// Ends a list of ORDER BY or GROUP BY.
    Clause,
    Create,
    End,
    Explain,
    Function,
    Group,
    In,
    Or,
    Order,
    Precision,
    Procedure,
    Replace,
    Time,
    Uescape,
    Values,
    Varying,
    With,
    Zone,
    // From here on: what may not be written as it stands in the text, see `is_respelled`.
    Boolean,
    Null,
    /// No word: the operator `!=`, and names of the form `u&"…"`.
    Respelled,
}

impl Key {
    #[inline]
    pub fn is_respelled(self) -> bool {
        self as u8 >= Key::Boolean as u8
    }

    /// The end of a statement or of a literal may depend on the word.
    pub fn needs_care(self) -> bool {
        matches!(self, Key::Atomic | Key::Begin | Key::Case | Key::End | Key::Uescape)
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Word {
    pub key: Key,
    pub flags: u8,
}

pub const PLAIN: Word = Word { key: Key::None, flags: 0 };

/// Longest word here: `current_timestamp`. Longer ones compare equal in no case.
const LONGEST: usize = 17;

const R: u8 = RESERVED;
const RS: u8 = RESERVED | SPACED;
const RT: u8 = RESERVED | TYPE;
const RTS: u8 = RESERVED | TYPE | SIZED;

/// Reserved words are those of PostgreSQL 15 to 18 in its categories reserved, "can be function or type", and
/// "cannot be function or type": `"char"` and char, for one, are different types.
#[rustfmt::skip]
const WORDS: &[(&str, Key, u8)] = &[
    ("all", Key::None, R), ("analyse", Key::None, R), ("analyze", Key::None, R),
    ("and", Key::And, RS | PREFIX | ENDS | CONDITION), ("any", Key::None, R), ("array", Key::Array, R),
    ("as", Key::As, RS), ("asc", Key::None, R), ("asymmetric", Key::None, RS | PREFIX),
    ("both", Key::None, R | PREFIX), ("case", Key::Case, RS | PREFIX), ("cast", Key::None, R),
    ("check", Key::None, RS), ("collate", Key::None, R), ("column", Key::None, R), ("constraint", Key::None, R),
    ("create", Key::Create, R), ("current_catalog", Key::None, R), ("current_date", Key::None, R),
    ("current_role", Key::None, R), ("current_time", Key::None, R | SIZED),
    ("current_timestamp", Key::None, R | SIZED), ("current_user", Key::None, R),
    ("default", Key::None, RS | PREFIX), ("deferrable", Key::None, R), ("desc", Key::None, R),
    ("distinct", Key::None, RS | PREFIX), ("do", Key::None, R), ("else", Key::None, RS | PREFIX | ENDS),
    ("end", Key::End, R | ENDS), ("except", Key::Clause, RS | ENDS), ("false", Key::Boolean, R),
    ("fetch", Key::Clause, R | ENDS), ("for", Key::Clause, RS | PREFIX | ENDS), ("foreign", Key::None, R),
    ("from", Key::None, RS | PREFIX | ENDS), ("grant", Key::None, R), ("group", Key::Group, RS | ENDS),
    ("having", Key::Clause, RS | PREFIX | ENDS | CONDITION), ("in", Key::In, RS | PREFIX),
    ("initially", Key::None, R), ("intersect", Key::Clause, RS | ENDS), ("into", Key::None, RS),
    ("lateral", Key::None, RS), ("leading", Key::None, R | PREFIX), ("limit", Key::Clause, RS | PREFIX | ENDS),
    ("localtime", Key::None, R | SIZED), ("localtimestamp", Key::None, R | SIZED),
    ("not", Key::None, RS | PREFIX | CONDITION), ("null", Key::Null, R),
    ("offset", Key::Clause, RS | PREFIX | ENDS), ("on", Key::None, RS | PREFIX | ENDS | CONDITION),
    ("only", Key::None, R), ("or", Key::Or, RS | PREFIX | ENDS | CONDITION), ("order", Key::Order, RS | ENDS),
    ("placing", Key::None, R | PREFIX), ("primary", Key::None, R), ("references", Key::None, R),
    ("returning", Key::Clause, RS | PREFIX | ENDS), ("select", Key::None, RS | PREFIX | QUERY),
    ("session_user", Key::None, R), ("some", Key::None, R), ("symmetric", Key::None, RS | PREFIX),
    ("system_user", Key::None, R), ("table", Key::None, R | QUERY), ("then", Key::None, RS | PREFIX | ENDS),
    ("to", Key::None, RS | PREFIX), ("trailing", Key::None, R | PREFIX), ("true", Key::Boolean, R),
    ("union", Key::Clause, RS | ENDS), ("unique", Key::None, RS), ("user", Key::None, R),
    ("using", Key::None, RS | PREFIX), ("variadic", Key::None, R | PREFIX),
    ("when", Key::None, RS | PREFIX | ENDS | CONDITION), ("where", Key::None, RS | PREFIX | ENDS | CONDITION),
    ("window", Key::Clause, R | ENDS), ("with", Key::With, RS | QUERY),
    ("authorization", Key::None, R), ("binary", Key::None, R), ("collation", Key::None, R),
    ("concurrently", Key::None, R), ("cross", Key::None, R | ENDS), ("current_schema", Key::None, R),
    ("freeze", Key::None, R), ("full", Key::None, R | ENDS), ("ilike", Key::None, RS | PREFIX),
    ("inner", Key::None, R | ENDS), ("is", Key::None, RS), ("isnull", Key::None, R),
    ("join", Key::None, RS | ENDS), ("left", Key::None, R | ENDS), ("like", Key::None, RS | PREFIX),
    ("natural", Key::None, R | ENDS), ("notnull", Key::None, R), ("outer", Key::None, R),
    ("overlaps", Key::None, RS), ("right", Key::None, R | ENDS), ("similar", Key::None, R),
    ("tablesample", Key::None, R), ("verbose", Key::None, R),
    ("between", Key::Between, RS | PREFIX), ("bigint", Key::None, RT), ("bit", Key::None, RTS),
    ("boolean", Key::None, RT), ("char", Key::None, RTS), ("character", Key::None, RTS),
    ("coalesce", Key::None, R), ("dec", Key::None, RTS), ("decimal", Key::None, RTS), ("exists", Key::None, RS),
    ("extract", Key::None, R), ("float", Key::None, RTS), ("greatest", Key::None, R), ("grouping", Key::None, R),
    ("inout", Key::None, R), ("int", Key::None, RT), ("integer", Key::None, RT), ("interval", Key::None, RTS),
    ("json", Key::None, RT), ("json_array", Key::None, R), ("json_arrayagg", Key::None, R),
    ("json_exists", Key::None, R), ("json_object", Key::None, R), ("json_objectagg", Key::None, R),
    ("json_query", Key::None, R), ("json_scalar", Key::None, R), ("json_serialize", Key::None, R),
    ("json_table", Key::None, R), ("json_value", Key::None, R), ("least", Key::None, R),
    ("merge_action", Key::None, R), ("national", Key::None, RT), ("nchar", Key::None, RTS), ("none", Key::None, R),
    ("normalize", Key::None, R), ("nullif", Key::None, R), ("numeric", Key::None, RTS), ("out", Key::None, R),
    ("overlay", Key::None, R), ("position", Key::None, R), ("precision", Key::Precision, R),
    ("real", Key::None, RT), ("row", Key::None, R), ("setof", Key::None, R), ("smallint", Key::None, RT),
    ("substring", Key::None, R), ("time", Key::Time, RTS), ("timestamp", Key::None, RTS),
    ("treat", Key::None, R), ("trim", Key::None, R), ("values", Key::Values, RS | QUERY),
    ("varchar", Key::None, RTS), ("xmlattributes", Key::None, R), ("xmlconcat", Key::None, R),
    ("xmlelement", Key::None, R), ("xmlexists", Key::None, R), ("xmlforest", Key::None, R),
    ("xmlnamespaces", Key::None, R), ("xmlparse", Key::None, R), ("xmlpi", Key::None, R),
    ("xmlroot", Key::None, R), ("xmlserialize", Key::None, R), ("xmltable", Key::None, R),
    // Not reserved.
    ("at", Key::At, 0), ("atomic", Key::Atomic, 0), ("begin", Key::Begin, 0), ("bpchar", Key::None, SIZED),
    ("by", Key::By, SPACED | PREFIX), ("call", Key::None, QUERY), ("conflict", Key::None, SPACED),
    ("declare", Key::None, QUERY), ("delete", Key::None, QUERY), ("escape", Key::None, PREFIX),
    ("execute", Key::None, QUERY), ("explain", Key::Explain, SPACED | QUERY), ("filter", Key::None, SPACED),
    ("function", Key::Function, 0), ("insert", Key::None, QUERY), ("key", Key::None, SPACED),
    ("materialized", Key::None, SPACED), ("merge", Key::None, QUERY), ("over", Key::None, SPACED),
    ("prepare", Key::None, QUERY), ("procedure", Key::Procedure, 0), ("replace", Key::Replace, 0),
    ("second", Key::None, SIZED), ("timestamptz", Key::None, SIZED), ("timetz", Key::None, SIZED),
    ("uescape", Key::Uescape, 0), ("update", Key::None, QUERY), ("varbit", Key::None, SIZED),
    ("varying", Key::Varying, SIZED), ("zone", Key::Zone, 0),
];

#[derive(Clone, Copy)]
struct Entry {
    length: usize,
    head: u64,
    tail: u64,
    word: Word,
}

/// Setting this bit in a byte makes a letter lower-case, and two different bytes of words never become equal.
const FOLD: u64 = 0x2020_2020_2020_2020;
const SLOTS: usize = 1024;

const ENTRIES: &[Entry; WORDS.len()] = &entries();

/// One more than the entry's place; 0 is an empty slot.
const INDEX: &[u8; SLOTS] = &index();

/// The bits of the first bytes of a word of this length.
const HEADS: &[u64; LONGEST + 1] = &heads();

const fn heads() -> [u64; LONGEST + 1] {
    let mut heads = [u64::MAX; LONGEST + 1];
    let mut length = 0;
    while length < 8 {
        heads[length] = (1 << (8 * length)) - 1;
        length += 1;
    }
    heads
}

const fn entries() -> [Entry; WORDS.len()] {
    let mut entries = [Entry { length: 0, head: 0, tail: 0, word: PLAIN }; WORDS.len()];
    let mut at = 0;
    while at < WORDS.len() {
        let (name, key, flags) = WORDS[at];
        let name = name.as_bytes();
        assert!(name.len() >= 2 && name.len() <= LONGEST);
        let head_length = if name.len() < 8 { name.len() } else { 8 };
        let head = (slow(name, 0, head_length) | FOLD) & HEADS[name.len()];
        let tail = if name.len() > 8 { slow(name, name.len() - 8, name.len()) | FOLD } else { 0 };
        entries[at] = Entry { length: name.len(), head, tail, word: Word { key, flags } };
        at += 1;
    }
    entries
}

const fn index() -> [u8; SLOTS] {
    assert!(WORDS.len() < 255);
    let mut index = [0; SLOTS];
    let mut at = 0;
    while at < WORDS.len() {
        let mut slot = slot(ENTRIES[at].head, ENTRIES[at].length);
        while index[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        at += 1;
        index[slot] = at as u8;
    }
    index
}

/// The end of a long word is left out: most words are no keywords, and their slot is empty.
#[inline]
const fn slot(head: u64, length: usize) -> usize {
    ((head ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize
}

/// The bytes from `start` to `end`, at most eight, as a little-endian number.
const fn slow(text: &[u8], start: usize, end: usize) -> u64 {
    let (mut word, mut at) = (0, end);
    while at > start {
        at -= 1;
        word = word << 8 | text[at] as u64;
    }
    word
}

/// Eight bytes from `at`, or as many as there are, as a little-endian number.
#[inline(always)]
fn load(text: &[u8], at: usize) -> u64 {
    match scan::eight(text, at) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => load_last(text, at),
    }
}

#[cold]
fn load_last(text: &[u8], at: usize) -> u64 {
    slow(text, at, text.len())
}

/// What is known of the word at `start..end`, in whatever case it is written.
#[inline(always)]
pub fn look_up(text: &[u8], start: usize, end: usize) -> Word {
    let length = end - start;
    let Some(mask) = HEADS.get(length) else {
        return PLAIN;
    };
    let head = (load(text, start) | FOLD) & mask;
    let slot = slot(head, length);
    if INDEX[slot] == 0 { PLAIN } else { find(text, start, end, head, slot) }
}

/// Goes through the entries from `slot` on, up to an empty slot.
#[inline(always)]
fn find(text: &[u8], start: usize, end: usize, head: u64, mut slot: usize) -> Word {
    let length = end - start;
    while let Some(found) = ENTRIES.get(usize::from(INDEX[slot]).wrapping_sub(1)) {
        if found.head == head
            && found.length == length
            && (length <= 8 || found.tail == load(text, end - 8) | FOLD)
        {
            // Words of 17 letters are longer than head and tail together; there is one such keyword.
            let middle = length < LONGEST || text[start + 8].eq_ignore_ascii_case(&b't');
            return if middle { found.word } else { PLAIN };
        }
        slot = (slot + 1) % SLOTS;
    }
    PLAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_in_every_case() {
        for (name, key, flags) in WORDS {
            for text in [name.to_string(), name.to_uppercase(), format!("{name}, and more text")] {
                let word = look_up(text.as_bytes(), 0, name.len());
                assert_eq!((word.key, word.flags), (*key, *flags), "{text}");
            }
            let longer = format!("{name}x");
            let word = look_up(longer.as_bytes(), 0, longer.len());
            assert!(word.flags == 0 || WORDS.iter().any(|(other, ..)| *other == longer), "{longer}");
        }
        for other in ["id", "author", "currentXtimestamp", "current_ximestamp", "s_lect", "i", ""] {
            assert_eq!(look_up(other.as_bytes(), 0, other.len()).flags, 0, "{other}");
        }
    }
}
