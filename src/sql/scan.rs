//! Where a literal, name, number or comment ends that starts at a given place: the small rules of PostgreSQL's
//! scanner. What does not end, ends with the text. Pure.

use super::token::Kind;

/// What a byte may be at the start of a token.
pub const BLANK: u8 = 1;
pub const LETTER: u8 = 2;
pub const DOUBLE_QUOTE: u8 = 4;
/// A token of one byte.
pub const SINGLE: u8 = 8;
pub const OPERATOR: u8 = 16;
/// A point, or what a point before it belongs to: `.5`, `1..2`.
pub const POINT: u8 = 32;

const CLASSES: &[u8; 256] = &classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut at = 0;
    while at < 256 {
        classes[at] = match at as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => LETTER,
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => BLANK,
            b'"' => DOUBLE_QUOTE,
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' => OPERATOR,
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' => OPERATOR,
            b'(' | b')' | b'[' | b']' | b',' | b';' => SINGLE,
            b'.' => SINGLE | POINT,
            b'0'..=b'9' => POINT,
            _ => 0,
        };
        at += 1;
    }
    classes
}

#[inline]
pub fn class(byte: u8) -> u8 {
    CLASSES[usize::from(byte)]
}

const SINGLES: &[Kind; 256] = &singles();

const fn singles() -> [Kind; 256] {
    let mut singles = [Kind::Other; 256];
    let mut at = 0;
    while at < 256 {
        if CLASSES[at] & OPERATOR != 0 {
            singles[at] = Kind::Operator;
        }
        at += 1;
    }
    singles[b'(' as usize] = Kind::Open;
    singles[b')' as usize] = Kind::Close;
    singles[b'[' as usize] = Kind::OpenBracket;
    singles[b']' as usize] = Kind::CloseBracket;
    singles[b',' as usize] = Kind::Comma;
    singles[b';' as usize] = Kind::Semicolon;
    singles[b'.' as usize] = Kind::Dot;
    singles
}

/// The kind of token that one byte is by itself.
#[inline]
pub fn single(byte: u8) -> Kind {
    SINGLES[usize::from(byte)]
}

/// In a word; in a name that needs no quotes, and at its start.
const IN_WORD: u8 = 1;
const IN_PLAIN: u8 = 2;
const STARTS_PLAIN: u8 = 4;

const MEMBERS: &[u8; 256] = &members();

const fn members() -> [u8; 256] {
    let mut members = [0; 256];
    let mut at = 0;
    while at < 256 {
        members[at] = match at as u8 {
            b'a'..=b'z' | b'_' => IN_WORD | IN_PLAIN | STARTS_PLAIN,
            b'0'..=b'9' | b'$' => IN_WORD | IN_PLAIN,
            b'A'..=b'Z' | 0x80.. => IN_WORD,
            _ => 0,
        };
        at += 1;
    }
    members
}

/// Eight bytes from `at` on. Offsets have four bytes, so that the sum needs no check of its own.
#[inline(always)]
pub fn eight(text: &[u8], at: usize) -> Option<&[u8; 8]> {
    let at = at as u32 as usize;
    text.get(at..at + 8)?.try_into().ok()
}

/// The first byte from `at` on that is none of these. Where there are sixteen bytes, `others` is asked, which gives
/// 0 for the same bytes by arithmetic alone: most words are done by it without a jump that depends on their length.
#[inline(always)]
fn run(text: &[u8], mut at: usize, of: u8, others: impl Fn(u8) -> u8) -> usize {
    while let Some(bytes) = sixteen(text, at) {
        let others = u128::from_le_bytes(bytes.map(&others));
        let (low, high) = (others as u64, (others >> 64) as u64);
        if low != 0 {
            return at + low.trailing_zeros() as usize / 8;
        }
        if high != 0 {
            return at + 8 + high.trailing_zeros() as usize / 8;
        }
        at += 16;
    }
    while let Some(&byte) = text.get(at)
        && MEMBERS[usize::from(byte)] & of != 0
    {
        at += 1;
    }
    at
}

#[inline(always)]
fn sixteen(text: &[u8], at: usize) -> Option<&[u8; 16]> {
    let at = at as u32 as usize;
    text.get(at..at + 16)?.try_into().ok()
}

/// 0 if the byte is in a word.
#[inline(always)]
fn not_in_word(byte: u8) -> u8 {
    let letter = (byte | 0x20).wrapping_sub(b'a').saturating_sub(25);
    let digit = byte.wrapping_sub(b'0').saturating_sub(9);
    letter.min(digit).min(byte ^ b'_').min(byte ^ b'$').min(0x80_u8.saturating_sub(byte))
}

