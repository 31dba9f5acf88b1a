//! What a client expects of any server that serves it: reads start-up parameters, and asks a server what
//! state it is in. Pure: texts and rows in, baggage and pins out.

use std::collections::BTreeMap;

use crate::observe::counters::PinReason;
use crate::pool::baggage::{Baggage, Text, literal};

/// Custom settings one session may use; beyond that its server is kept.
pub const CUSTOM_MAX: usize = 64;

/// The settings in a start-up packet: everything but what names the connection itself.
///
/// # Errors
/// A sentence on what in `options` cannot be read.
pub fn startup(parameters: &[(&[u8], &[u8])]) -> Result<BTreeMap<Text, Text>, String> {
    let mut settings = BTreeMap::new();
    for &(name, value) in parameters {
        match name {
            b"user" | b"database" | b"replication" => {}
            b"options" => options(value, &mut settings)?,
            _ if name.starts_with(b"_pq_.") => {}
            _ => {
                settings.insert(name.into(), value.into());
            }
        }
    }
    Ok(settings)
}

/// The command-line form of settings: `-c name=value`, `--name=value`, blanks escaped by a backslash
/// (PostgreSQL, `pg_split_opts` and `process_postgres_switches`).
fn options(text: &[u8], settings: &mut BTreeMap<Text, Text>) -> Result<(), String> {
    let words = split(text);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let pair = if word == b"-c" {
            words.next().ok_or("-c in options has nothing behind it")?.as_slice()
        } else if let Some(pair) = word.strip_prefix(b"-c").or_else(|| word.strip_prefix(b"--")) {
            pair
        } else {
            return Err(format!("invalid command-line argument in options: {}", lossy(word)));
        };
        let Some(at) = pair.iter().position(|&byte| byte == b'=') else {
            return Err(format!("--{} requires a value", lossy(pair)));
        };
        let name: Vec<u8> = pair[..at].iter().map(|&byte| if byte == b'-' { b'_' } else { byte }).collect();
        settings.insert(name.into(), pair[at + 1..].into());
    }
    Ok(())
}

fn split(text: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        if byte.is_ascii_whitespace() || byte == b'\x0b' {
            words.extend(word.take());
        } else {
            let escaped = if byte == b'\\' { bytes.next().copied() } else { Some(byte) };
            word.get_or_insert_default().extend(escaped);
        }
    }
    words.extend(word);
    words
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// The question that tells what a session left on its server. Each row is (kind, name, value); every name
/// is qualified, since the search path is the client's. `custom` are names of settings that `pg_settings`
/// does not list.
pub fn question(login: &str, custom: &[Vec<u8>]) -> Vec<u8> {
    let mut query = b"SELECT 's', name, setting FROM pg_catalog.pg_settings \
        WHERE source OPERATOR(pg_catalog.=) 'session' \
        UNION ALL SELECT 's', 'role', pg_catalog.current_setting('role') \
        WHERE pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) 'none' \
        UNION ALL SELECT 'p', name, statement FROM pg_catalog.pg_prepared_statements WHERE from_sql \
        UNION ALL SELECT 'l', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_locks \
        WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
        AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) \
        UNION ALL SELECT 't', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_class \
        WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) \
        OR EXISTS (SELECT FROM pg_catalog.pg_type \
        WHERE typnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) \
        OR EXISTS (SELECT FROM pg_catalog.pg_proc \
        WHERE pronamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) \
        UNION ALL SELECT 'h', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable) \
        UNION ALL SELECT 'n', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_listening_channels()) \
        UNION ALL SELECT 's', 'session_authorization', \
        pg_catalog.current_setting('session_authorization') \
        WHERE pg_catalog.current_setting('session_authorization') OPERATOR(pg_catalog.<>) "
        .to_vec();
    query.extend(literal(login.as_bytes()));
    for name in custom {
        let name = literal(name);
        query.extend(b" UNION ALL SELECT 's', ");
        query.extend(&name);
        query.extend(b", pg_catalog.current_setting(");
        query.extend(&name);
        query.extend(b", true) WHERE pg_catalog.current_setting(");
        query.extend(&name);
        query.extend(b", true) IS NOT NULL");
    }
    query
}

/// A row of the answer.
pub type Row = Vec<Option<Vec<u8>>>;

/// What a server said of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct State {
    pub baggage: Baggage,
    pub pins: Vec<PinReason>,
}

