//! What a client has in its session besides transactions: settings and statements prepared in SQL. It
//! follows the client to whichever server serves it. Pure: from two baggages come the queries that turn
//! one into the other.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher};

/// Bytes as PostgreSQL gave them; encodings are the client's affair.
pub type Text = Box<[u8]>;

/// Settings that differ from the server's own defaults, and statements that SQL PREPARE made.
#[derive(Debug, Clone, Default)]
pub struct Baggage {
    settings: BTreeMap<Text, Text>,
    prepared: BTreeMap<Text, Text>,
    fingerprint: u64,
    meaning: u64,
}

impl PartialEq for Baggage {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.settings == other.settings
            && self.prepared == other.prepared
    }
}

impl Eq for Baggage {}

impl Baggage {
    /// `prepared` maps a name to the whole text of its PREPARE.
    pub fn new(settings: BTreeMap<Text, Text>, prepared: BTreeMap<Text, Text>) -> Self {
        let hash = |skip: &[u8]| {
            let mut settings = settings.iter().filter(|(name, _)| ***name != *skip).peekable();
            if settings.peek().is_none() && prepared.is_empty() {
                return 0;
            }
            let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
            settings.for_each(|setting| setting.hash(&mut hasher));
            prepared.hash(&mut hasher);
            hasher.finish()
        };
        let (fingerprint, meaning) = (hash(b""), hash(b"application_name"));
        Baggage { settings, prepared, fingerprint, meaning }
    }

    /// Texts mean the same under baggages that are equal here: as `fingerprint`, but for the name of the
    /// application, which no statement's meaning depends on.
    pub fn meaning(&self) -> u64 {
        self.meaning
    }

    /// Equal baggages have equal fingerprints; the empty one has 0.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub fn settings(&self) -> &BTreeMap<Text, Text> {
        &self.settings
    }

    pub fn prepared(&self) -> &BTreeMap<Text, Text> {
        &self.prepared
    }

    /// The queries, in order, that make a server which carries `self` carry `wanted`. The encoding goes
    /// alone and first, since what follows is written in it; roles go last, since they take rights away.
    pub fn towards(&self, wanted: &Baggage) -> Vec<Vec<u8>> {
        let mut queries = Vec::new();
        for (name, text) in &self.prepared {
            if wanted.prepared.get(name) != Some(text) {
                let mut query = b"DEALLOCATE \"".to_vec();
                query.extend(doubled(name, b'"'));
                query.push(b'"');
                queries.push(query);
            }
        }
        self.settings_towards(wanted, &mut queries);
        for (name, text) in &wanted.prepared {
            if self.prepared.get(name) != Some(text) {
                queries.push(text.to_vec());
            }
        }
        queries
    }

    fn settings_towards(&self, wanted: &Baggage, queries: &mut Vec<Vec<u8>>) {
        let mut changes: Vec<(u8, &Text, Option<&Text>)> = Vec::new();
        for name in self.settings.keys() {
            if !wanted.settings.contains_key(name) {
                // A role that is given up must go before anything that only its absence allows.
                changes.push((if rank(name) == 3 { 0 } else { rank(name) }, name, None));
            }
        }
        for (name, value) in &wanted.settings {
            if self.settings.get(name) != Some(value) {
                if rank(name) == 3 && self.settings.contains_key(name) {
                    changes.push((0, name, None));
                }
                changes.push((rank(name), name, Some(value)));
            }
        }
        changes.sort_by_key(|&(rank, ..)| rank);
        for group in changes.chunk_by(|a, b| a.0 == b.0) {
            let calls: Vec<Vec<u8>> = group.iter().map(|&(_, name, value)| set(name, value)).collect();
            queries.push([b"SELECT ".to_vec(), calls.join(&b',')].concat());
        }
    }
}

/// 0: role given up, 1: encoding, 2: the rest, 3: role taken.
fn rank(name: &[u8]) -> u8 {
    match name {
        b"client_encoding" => 1,
        b"role" | b"session_authorization" => 3,
        _ => 2,
    }
}

/// A NULL value returns the setting to its default (PostgreSQL, `set_config_by_name`).
fn set(name: &[u8], value: Option<&Text>) -> Vec<u8> {
    let mut call = b"pg_catalog.set_config(".to_vec();
    call.extend(literal(name));
    call.push(b',');
    call.extend(value.map_or_else(|| b"NULL".to_vec(), |value| literal(value)));
    call.extend(b",false)");
    call
}

/// A string constant that means the same whatever `standard_conforming_strings` says.
pub fn literal(value: &[u8]) -> Vec<u8> {
    let mut out = if value.contains(&b'\\') { b"E'".to_vec() } else { b"'".to_vec() };
    for &byte in value {
        if byte == b'\'' || byte == b'\\' {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(b'\'');
    out
}

fn doubled(text: &[u8], quote: u8) -> Vec<u8> {
    text.iter().flat_map(|&byte| std::iter::repeat_n(byte, if byte == quote { 2 } else { 1 })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baggage(settings: &[(&str, &str)], prepared: &[(&str, &str)]) -> Baggage {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(a, b)| (a.as_bytes().into(), b.as_bytes().into())).collect()
        };
        Baggage::new(map(settings), map(prepared))
    }

    fn check(from: &Baggage, to: &Baggage, expected: &[&str]) {
        let queries: Vec<String> =
            from.towards(to).iter().map(|query| String::from_utf8_lossy(query).into_owned()).collect();
        assert_eq!(queries, expected);
    }

    #[test]
    fn equal_baggages_need_no_query() {
        let some = baggage(&[("a", "1")], &[("p", "prepare p as select 1")]);
        check(&some, &some.clone(), &[]);
        check(&Baggage::default(), &Baggage::default(), &[]);
    }

    #[test]
    fn settings_are_set_and_returned() {
        let from = baggage(&[("search_path", "a"), ("role", "x")], &[]);
        let to = baggage(&[("client_encoding", "LATIN1"), ("app.t", "o'\\k")], &[]);
        check(
            &from,
            &to,
            &[
                "SELECT pg_catalog.set_config('role',NULL,false)",
                "SELECT pg_catalog.set_config('client_encoding','LATIN1',false)",
                "SELECT pg_catalog.set_config('search_path',NULL,false),\
                 pg_catalog.set_config('app.t',E'o''\\\\k',false)",
            ],
        );
    }

    #[test]
    fn the_name_of_the_application_changes_no_meaning() {
        let (one, other) = (baggage(&[("application_name", "a")], &[]), baggage(&[], &[]));
        assert_eq!(one.meaning(), other.meaning());
        assert_ne!(one.fingerprint(), other.fingerprint());
        assert_ne!(baggage(&[("search_path", "a")], &[]).meaning(), other.meaning());
    }

    #[test]
    fn a_changed_role_is_given_up_first() {
        let (from, to) = (baggage(&[("role", "x")], &[]), baggage(&[("role", "y")], &[]));
        check(
            &from,
            &to,
            &[
                "SELECT pg_catalog.set_config('role',NULL,false)",
                "SELECT pg_catalog.set_config('role','y',false)",
            ],
        );
    }

    #[test]
    fn prepared_statements_move() {
        let from = baggage(&[], &[("a\"b", "prepare x"), ("same", "prepare same as select 1")]);
        let to = baggage(&[], &[("p", "prepare p as select 1"), ("same", "prepare same as select 1")]);
        check(&from, &to, &["DEALLOCATE \"a\"\"b\"", "prepare p as select 1"]);
    }
}