/// 0 if the byte is in a name that needs no quotes.
#[inline(always)]
fn not_in_plain(byte: u8) -> u8 {
    let letter = byte.wrapping_sub(b'a').saturating_sub(25);
    let digit = byte.wrapping_sub(b'0').saturating_sub(9);
    letter.min(digit).min(byte ^ b'_').min(byte ^ b'$')
}

/// The end of the word that has a letter at `start`.
#[inline(always)]
pub fn word(text: &[u8], start: usize) -> usize {
    run(text, start + 1, IN_WORD, not_in_word)
}

/// The end of the quoted name whose first letter stands at `start`, if PostgreSQL would read it in the same way
/// without quotes, keywords aside.
#[inline(always)]
pub fn plain_name(text: &[u8], start: usize) -> Option<usize> {
    if MEMBERS[usize::from(*text.get(start)?)] & STARTS_PLAIN == 0 {
        return None;
    }
    let end = run(text, start + 1, IN_PLAIN, not_in_plain);
    let closed = text.get(end) == Some(&b'"') && text.get(end + 1) != Some(&b'"');
    closed.then_some(end)
}

/// The end of a name whose double quote stands at `start`; `None` if it does not end.
pub fn name(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr::memchr(b'"', text.get(at..)?)? + 1;
        if text.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}

/// The end of a string whose quote stands at `start`, together with the strings that continue it.
pub fn string(text: &[u8], start: usize, escapes: bool) -> usize {
    let mut at = start + 1;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let found = if escapes { memchr::memchr2(b'\'', b'\\', rest) } else { memchr::memchr(b'\'', rest) };
        let Some(found) = found else {
            return text.len();
        };
        at += found + 1;
        if text[at - 1] == b'\\' || text.get(at) == Some(&b'\'') {
            at += 1;
        } else if let Some(next) = continued(text, at) {
            at = next;
        } else {
            return at;
        }
    }
}

/// The same for `B'…'` and `X'…'`, where two quotes are not one.
pub fn bits(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        let Some(found) = memchr::memchr(b'\'', &text[at..]) else {
            return text.len();
        };
        at += found + 1;
        match continued(text, at) {
            Some(next) => at = next,
            None => return at,
        }
    }
}

/// A string goes on behind white space that has a line break; line comments count as white space. Returns
/// the first byte inside of the next quotes.
fn continued(text: &[u8], end: usize) -> Option<usize> {
    let (mut at, mut broken) = (end, false);
    loop {
        match text.get(at)? {
            b'\n' | b'\r' => (broken, at) = (true, at + 1),
            b'-' if text.get(at + 1) == Some(&b'-') => {
                at = line_comment(text, at);
                // A comment behind the first line break needs one of its own, and each has one, or the text ends.
                text.get(at)?;
            }
            b'\'' if broken => return Some(at + 1),
            &byte if class(byte) & BLANK != 0 => at += 1,
            _ => return None,
        }
    }
}

/// The end of the comment that starts with `--`: the line break that ends it is white space.
pub fn line_comment(text: &[u8], start: usize) -> usize {
    memchr::memchr2(b'\n', b'\r', &text[start..]).map_or(text.len(), |at| start + at)
}

