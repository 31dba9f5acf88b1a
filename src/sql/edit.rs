//! Splices: what is put into a statement's text at byte offsets, and where a place in the new text was in the old
//! one. The user's text is copied as it is and never printed anew. Pure. Does not know why something is put in.

/// `insert` stands in the new text in front of the byte `at` of the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// A byte offset; the length of the text stands for its end.
    pub at: u32,
    pub insert: String,
}

impl Splice {
    pub fn new(at: u32, insert: impl Into<String>) -> Splice {
        Splice { at, insert: insert.into() }
    }
}

/// The text with its splices, which are in order of their places. A place beyond the text or within a character
/// gives `None`.
pub fn apply(text: &str, splices: &[Splice]) -> Option<String> {
    let added: usize = splices.iter().map(|splice| splice.insert.len()).sum();
    let (mut out, mut from) = (String::with_capacity(text.len() + added), 0);
    for splice in splices {
        let at = splice.at as usize;
        out.push_str(text.get(from..at)?);
        out.push_str(&splice.insert);
        from = at;
    }
    out.push_str(text.get(from..)?);
    Some(out)
}

/// Where a character of the new text stands in the old one, both counted from 1 and in characters, as the position
/// of an error is. What was put in has the place in front of which it was put.
pub fn original_position(text: &str, splices: &[Splice], position: usize) -> usize {
    let (mut shift, mut before) = (0, 0);
    for splice in splices {
        let at = text.get(..splice.at as usize).map_or(0, |text| text.chars().count());
        let length = splice.insert.chars().count();
        if position <= at + shift {
            break;
        }
        if position <= at + shift + length {
            return at + 1;
        }
        (shift, before) = (shift + length, at);
    }
    position.saturating_sub(shift).max(before.min(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splices_keep_the_text_around_them() {
        let text = "select ä from t where a or b order by 1";
        let (start, end) = (text.find("a or").unwrap() as u32, text.find(" order").unwrap() as u32);
        let splices = [Splice::new(start, "("), Splice::new(end, ") and c > 1")];
        let new = apply(text, &splices).unwrap();
        assert_eq!(new, "select ä from t where (a or b) and c > 1 order by 1");
        for (place, char) in text.chars().enumerate() {
            let at =
                new.chars().enumerate().skip(place).find(|&(at, found)| {
                    found == char && original_position(text, &splices, at + 1) == place + 1
                });
            assert!(at.is_some(), "{place} {char}");
        }
        assert_eq!(apply(text, &[Splice::new(8, "x")]), None, "within a character");
        assert_eq!(apply(text, &[Splice::new(900, "x")]), None);
        assert_eq!(apply(text, &[]).as_deref(), Some(text));
    }
}
