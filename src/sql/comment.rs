//! What applications say about a statement in its comments: sqlcommenter's `key='value'` pairs, marginalia's
//! `key:value` pairs, and pgweir's own switches. Reads the comments themselves; where they stand in a text is
//! for `shape::Shaper` to say. Values come from outside and are made harmless here: short, printable. Pure.

use std::borrow::Cow;

/// Where a statement comes from, as far as its comments tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    pub route: Option<Cow<'a, str>>,
    pub controller: Option<Cow<'a, str>>,
    pub action: Option<Cow<'a, str>>,
    /// The application's name, or that of its driver or framework when it has none.
    pub application: Option<Cow<'a, str>>,
    /// As W3C Trace Context has it: `00-<32 hexadecimal digits>-<16>-<2>`, in lower case.
    pub traceparent: Option<Cow<'a, str>>,
    /// `/* pgweir:nplus1=off */`: loops of this statement are not reported.
    pub silence: bool,
}

/// Longer comments are not read: those of known libraries have less than 300 bytes.
const COMMENT_MAX: usize = 1024;

/// Longer values are cut: routes and names of controllers have less.
const VALUE_MAX: usize = 256;

/// Pairs beyond these are not read.
const PAIRS_MAX: usize = 32;

/// Reads comments, each with its marks, such as those that `Shaper` tells the places of. What is said first
/// counts. Allocates only for values that have to be changed.
pub fn read<'a>(comments: impl IntoIterator<Item = &'a [u8]>) -> Origin<'a> {
    let mut origin = Origin::default();
    let mut fallback = None;
    for comment in comments {
        let Some(inside) = comment.strip_prefix(b"/*").and_then(|inside| inside.strip_suffix(b"*/")) else {
            continue;
        };
        if inside.len() > COMMENT_MAX {
            continue;
        }
        // Values may have been cut in the middle of a character by whoever wrote them; the rest still counts.
        let Ok(inside) = std::str::from_utf8(inside) else {
            continue;
        };
        for (key, value, encoded) in (Pairs { rest: inside }).take(PAIRS_MAX) {
            origin.take(key, value, encoded, &mut fallback);
        }
    }
    origin.application = origin.application.or(fallback);
    origin
}

/// The comments that a text has at the given places, each at most once.
pub fn at<'a>(text: &'a [u8], first: Option<(u32, u32)>, last: Option<(u32, u32)>) -> Origin<'a> {
    let cut = |place: (u32, u32)| text.get(place.0 as usize..place.1 as usize);
    let last = last.filter(|_| first != last);
    read([first, last].into_iter().flatten().filter_map(cut))
}

impl<'a> Origin<'a> {
    /// Nothing was said.
    pub fn is_empty(&self) -> bool {
        *self == Origin::default()
    }

    /// The same without the text that it was read from.
    pub fn into_owned(self) -> Origin<'static> {
        let owned = |value: Option<Cow<'a, str>>| value.map(|value| Cow::Owned(value.into_owned()));
        Origin {
            route: owned(self.route),
            controller: owned(self.controller),
            action: owned(self.action),
            application: owned(self.application),
            traceparent: owned(self.traceparent),
            silence: self.silence,
        }
    }

    /// The place in the application, for people: `/books (books#index)`.
    pub fn place(&self) -> Option<String> {
        let action = match (&self.controller, &self.action) {
            (Some(controller), Some(action)) => Some(format!("{controller}#{action}")),
            (one, other) => one.as_ref().or(other.as_ref()).map(ToString::to_string),
        };
        match (&self.route, action) {
            (Some(route), Some(action)) => Some(format!("{route} ({action})")),
            (Some(route), None) => Some(route.to_string()),
            (None, action) => action,
        }
    }

    fn take(&mut self, key: &str, value: &'a str, encoded: bool, fallback: &mut Option<Cow<'a, str>>) {
        let place = match key {
            "route" => &mut self.route,
            "controller" => &mut self.controller,
            "action" => &mut self.action,
            "application" => &mut self.application,
            "db_driver" | "framework" => fallback,
            "traceparent" => {
                if self.traceparent.is_none() {
                    self.traceparent = is_traceparent(value).then(|| lower(value));
                }
                return;
            }
            "pgweir:nplus1" => {
                self.silence |= value.eq_ignore_ascii_case("off");
                return;
            }
            _ => return,
        };
        if place.is_none() && !value.is_empty() {
            *place = Some(harmless(value, encoded));
        }
    }
}