/// The end of the comment that starts with `/*`; they nest.
pub fn comment(text: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start + 2, 1_u32);
    while let Some(found) = memchr::memchr2(b'*', b'/', text.get(at..).unwrap_or_default()) {
        at += found;
        match text[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The end of the string in dollar quotes that starts at `start`; `None` when none does.
pub fn dollar_string(text: &[u8], start: usize) -> Option<usize> {
    let rest = &text[start + 1..];
    let tag = match rest.first()? {
        b'$' => 0,
        &byte if class(byte) & LETTER != 0 => {
            rest.iter().position(|&byte| !(byte.is_ascii_digit() || class(byte) & LETTER != 0))?
        }
        _ => return None,
    };
    if rest[tag] != b'$' {
        return None;
    }
    let inside = start + tag + 2;
    let delimiter = &text[start..inside];
    let found = memchr::memmem::find(&text[inside..], delimiter);
    Some(found.map_or(text.len(), |at| inside + at + delimiter.len()))
}

/// The end of the number that starts with a digit, or with a point and a digit; and whether it is whole.
pub fn number(text: &[u8], start: usize) -> (usize, bool) {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        let run = rest.iter().position(|&byte| !(byte.is_ascii_digit() || byte == b'_'));
        from + run.unwrap_or(rest.len())
    };
    if let [b'0', base @ (b'x' | b'X' | b'o' | b'O' | b'b' | b'B'), first, ..] = text[start..]
        && (first == b'_' || (first as char).is_digit(if base | 0x20 == b'x' { 16 } else { 10 }))
    {
        let rest = &text[start + 2..];
        let hex = base | 0x20 == b'x';
        let goes_on = |byte: u8| byte == b'_' || (byte as char).is_digit(if hex { 16 } else { 10 });
        let run = rest.iter().position(|&byte| !goes_on(byte)).unwrap_or(rest.len());
        return (start + 2 + run, true);
    }
    let (mut end, mut whole) = (digits(start), true);
    // `1..2` is a range, of which 1 is the start.
    if text.get(end) == Some(&b'.') && text.get(end + 1) != Some(&b'.') {
        (end, whole) = (digits(end + 1), false);
    }
    if let Some(b'e' | b'E') = text.get(end) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        if text.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            (end, whole) = (digits(end + 1 + sign), false);
        }
    }
    (end, whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bytes_at_once_are_read_as_one_by_one() {
        for byte in 0..=255 {
            let members = [IN_WORD, IN_PLAIN].map(|of| MEMBERS[usize::from(byte)] & of != 0);
            assert_eq!([not_in_word(byte) == 0, not_in_plain(byte) == 0], members, "{byte}");
        }
        for (length, rest) in (1..40).flat_map(|length| (0..20).map(move |rest| (length, rest))) {
            let text = "a".repeat(length) + "\"" + &" ".repeat(rest);
            assert_eq!(word(text.as_bytes(), 0), length);
            assert_eq!(plain_name(text.as_bytes(), 0), Some(length));
        }
    }

    #[test]
    fn ends_of_strings() {
        for (text, escapes, literal) in [
            ("'a' b", false, "'a'"),
            ("'a''b' c", false, "'a''b'"),
            (r"'a\' b", false, r"'a\'"),
            (r"'a\' b", true, r"'a\' b"),
            (r"'a\\' b", true, r"'a\\'"),
            ("'a'\n'b' c", false, "'a'\n'b'"),
            ("'a' -- it's\n  -- x\n 'b' c", false, "'a' -- it's\n  -- x\n 'b'"),
            ("'a' 'b'", false, "'a'"),
            ("'a' -- 'b'", false, "'a'"),
            ("'a'\n/* x */ 'b'", false, "'a'"),
            ("'a", false, "'a"),
            ("'", false, "'"),
            (r"'\", true, r"'\"),
        ] {
            assert_eq!(&text[..string(text.as_bytes(), 0, escapes).min(text.len())], literal, "{text}");
        }
    }

    #[test]
    fn ends_of_numbers() {
        for (text, length, whole) in [
            ("1", 1, true),
            ("1a", 1, true),
            ("10.5x", 4, false),
            (".5", 2, false),
            ("5.", 2, false),
            ("1..2", 1, true),
            ("1e5", 3, false),
            ("1e+5", 4, false),
            ("1.e-5", 5, false),
            ("1e", 1, true),
            ("1e+", 1, true),
            ("0x1F,", 4, true),
            ("0b1", 3, true),
            ("0o7", 3, true),
            ("0xg", 1, true),
            ("1_000", 5, true),
        ] {
            assert_eq!(number(text.as_bytes(), 0), (length, whole), "{text}");
        }
    }

    #[test]
    fn ends_of_dollar_quotes() {
        for (text, end) in [
            ("$$a$$ b", Some(5)),
            ("$a$ $b$ $a$ c", Some(11)),
            ("$a$ $aa$", Some(8)),
            ("$1", None),
            ("$", None),
            ("$a", None),
            ("$a b$", None),
            ("$\u{e9}$x$\u{e9}$", Some(9)),
        ] {
            assert_eq!(dollar_string(text.as_bytes(), 0), end, "{text}");
        }
    }

    #[test]
    fn ends_of_comments() {
        for (text, end) in
            [("/**/ a", 4), ("/* /* */ */ a", 11), ("/*/ */", 6), ("/* /* */", 8), ("/*/*/**/*/*/", 12)]
        {
            assert_eq!(comment(text.as_bytes(), 0), end, "{text}");
        }
    }
}
