//! Texts that differ in nothing but plain numbers and plain strings, as libraries write them that put values into
//! their statements. Such a text is known by what is around its values, in one short scan, and need not be read
//! again. Says nothing of any text that holds something less plain. Pure.

use std::collections::HashMap;
use std::hash::BuildHasher;

use super::shape::Shapes;
use crate::sql::mark::{self, Marks};
use crate::sql::shape::{Hole, HoleKind};
use crate::sql::{self, Traits};

/// A text without its values.
#[derive(Debug)]
struct Template {
    around: Box<[u8]>,
    standard_strings: bool,
    traits: Traits,
    shapes: Shapes,
    /// Where each of the statement's values comes from, in their order.
    sources: Box<[Source]>,
    site: Site,
}

/// Tells texts apart that differ in more than their values; 0: nobody asked.
pub type Site = u64;

/// Sites of templates have this bit, so that they are never ids of statements.
const SITE_BIT: Site = 1 << 63;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The value at this place among those of the scan.
    Value(u16),
    /// It is the same in all these texts: NULL, TRUE, FALSE.
    Fixed(u32),
}

/// Templates kept; 1,000 of typical 300 bytes come to half a MiB.
const TEMPLATES_MAX: usize = 1_000;

/// Longer texts are not scanned, and more values are not followed: lists that long are rarely of one length.
const TEXT_MAX: usize = 4 * 1024;
const VALUES_MAX: usize = 64;

/// Places that remember what was around the values of a text, to know it when it comes a second time.
const SEEN: usize = 256;

/// What one pool has met.
#[derive(Debug)]
pub struct Templates {
    known: HashMap<u64, Template, foldhash::fast::RandomState>,
    hasher: foldhash::fast::RandomState,
    seen: Box<[u64; SEEN]>,
    /// Of the last scan: what is around the values, and where they stand, quotes included.
    around: Vec<u8>,
    values: Vec<(u32, u32)>,
    /// Of the template that was learned last.
    site: Site,
}

impl Default for Templates {
    fn default() -> Self {
        Templates {
            known: HashMap::default(),
            hasher: Default::default(),
            seen: Box::new([0; SEEN]),
            around: Vec::new(),
            values: Vec::new(),
            site: SITE_BIT,
        }
    }
}

/// What a text is that has a template.
#[derive(Debug)]
pub struct Met<'a> {
    pub traits: Traits,
    pub shapes: &'a Shapes,
    pub marks: Marks,
    pub site: Site,
}

/// How a byte is met by the scan.
const PLAIN: u8 = 0;
const DIGIT: u8 = 1;
const QUOTE: u8 = 2;
const NAME: u8 = 3;
/// The first byte of a comment, or a sign.
const DOUBLE: u8 = 4;
/// Not for this scan.
const OTHER: u8 = 5;

const CLASSES: [u8; 256] = {
    let mut classes = [PLAIN; 256];
    // Bytes that stand for values in what is around them.
    (classes[0], classes[1]) = (OTHER, OTHER);
    let mut byte = b'0';
    while byte <= b'9' {
        classes[byte as usize] = DIGIT;
        byte += 1;
    }
    classes[b'\'' as usize] = QUOTE;
    classes[b'"' as usize] = NAME;
    classes[b'-' as usize] = DOUBLE;
    classes[b'+' as usize] = DOUBLE;
    classes[b'/' as usize] = DOUBLE;
    classes[b'\\' as usize] = OTHER;
    classes[b'$' as usize] = OTHER;
    classes
};

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

impl Templates {
    pub fn clear(&mut self) {
        self.known.clear();
        self.seen.fill(0);
    }

