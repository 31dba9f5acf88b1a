//! The value of a string literal, piece by piece and without a copy. Knows plain quotes only.

/// `'…'` in which every quote is doubled; not continued on another line, no other kind of quotes.
pub(super) fn is_plain(literal: &[u8]) -> bool {
    let Some(inner) = inner(literal) else {
        return false;
    };
    let mut rest = inner;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\'') {
        match rest.get(at + 1) {
            Some(b'\'') => rest = &rest[at + 2..],
            _ => return false,
        }
    }
    true
}

/// Calls `each` with the parts of the value in order; the literal is plain.
pub(super) fn parts<'a>(literal: &'a [u8], mut each: impl FnMut(&'a [u8])) {
    let mut rest = inner(literal).unwrap_or_default();
    while let Some(at) = rest.iter().position(|&byte| byte == b'\'') {
        each(&rest[..=at]);
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    each(rest);
}

fn inner(literal: &[u8]) -> Option<&[u8]> {
    literal.strip_prefix(b"'")?.strip_suffix(b"'")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(literal: &str) -> Option<String> {
        let mut value = Vec::new();
        is_plain(literal.as_bytes())
            .then(|| parts(literal.as_bytes(), |part| value.extend_from_slice(part)))?;
        String::from_utf8(value).ok()
    }

    #[test]
    fn doubled_quotes_are_one() {
        for (literal, expected) in [
            ("''", ""),
            ("'a'", "a"),
            ("''''", "'"),
            ("'a''b'", "a'b"),
            ("'''a'''''", "'a''"),
            ("'a\\'", "a\\"),
            ("'é \n'", "é \n"),
        ] {
            assert_eq!(value(literal).as_deref(), Some(expected), "{literal}");
        }
        for other in ["", "'", "a", "'a'b'", "'''", "E'a'", "'a'\n'b'", "$$a$$", "n'a'"] {
            assert_eq!(value(other), None, "{other}");
        }
    }
}