/// Reads the rows that `question` brings.
pub fn answer(rows: &[Row]) -> State {
    let mut settings: BTreeMap<Text, Text> = BTreeMap::new();
    let mut prepared = BTreeMap::new();
    let mut pins = Vec::new();
    for row in rows {
        let column = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
        match column(0) {
            b"s" if ends_with_transaction(column(1)) => {}
            b"s" => {
                settings.insert(column(1).into(), column(2).into());
            }
            b"p" if repeatable(column(2)) => {
                prepared.insert(column(1).into(), column(2).into());
            }
            b"p" => pins.push(PinReason::Unknown),
            b"l" => pins.push(PinReason::AdvisoryLock),
            b"t" => pins.push(PinReason::TemporaryTable),
            b"h" => pins.push(PinReason::HoldCursor),
            b"n" => pins.push(PinReason::Listen),
            _ => pins.push(PinReason::Unknown),
        }
    }
    if settings.keys().filter(|name| name.contains(&b'.')).count() > CUSTOM_MAX {
        pins.push(PinReason::Unknown);
    }
    State { baggage: Baggage::new(settings, prepared), pins }
}

/// PostgreSQL keeps the present transaction's properties among the settings, and refuses to reset them.
fn ends_with_transaction(name: &[u8]) -> bool {
    matches!(name, b"transaction_isolation" | b"transaction_read_only" | b"transaction_deferrable")
}

/// Whether running this text again does nothing but PREPARE. PostgreSQL keeps the whole string that was
/// sent, which may hold other statements.
fn repeatable(text: &[u8]) -> bool {
    let start = crate::sql::skip_blank(text);
    let alone = text.trim_ascii_end();
    let alone = alone.strip_suffix(b";").unwrap_or(alone);
    start.len() >= 7 && start[..7].eq_ignore_ascii_case(b"prepare") && !alone.contains(&b';')
}

/// What the client expects after its server was left with `found`: a start-up value that was reset comes
/// back, as it would on a connection of its own. `resets`: the client ran something that resets settings;
/// a custom one is then empty instead of gone.
pub fn expected(startup: &Baggage, found: &Baggage, resets: bool) -> Option<Baggage> {
    let returned = |(name, _): &(&Text, &Text)| match found.settings().get(*name) {
        None => true,
        Some(value) => resets && value.is_empty() && name.contains(&b'.'),
    };
    let mut back = startup.settings().iter().filter(returned).peekable();
    back.peek()?;
    let mut settings = found.settings().clone();
    settings.extend(back.map(|(name, value)| (name.clone(), value.clone())));
    Some(Baggage::new(settings, found.prepared().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<Text, Text> {
        pairs.iter().map(|(a, b)| (a.as_bytes().into(), b.as_bytes().into())).collect()
    }

    #[test]
    fn startup_parameters_and_options() {
        let parameters: [(&[u8], &[u8]); 5] = [
            (b"user", b"u"),
            (b"database", b"d"),
            (b"TimeZone", b"UTC"),
            (b"_pq_.x", b"1"),
            (b"options", b"-c a.b=x\\ y --work-mem=4MB -cgeqo=off"),
        ];
        let settings = startup(&parameters).expect("well-formed");
        let expected = [("TimeZone", "UTC"), ("a.b", "x y"), ("geqo", "off"), ("work_mem", "4MB")];
        assert_eq!(settings, map(&expected));
        assert!(startup(&[(b"options", b"-x")]).is_err());
        assert!(startup(&[(b"options", b"-c")]).is_err());
        assert!(startup(&[(b"options", b"-c geqo")]).is_err());
    }

    #[test]
    fn rows_become_baggage_and_pins() {
        let row = |kind: &str, name: Option<&str>, value: Option<&str>| -> Row {
            let bytes = |text: &str| text.as_bytes().to_vec();
            vec![Some(bytes(kind)), name.map(bytes), value.map(bytes)]
        };
        let state = answer(&[
            row("s", Some("TimeZone"), Some("UTC")),
            row("p", Some("p"), Some("PREPARE p AS select 1;")),
            row("s", Some("transaction_isolation"), Some("serializable")),
            row("l", None, None),
            row("p", Some("q"), Some("begin; prepare q as select 1")),
        ]);
        let expected = Baggage::new(map(&[("TimeZone", "UTC")]), map(&[("p", "PREPARE p AS select 1;")]));
        assert_eq!(state.baggage, expected);
        assert_eq!(state.pins, [PinReason::AdvisoryLock, PinReason::Unknown]);
    }

    #[test]
    fn a_reset_returns_to_the_startup_value() {
        let startup = Baggage::new(map(&[("a", "1"), ("b", "2")]), BTreeMap::new());
        let found = Baggage::new(map(&[("b", "3")]), BTreeMap::new());
        let wanted = Baggage::new(map(&[("a", "1"), ("b", "3")]), BTreeMap::new());
        assert_eq!(expected(&startup, &found, false), Some(wanted));
        assert_eq!(expected(&Baggage::default(), &found, true), None);
        let startup = Baggage::new(map(&[("a.b", "1")]), BTreeMap::new());
        let emptied = Baggage::new(map(&[("a.b", "")]), BTreeMap::new());
        assert_eq!(expected(&startup, &emptied, false), None);
        assert_eq!(expected(&startup, &emptied, true), Some(startup));
    }
}