/// `key='value'`, `key=value` and `key:value`, separated by commas. Yields whether the value was in quotes,
/// and so may be percent-encoded.
struct Pairs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str, bool);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest.trim_start_matches([',', ' ', '\t', '\r', '\n']);
            if rest.is_empty() {
                return None;
            }
            // The switches of pgweir have a colon in their names.
            let named = rest.strip_prefix("pgweir:").map_or(0, |_| "pgweir:".len());
            let Some(end) = rest[named..].find(['=', ':', ',']).map(|end| named + end) else {
                self.rest = "";
                return None;
            };
            let (key, after) = (rest[..end].trim(), &rest[end + 1..]);
            if rest.as_bytes()[end] == b',' {
                self.rest = after;
                continue;
            }
            let value = after.trim_start();
            if let Some(quoted) = value.strip_prefix('\'') {
                let end = quote(quoted);
                self.rest = quoted.get(end + 1..).unwrap_or_default();
                return Some((key, &quoted[..end], true));
            }
            let end = after.find(',').unwrap_or(after.len());
            self.rest = &after[end..];
            return Some((key, after[..end].trim(), false));
        }
    }
}

/// The place of the quote that ends a value; `\'` does not.
fn quote(value: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'\'' => return at,
            _ => {}
        }
    }
    value.len()
}

/// Decoded where it was encoded, without control characters, and cut to a bound.
fn harmless(value: &str, encoded: bool) -> Cow<'_, str> {
    let changes = |byte: u8| byte == b'\\' || byte == b'%';
    let value = if encoded && value.bytes().any(changes) {
        Cow::Owned(String::from_utf8_lossy(&decode(value.as_bytes())).into_owned())
    } else {
        Cow::Borrowed(value)
    };
    let odd = |sign: char| sign.is_control() || is_direction(sign);
    let value = if value.chars().any(odd) {
        Cow::Owned(value.chars().map(|sign| if odd(sign) { '\u{fffd}' } else { sign }).collect())
    } else {
        value
    };
    if value.len() <= VALUE_MAX {
        return value;
    }
    let end = value.floor_char_boundary(VALUE_MAX);
    match value {
        Cow::Borrowed(value) => Cow::Borrowed(&value[..end]),
        Cow::Owned(mut value) => {
            value.truncate(end);
            Cow::Owned(value)
        }
    }
}