    /// What the text is, if one like it was learned. Leaves the scan behind for `learn`.
    pub fn meet(&mut self, text: &[u8], standard_strings: bool) -> Option<Met<'_>> {
        if text.len() > TEXT_MAX || self.scan(text).is_none() || self.values.is_empty() {
            self.values.clear();
            return None;
        }
        let template = self.known.get(&self.hasher.hash_one(&*self.around))?;
        if *template.around != *self.around || template.standard_strings != standard_strings {
            return None;
        }
        let mut marks = Marks::default();
        for source in &template.sources {
            marks.add(match *source {
                Source::Value(at) => {
                    self.values.get(usize::from(at)).map_or(mark::NULL, |value| of(text, *value))
                }
                Source::Fixed(mark) => mark,
            });
        }
        Some(Met { traits: template.traits, shapes: &template.shapes, marks, site: template.site })
    }

    /// Where the values of the last text stand, quotes included.
    pub fn values(&self) -> &[(u32, u32)] {
        &self.values
    }

    /// Remembers what the text of the last `meet` was found to be, if it is the second of its kind and nothing
    /// in it depends on its values. Returns the site that it has from now on.
    pub fn learn(
        &mut self,
        standard_strings: bool,
        traits: Traits,
        shapes: &Shapes,
        holes: &[(Hole, u32)],
    ) -> Option<Site> {
        if self.values.is_empty() {
            return None;
        }
        let key = self.hasher.hash_one(&*self.around);
        if std::mem::replace(&mut self.seen[key as usize % SEEN], key) != key {
            return None;
        }
        let mut next = 0;
        let sources: Option<Vec<Source>> = holes
            .iter()
            .map(|(hole, mark)| match hole.kind {
                HoleKind::Null | HoleKind::Boolean => Some(Source::Fixed(*mark)),
                _ => {
                    let at = self.values.iter().position(|&value| value == (hole.start, hole.end))?;
                    next += 1;
                    Some(Source::Value(at as u16))
                }
            })
            .collect();
        // A value that is no hole, such as the 2 of ORDER BY 2, is a part of the shape.
        let sources = sources.filter(|_| next == self.values.len())?;
        if self.known.len() >= TEMPLATES_MAX {
            self.known.clear();
        }
        self.site += 1;
        let (around, sources, site) = (self.around.as_slice().into(), sources.into(), self.site);
        let shapes = shapes.clone();
        self.known.insert(key, Template { around, standard_strings, traits, shapes, sources, site });
        Some(site)
    }

    /// Parts the text into values and what is around them. `None`: it holds what this scan does not understand.
    fn scan(&mut self, text: &[u8]) -> Option<()> {
        self.around.clear();
        self.values.clear();
        let (mut at, mut copied) = (0, 0);
        while let Some(plain) = text[at..].iter().position(|&byte| CLASSES[usize::from(byte)] != PLAIN) {
            at += plain;
            let byte = text[at];
            match CLASSES[usize::from(byte)] {
                DIGIT => {
                    let end = at
                        + text[at..]
                            .iter()
                            .position(|byte| !byte.is_ascii_digit())
                            .unwrap_or(text.len() - at);
                    let before = at.checked_sub(1).map_or(b' ', |before| text[before]);
                    if is_word(before) {
                        at = end;
                        continue;
                    }
                    // 1.5, .5, 1e5, 0x1f, 1_000 and the like are for the lexer.
                    if before == b'.' || text.get(end).is_some_and(|&after| after == b'.' || is_word(after)) {
                        return None;
                    }
                    copied = self.value(text, copied, (at, end))?;
                    at = end;
                }
                QUOTE => {
                    if at > 0 && (is_word(text[at - 1]) || text[at - 1] == b'&') {
                        return None;
                    }
                    let end = at + 2 + memchr::memchr2(b'\'', b'\\', &text[at + 1..])?;
                    let inside = &text[at + 1..end - 1];
                    let plain = text[end - 1] == b'\'' && text.get(end) != Some(&b'\'');
                    if !plain || memchr::memchr(b';', inside).is_some() || sql::words(inside) != Traits::NONE
                    {
                        return None;
                    }
                    copied = self.value(text, copied, (at, end))?;
                    at = end;
                }
                NAME => at += 2 + memchr::memchr(b'"', &text[at + 1..])?,
                DOUBLE => {
                    let after = text.get(at + 1).copied().unwrap_or(b' ');
                    let comment = (byte == b'-' && after == b'-') || (byte == b'/' && after == b'*');
                    let next = text[at + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
                    let sign =
                        byte != b'/' && next.is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.');
                    if comment || sign {
                        return None;
                    }
                    at += 1;
                }
                _ => return None,
            }
        }
        self.around.extend_from_slice(&text[copied..]);
        Some(())
    }

    fn value(&mut self, text: &[u8], copied: usize, (start, end): (usize, usize)) -> Option<usize> {
        if self.values.len() >= VALUES_MAX {
            return None;
        }
        self.around.extend_from_slice(&text[copied..start]);
        // No plain text holds this byte, so a number is never taken for a string.
        self.around.push(u8::from(text[start] == b'\''));
        self.values.push((start as u32, end as u32));
        Some(end)
    }
}

