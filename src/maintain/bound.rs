//! What a boundary is in each kind of key: timestamps, dates, epoch numbers, UUIDv7 and ULID-like ids. Reads
//! the bounds that PostgreSQL shows and writes those that it is given. Knows no server and no time zone.

use super::civil::{self, DAY_US};

/// What the partitioning column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    TimestampTz,
    Timestamp,
    Date,
    /// Whole numbers since 1970 in units of so many nanoseconds.
    Epoch {
        unit_ns: i64,
    },
    /// A `uuid` whose first 48 bits are milliseconds since 1970.
    UuidV7,
    /// A text whose first ten letters are milliseconds since 1970 in Crockford's base 32.
    Ulid,
}

/// The smallest and the largest mark stand for PostgreSQL's MINVALUE and MAXVALUE.
pub const LOWEST: i64 = i64::MIN;
pub const HIGHEST: i64 = i64::MAX;

/// A place between two partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Microseconds since 1970: of the instant, or of the local moment where the key has no zone.
    pub mark: i64,
    /// As it stands in FROM (…) TO (…).
    pub sql: String,
}

/// What a partition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    Default,
    Range { lower: Edge, upper: Edge },
}

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Milliseconds in 48 bits.
const MS_MAX: i64 = (1 << 48) - 1;

impl Kind {
    /// The kind of a column of this type, as SQL writes the type. `format` is what the rule says of it.
    pub fn of(type_name: &str, format: Option<Kind>) -> Result<Kind, String> {
        let own = match type_name {
            "timestamp with time zone" => Some(Kind::TimestampTz),
            "timestamp without time zone" => Some(Kind::Timestamp),
            "date" => Some(Kind::Date),
            "uuid" => Some(Kind::UuidV7),
            _ => None,
        };
        let fits = |format: Kind| match format {
            Kind::Epoch { .. } => matches!(type_name, "bigint" | "integer" | "smallint"),
            Kind::UuidV7 => type_name == "uuid",
            Kind::Ulid => type_name == "text" || type_name.starts_with("character"),
            _ => false,
        };
        match (own, format) {
            (Some(own), None) => Ok(own),
            (_, Some(format)) if fits(format) => Ok(format),
            (_, Some(_)) => Err(format!("the column is of type {type_name}, which `format` does not fit")),
            (None, None) if matches!(type_name, "bigint" | "integer" | "smallint") => Err(format!(
                "the column is of type {type_name}: say by `format` which unit it counts, such as epoch_ms"
            )),
            (None, None) => Err(format!("a column of type {type_name} does not tell a time")),
        }
    }

    /// Whether its boundaries are instants, which local midnights become by the server's rules of time zones.
    pub fn is_instant(self) -> bool {
        !matches!(self, Kind::Timestamp | Kind::Date)
    }

    /// The edge at this mark.
    ///
    /// # Errors
    /// The key cannot say it.
    pub fn edge(self, mark: i64) -> Result<Edge, String> {
        match mark {
            LOWEST => Ok(Edge { mark, sql: "MINVALUE".to_owned() }),
            HIGHEST => Ok(Edge { mark, sql: "MAXVALUE".to_owned() }),
            _ => Ok(Edge { mark, sql: format!("'{}'", self.literal(mark)?) }),
        }
    }

    /// The least value of the key at or after this mark, as text. It holds no quote.
    fn literal(self, mark: i64) -> Result<String, String> {
        let cannot = || format!("the key cannot say {}", civil::text(mark));
        match self {
            // The sign of BC comes last.
            Kind::TimestampTz => Ok(match civil::text(mark).strip_suffix(" BC") {
                Some(text) => format!("{text}+00 BC"),
                None => format!("{}+00", civil::text(mark)),
            }),
            Kind::Timestamp => Ok(civil::text(mark)),
            Kind::Date if mark.rem_euclid(DAY_US) == 0 => Ok(civil::day_text(mark.div_euclid(DAY_US))),
            Kind::Date => Err(cannot()),
            Kind::Epoch { unit_ns } => {
                let ns = i128::from(mark) * 1_000;
                let unit = i128::from(unit_ns);
                (ns % unit == 0).then(|| (ns / unit).to_string()).ok_or_else(cannot)
            }
            Kind::UuidV7 => {
                let ms = milliseconds(mark).ok_or_else(cannot)?;
                Ok(format!("{:08x}-{:04x}-0000-0000-000000000000", ms >> 16, ms & 0xffff))
            }
            Kind::Ulid => {
                let ms = milliseconds(mark).ok_or_else(cannot)?;
                let letter = |at: u32| char::from(CROCKFORD[(ms >> (5 * at) & 31) as usize]);
                let time: String = (0..10).rev().map(letter).collect();
                Ok(format!("{time}{}", "0".repeat(16)))
            }
        }
    }