/// Marks that turn the direction of writing, and so make a log line look like another, and line separators.
fn is_direction(sign: char) -> bool {
    matches!(sign, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `%20` and `\'`. What is no such thing stays as it is.
fn decode(value: &[u8]) -> Vec<u8> {
    let digit = |at: usize| value.get(at).and_then(|&byte| (byte as char).to_digit(16));
    let (mut decoded, mut at) = (Vec::with_capacity(value.len()), 0);
    while let Some(&byte) = value.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high << 4 | low) as u8);
                at += 3;
            }
            (b'\\', ..) => {
                decoded.extend(value.get(at + 1));
                at += 2;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

fn is_traceparent(value: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        2 | 35 | 52 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    value.len() == 55 && value.bytes().enumerate().all(fits)
}

fn lower(value: &str) -> Cow<'_, str> {
    if value.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(value.to_ascii_lowercase())
    } else {
        Cow::Borrowed(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::Shaper;
    use super::*;

    fn of(text: &str) -> Origin<'_> {
        let mut shaper = Shaper::default();
        shaper.shapes(text.as_bytes(), true, |_| {});
        at(text.as_bytes(), shaper.first_comment, shaper.last_comment)
    }

    fn some(text: &str) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(text))
    }

    #[test]
    fn what_sqlcommenter_writes() {
        let origin = of("SELECT * from FOO /*action='%2Fparam*d',controller='index,'framework='spring',\
            traceparent='00-5BD66EF5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01',\
            tracestate='congo%3Dt61rcWkgMzE%2Crojo%3D00f067aa0ba902b7',route='/a%20b/\\'c'*/");
        assert_eq!(origin.action, some("/param*d"));
        // The library's own example has a comma within the quotes.
        assert_eq!(origin.controller, some("index,"));
        assert_eq!(origin.application, some("spring"));
        assert_eq!(origin.traceparent, some("00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01"));
        assert_eq!(origin.route, some("/a b/'c"));
        let django = of(
            "SELECT 1 /*controller='index',db_driver='django.db.backends.postgresql',framework='django%3A5.2',route='%5Epolls/%24'*/;",
        );
        assert_eq!(django.application, some("django.db.backends.postgresql"));
        assert_eq!(django.route, some("^polls/$"));
    }

    #[test]
    fn what_marginalia_writes() {
        let origin =
            of("/* hint */ SELECT 1 /*application:Shop,controller:books,action:index,line:/app/a.rb:12*/");
        assert_eq!(
            (origin.application, origin.controller, origin.action),
            (some("Shop"), some("books"), some("index"))
        );
        assert_eq!(of("/*application:Shop*/ select 1").application, some("Shop"));
        let rails = of("SELECT 1 /*action='show',application='Shop',controller='authors'*/");
        assert_eq!((rails.action, rails.application), (some("show"), some("Shop")));
    }

    #[test]
    fn switches_of_pgweir() {
        for text in [
            "select 1 /* pgweir:nplus1=off */",
            "/*pgweir:nplus1=OFF*/ select 1",
            "select 1 /*route='x',pgweir:nplus1='off'*/",
        ] {
            assert!(of(text).silence, "{text}");
        }
        for text in [
            "select 1 /* pgweir:nplus1=on */",
            "select ' /* pgweir:nplus1=off */'",
            "select 1 /* nplus1=off */",
        ] {
            assert!(!of(text).silence, "{text}");
        }
    }

    #[test]
    fn values_are_made_harmless() {
        let long = format!("/*route='{}'*/", "\u{e9}".repeat(200));
        assert_eq!(of(&long).route.map(|route| route.len()), Some(256));
        let huge = format!("/*route='{}'*/", "x".repeat(1100));
        assert_eq!(of(&huge), Origin::default());
        assert_eq!(of("/*route='a%0Ab%1b[31m\u{202e}'*/").route, some("a\u{fffd}b\u{fffd}[31m\u{fffd}"));
        assert_eq!(of("/*traceparent='00-x'*/").traceparent, None);
        assert_eq!(of("/*route='a"), Origin::default());
        assert_eq!(of("/* plain words, and: nothing = here */"), Origin::default());
    }

    proptest::proptest! {
        #[test]
        fn any_comment_is_read(inside: Vec<u8>, more in "[a-z:='%,\\\\ -]{0,40}") {
            let comment = [b"/*", &inside[..], more.as_bytes(), b"*/"].concat();
            let origin = read([&comment[..]]);
            for value in [&origin.route, &origin.controller, &origin.action, &origin.application].into_iter().flatten() {
                proptest::prop_assert!(value.len() <= VALUE_MAX && !value.chars().any(char::is_control));
            }
        }

        #[test]
        fn encoded_values_come_back(value in "\\PC{1,60}") {
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let text = format!("select 1 /*route='{encoded}'*/");
            let expected: String =
                value.chars().map(|sign| if is_direction(sign) { '\u{fffd}' } else { sign }).collect();
            proptest::prop_assert_eq!(of(&text).route.map(Cow::into_owned), Some(expected));
        }
    }
}