/// The mark of a value as it stands in the text.
fn of(text: &[u8], (start, end): (u32, u32)) -> u32 {
    let value = text.get(start as usize..end as usize).unwrap_or_default();
    let inner = value.strip_prefix(b"'").and_then(|value| value.strip_suffix(b"'"));
    mark::text(inner.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::super::shape::Reader;
    use proptest::prelude::*;

    /// What one reader says of both texts, which it has met often enough to know one by the other, and what one
    /// says that meets the last for the first time.
    fn by_template(first: &str, last: &str) {
        let (mut learned, mut fresh) = (Reader::default(), Reader::default());
        let third = first.replace('7', "8");
        for text in [first, &third, first, &third] {
            learned.read(text.as_bytes(), true);
        }
        let (found, expected) = (learned.read(last.as_bytes(), true), fresh.read(last.as_bytes(), true));
        assert_eq!(found.traits, expected.traits, "{last}");
        assert_eq!(found.marks, expected.marks, "{last}");
        for at in 0..4 {
            let shape =
                |known: &super::super::shape::Known| known.shapes.get(at).map(|shape| shape.fingerprint);
            assert_eq!(shape(&found), shape(&expected), "{last}");
        }
    }

    #[test]
    fn a_text_is_known_by_what_is_around_its_values() {
        let mut reader = Reader::default();
        for n in 0..4 {
            reader.read(
                format!("select a from t where id = {n} and b = 'x{n}' and c is not null").as_bytes(),
                true,
            );
        }
        let before = reader.understood();
        let text = "select a from t where id = 99 and b = '' and c is not null";
        assert_eq!(reader.read(text.as_bytes(), true).marks.count, 2);
        assert_eq!(reader.understood(), before, "it was read by its template");
    }

    #[test]
    fn what_is_not_plain_is_read() {
        for (first, last) in [
            ("select 7 from t order by 7", "select 9 from t order by 9"),
            ("select a::numeric(7, 7)", "select a::numeric(9, 9)"),
            ("select a7 from t7 where b = 7", "select a9 from t9 where b = 9"),
            ("select 7, -7, - 7, a-7, a - 7", "select 9, -9, - 9, a-9, a - 9"),
            ("select '7', E'7', N'7', B'7', U&'7'", "select '9', E'9', N'9', B'9', U&'9'"),
            ("select '7''7'", "select '9''9'"),
            ("select '7'\n'7', '7' '7'", "select '9'\n'9', '9' '9'"),
            ("select 'a7\\'', 7", "select 'a9\\'', 9"),
            ("select f('7')", "select f('pg_advisory_lock')"),
            ("select f('pg_advisory_lock 7')", "select f('9')"),
            ("select '7'; select 7", "select 'set x; set y'; select 9"),
            ("select 7.7, .7, 7e7, 0x7, 7_7", "select 9.9, .9, 9e9, 0x9, 9_9"),
            ("select $7, $$7$$", "select $9, $$9$$"),
            ("select 7 -- 7\n, 7 /* 7 */", "select 9 -- 9\n, 9 /* 9 */"),
            ("select \"7\" from t where a = 7", "select \"9\" from t where a = 9"),
            ("insert into t values (7, null, true, '7')", "insert into t values (9, null, true, '9')"),
            ("insert into t values (7, 7), (7, 7)", "insert into t values (9, 9), (9, 9)"),
            ("select 1 where 7 = a or 7 in (7, 7)", "select 1 where 9 = a or 9 in (9, 9)"),
            ("select '7", "select '9"),
        ] {
            by_template(first, last);
        }
    }

    fn soup() -> impl Strategy<Value = Vec<(&'static str, u8)>> {
        let words = "select from where a b t id = <> , ( ) . ; - + / * -- /* */ ' '' \" E' N' $ $1 $$ :: null true \
                     order by limit in values numeric( varchar( \n set begin temp create advisory and or [ ] @ # 1 1. e x";
        let words: Vec<&'static str> = words.split(' ').filter(|word| !word.is_empty()).collect();
        prop::collection::vec((prop::sample::select(words), 0_u8..6), 0..40)
    }

    /// The same pieces with other values: 0 nothing, 1 and 2 a number, 3 a string, 4 and 5 nothing in between.
    fn spell(pieces: &[(&str, u8)], number: u32, string: &str) -> String {
        let mut text = String::new();
        for (word, follow) in pieces {
            text.push_str(word);
            match follow {
                1 | 2 => text.push_str(&format!(" {number}")),
                3 => text.push_str(&format!(" '{string}'")),
                4 => {}
                _ => text.push(' '),
            }
        }
        text
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn a_template_says_what_the_lexer_says(
            pieces in soup(),
            numbers in prop::array::uniform3(0_u32..5_000),
            strings in prop::array::uniform3("[a-z7 ,.%@]{0,8}"),
            odd in "[a-z;'\\\\ temp\n-]{0,6}",
        ) {
            let (mut learned, mut fresh) = (Reader::default(), Reader::default());
            for (number, string) in numbers.into_iter().zip(&strings) {
                learned.read(spell(&pieces, number, string).as_bytes(), true);
            }
            for string in [&strings[0], &odd] {
                let last = spell(&pieces, 4_321, string);
                let found = learned.read(last.as_bytes(), true);
                let expected = fresh.read(last.as_bytes(), true);
                prop_assert_eq!(found.traits, expected.traits);
                prop_assert_eq!(found.marks, expected.marks);
                for at in 0..6 {
                    let shape = |known: &super::super::shape::Known| known.shapes.get(at).map(|s| s.fingerprint);
                    prop_assert_eq!(shape(&found), shape(&expected));
                }
            }
        }
    }
}