    /// Reads a value of `pg_get_expr`, without quotes.
    ///
    /// # Errors
    /// It is no moment that this kind of key begins a period with.
    fn mark(self, text: &str) -> Result<i64, String> {
        let odd = || format!("the bound {text} is not one that pgweir can reckon with");
        match self {
            Kind::TimestampTz | Kind::Timestamp | Kind::Date => match text {
                // They lie beyond every moment, but before MINVALUE and MAXVALUE.
                "-infinity" => Ok(LOWEST + 1),
                "infinity" => Ok(HIGHEST - 1),
                _ => civil::parse(&text.replacen("+00 BC", " BC", 1)).ok_or_else(odd),
            },
            Kind::Epoch { unit_ns } => {
                let count: i128 = text.parse().map_err(|_| odd())?;
                let ns = count * i128::from(unit_ns);
                (ns % 1_000 == 0).then(|| i64::try_from(ns / 1_000).ok()).flatten().ok_or_else(odd)
            }
            Kind::UuidV7 => {
                let hex: String = text.chars().filter(|letter| *letter != '-').collect();
                let ms = hex.get(..12).and_then(|head| i64::from_str_radix(head, 16).ok()).ok_or_else(odd)?;
                // The least value of the millisecond, with or without the bits that mark version 7.
                let least = matches!(&hex[12..], "00000000000000000000" | "70008000000000000000");
                least.then_some(ms * 1_000).ok_or_else(odd)
            }
            Kind::Ulid => {
                let (time, rest) = text.split_at_checked(10).ok_or_else(odd)?;
                let digit = |letter: u8| CROCKFORD.iter().position(|known| *known == letter);
                let ms = time.bytes().try_fold(0i64, |sum, letter| Some(sum << 5 | digit(letter)? as i64));
                let least = rest.bytes().all(|letter| letter == b'0');
                ms.filter(|ms| least && *ms <= MS_MAX).map(|ms| ms * 1_000).ok_or_else(odd)
            }
        }
    }

    /// The moment of any value of the key as text, to the millisecond below where ids say no more.
    ///
    /// # Errors
    /// It is infinite, or no moment.
    pub fn moment(self, text: &str) -> Result<i64, String> {
        let mark = match self {
            Kind::UuidV7 => {
                self.mark(&format!("{}00000000000000000000", text.replace('-', "").get(..12).unwrap_or("")))?
            }
            Kind::Ulid => self.mark(&format!("{}0000000000000000", text.get(..10).unwrap_or("")))?,
            Kind::Epoch { unit_ns } if unit_ns < 1_000 => text
                .parse::<i64>()
                .map(|ns| ns.div_euclid(1_000 / unit_ns))
                .map_err(|error| error.to_string())?,
            _ => self.mark(text)?,
        };
        match mark {
            _ if mark <= LOWEST + 1 || mark >= HIGHEST - 1 => {
                Err(format!("a row is dated {text}, which no period holds"))
            }
            _ => Ok(mark),
        }
    }

    /// The moment of a value as a session shows it, in any time zone, with DateStyle ISO. `None`: as above.
    pub fn moment_anywhere(self, text: &str) -> Option<i64> {
        let time = text.get(11..).unwrap_or_default();
        let sign = time.rfind(['+', '-']).filter(|_| self == Kind::TimestampTz).map(|at| at + 11);
        let (local, offset) = text.split_at(sign.unwrap_or(text.len()));
        Some(self.moment(local).ok()? - offset_us(offset)?)
    }

    /// Reads the bound of a partition as PostgreSQL shows it, under TimeZone UTC and DateStyle ISO.
    ///
    /// # Errors
    /// It is not a range of one column, or not one of moments; the message shows it.
    pub fn bound(self, text: &str) -> Result<Bound, String> {
        if text == "DEFAULT" {
            return Ok(Bound::Default);
        }
        let odd = || format!("the bound {text} is not a range of one column");
        let inner = text.strip_prefix("FOR VALUES FROM (").and_then(|rest| rest.strip_suffix(')'));
        let (lower, upper) = inner.and_then(|inner| inner.split_once(") TO (")).ok_or_else(odd)?;
        Ok(Bound::Range { lower: self.read(lower)?, upper: self.read(upper)? })
    }

    fn read(self, sql: &str) -> Result<Edge, String> {
        let mark = match sql {
            "MINVALUE" => LOWEST,
            "MAXVALUE" => HIGHEST,
            _ => self.mark(sql.trim_matches('\''))?,
        };
        Ok(Edge { mark, sql: sql.to_owned() })
    }
}

fn milliseconds(mark: i64) -> Option<i64> {
    let ms = mark.div_euclid(1_000);
    (mark.rem_euclid(1_000) == 0 && (0..=MS_MAX).contains(&ms)).then_some(ms)
}

/// `+05:30`, `-03`, or nothing.
fn offset_us(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let (sign, digits) = text.split_at(1);
    let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
    let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
    Some(if sign == "-" { -minutes } else { minutes } * civil::HOUR_US / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 8] = [
        Kind::TimestampTz,
        Kind::Timestamp,
        Kind::Date,
        Kind::Epoch { unit_ns: 1_000_000_000 },
        Kind::Epoch { unit_ns: 1_000_000 },
        Kind::Epoch { unit_ns: 1 },
        Kind::UuidV7,
        Kind::Ulid,
    ];

    #[test]
    fn what_is_written_is_read_back() {
        for kind in KINDS {
            for moment in ["1970-01-01", "2026-03-01", "2024-02-29", "9999-12-31", "10000-01-01"] {
                let mark = civil::parse(moment).unwrap();
                let edge = kind.edge(mark).unwrap();
                let bound = kind.bound(&format!("FOR VALUES FROM (MINVALUE) TO ({})", edge.sql)).unwrap();
                let Bound::Range { lower, upper } = bound else { panic!("{bound:?}") };
                assert_eq!((lower.mark, upper), (LOWEST, edge), "{kind:?} {moment}");
            }
        }
        for kind in [Kind::TimestampTz, Kind::Timestamp, Kind::Date] {
            let edge = kind.edge(civil::parse("0044-03-15 BC").unwrap()).unwrap();
            assert_eq!(kind.read(&edge.sql), Ok(edge));
        }
    }

    #[test]
    fn literals_are_what_the_server_takes() {
        let mark = civil::parse("2026-03-01").unwrap();
        let sql = |kind: Kind| kind.edge(mark).unwrap().sql;
        assert_eq!(sql(Kind::TimestampTz), "'2026-03-01 00:00:00+00'");
        assert_eq!(sql(Kind::Date), "'2026-03-01'");
        assert_eq!(sql(Kind::Epoch { unit_ns: 1_000_000_000 }), "'1772323200'");
        assert_eq!(sql(Kind::UuidV7), "'019ca6b1-dc00-0000-0000-000000000000'");
        assert_eq!(sql(Kind::Ulid), "'01KJKB3Q000000000000000000'");
    }

    #[test]
    fn what_cannot_be_reckoned_with_is_refused() {
        assert!(Kind::UuidV7.edge(-1_000).is_err());
        assert!(Kind::Date.edge(1).is_err());
        assert!(Kind::Epoch { unit_ns: 1_000_000_000 }.edge(500_000).is_err());
        for (kind, text) in [
            (Kind::TimestampTz, "FOR VALUES IN ('a')"),
            (Kind::TimestampTz, "FOR VALUES WITH (modulus 4, remainder 0)"),
            (Kind::TimestampTz, "FOR VALUES FROM ('a') TO ('b')"),
            (Kind::UuidV7, "FOR VALUES FROM ('019ca655-c400-7123-8000-000000000000') TO (MAXVALUE)"),
            (Kind::Ulid, "FOR VALUES FROM ('01KJK5BH00000000000000000Z') TO (MAXVALUE)"),
        ] {
            assert!(kind.bound(text).is_err(), "{text}");
        }
        assert_eq!(Kind::Date.bound("DEFAULT"), Ok(Bound::Default));
        let open = Kind::TimestampTz.bound("FOR VALUES FROM ('-infinity') TO ('infinity')").unwrap();
        let Bound::Range { lower, upper } = open else { panic!() };
        assert!(lower.mark > LOWEST && upper.mark < HIGHEST);
    }

    #[test]
    fn a_kind_follows_from_the_type_and_the_rule() {
        let epoch = Some(Kind::Epoch { unit_ns: 1_000_000 });
        assert_eq!(Kind::of("date", None), Ok(Kind::Date));
        assert_eq!(Kind::of("bigint", epoch), Ok(Kind::Epoch { unit_ns: 1_000_000 }));
        assert_eq!(Kind::of("uuid", Some(Kind::UuidV7)), Ok(Kind::UuidV7));
        for (name, format) in
            [("bigint", None), ("date", epoch), ("text", None), ("text", epoch), ("uuid", epoch)]
        {
            assert!(Kind::of(name, format).is_err(), "{name}");
        }
    }
}
