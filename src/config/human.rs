//! Values that people write in a form of their own: durations such as `30s`, sizes such as `64MB`, and `auto`.
//! Knows nothing of files or of what the values are for.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longer than any timeout that means something; keeps sums with the clock far from overflow.
const LONGEST: Duration = Duration::from_secs(1000 * 24 * 3600);

/// A duration: `500ms`, `30s`, `5m`, `1h`, `1d`, or `0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Human(pub Duration);

impl Human {
    /// Reads the text form. `Err` says what is expected.
    pub fn parse(text: &str) -> Result<Human, String> {
        const FORM: &str =
            "expected a duration such as 500ms, 30s, 5m or 1h (or 0), a whole number with its unit";
        if text == "0" {
            return Ok(Human(Duration::ZERO));
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(FORM.to_owned()),
        };
        if number.is_empty() {
            return Err(FORM.to_owned());
        }
        let total = number.parse::<u64>().ok();
        match total.and_then(|n| n.checked_mul(unit_ms)) {
            Some(ms) if Duration::from_millis(ms) <= LONGEST => Ok(Human(Duration::from_millis(ms))),
            _ => Err("longer than 1000 days; write a shorter duration".to_owned()),
        }
    }
}

impl std::fmt::Display for Human {
    /// The shortest form that `parse` reads back to the same duration.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.0.as_millis();
        match ms {
            0 => f.write_str("0"),
            _ if ms.is_multiple_of(3_600_000) => write!(f, "{}h", ms / 3_600_000),
            _ if ms.is_multiple_of(60_000) => write!(f, "{}m", ms / 60_000),
            _ if ms.is_multiple_of(1_000) => write!(f, "{}s", ms / 1_000),
            _ => write!(f, "{ms}ms"),
        }
    }
}

impl Serialize for Human {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_zero() { serializer.serialize_u64(0) } else { serializer.collect_str(self) }
    }
}

impl<'de> Deserialize<'de> for Human {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Human, D::Error> {
        let text = match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(number) => number.to_string(),
            NumberOrText::Text(text) => text,
        };
        Human::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Human {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A whole number with its unit: 500ms, 30s, 5m, 1h, 1d; or 0.",
            "anyOf": [
                {"type": "string", "pattern": "^(0|[0-9]+(ms|s|m|h|d))$"},
                {"const": 0},
            ],
        })
    }
}

/// How many worker threads: a number, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Workers {
    #[default]
    Auto,
    Count(u16),
}

impl Workers {
    /// More threads than this only take the cores from PostgreSQL; nobody has shown otherwise.
    pub const MOST: u16 = 256;

    /// Reads the text form. `Err` says what is expected.
    pub fn parse(text: &str) -> Result<Workers, String> {
        if text == "auto" {
            return Ok(Workers::Auto);
        }
        match text.parse() {
            Ok(count) if (1..=Self::MOST).contains(&count) => Ok(Workers::Count(count)),
            _ => Err(format!("expected auto or a number from 1 to {}", Self::MOST)),
        }
    }

    /// The number of threads on a machine with `cores` cores.
    ///
    /// `auto` is half of the cores, at least 1 and at most 8: the other half is left to PostgreSQL or
    /// the application, which usually share the machine, and one worker already moves more queries
    /// than a few server cores can answer. More workers also split each pool into smaller parts.
    pub fn resolve(self, cores: usize) -> usize {
        match self {
            Workers::Auto => (cores / 2).clamp(1, 8),
            Workers::Count(count) => usize::from(count),
        }
    }
}

impl Serialize for Workers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Workers::Auto => serializer.serialize_str("auto"),
            Workers::Count(count) => serializer.serialize_u16(*count),
        }
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Workers, D::Error> {
        let text = match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(number) => number.to_string(),
            NumberOrText::Text(text) => text,
        };
        Workers::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Workers {
    fn schema_name() -> Cow<'static, str> {
        "Workers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "auto, or how many threads.",
            "anyOf": [
                {"const": "auto"},
                {"type": "integer", "minimum": 1, "maximum": Self::MOST},
            ],
        })
    }
}

/// Bytes: `64kB`, `64MB`, `1GB`; units as PostgreSQL's, in steps of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size(pub u64);

impl Size {
    /// No file of pgweir's own is larger.
    const MOST: u64 = 1 << 40;

    /// Reads the text form. `Err` says what is expected.
    pub fn parse(text: &str) -> Result<Size, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let shift = match unit {
            "kB" => 10,
            "MB" => 20,
            "GB" => 30,
            _ => return Err("expected a size such as 64kB, 64MB or 1GB, a whole number with its unit".into()),
        };
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
        match bytes {
            Some(bytes) if (1..=Self::MOST).contains(&bytes) => Ok(Size(bytes)),
            _ => Err("expected a size from 1kB to 1024GB".to_owned()),
        }
    }
}

impl std::fmt::Display for Size {
    /// The shortest form that `parse` reads back to the same size.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 >> 10 {
            kb if kb.is_multiple_of(1 << 20) => write!(f, "{}GB", kb >> 20),
            kb if kb.is_multiple_of(1 << 10) => write!(f, "{}MB", kb >> 10),
            kb => write!(f, "{kb}kB"),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        Size::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A whole number with its unit: 64kB, 64MB, 1GB.",
            "type": "string",
            "pattern": "^[0-9]+(kB|MB|GB)$",
        })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_have_units() {
        let ms = |text| Human::parse(text).map(|human| human.0.as_millis());
        assert_eq!(ms("0"), Ok(0));
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("30s"), Ok(30_000));
        assert_eq!(ms("5m"), Ok(300_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        assert_eq!(ms("2d"), Ok(172_800_000));
        assert_eq!(ms("0s"), Ok(0));
        for bad in ["", "30", "s", "1.5s", "-1s", "5 m", "1w", "1H", "٣s"] {
            assert!(ms(bad).is_err(), "{bad:?}");
        }
        assert!(ms("1001d").unwrap_err().contains("1000 days"));
        assert!(ms("99999999999999999999s").is_err());
    }

    proptest! {
        #[test]
        fn durations_survive_a_round_trip(ms in 0u64..86_400_000_000) {
            let human = Human(Duration::from_millis(ms));
            prop_assert_eq!(Human::parse(&human.to_string()), Ok(human));
        }

        #[test]
        fn sizes_survive_a_round_trip(kb in 1u64..1 << 30) {
            prop_assert_eq!(Size::parse(&Size(kb << 10).to_string()), Ok(Size(kb << 10)));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = Size::parse(&text);
            let _ = Human::parse(&text);
            let _ = Workers::parse(&text);
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(Size::parse("64MB"), Ok(Size(64 << 20)));
        assert_eq!(Size::parse("1kB"), Ok(Size(1024)));
        for bad in ["", "64", "MB", "64mb", "0kB", "1.5GB", "2000GB", "99999999999999999999MB"] {
            assert!(Size::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn auto_leaves_half_of_the_cores() {
        let auto = |cores| Workers::Auto.resolve(cores);
        assert_eq!([auto(1), auto(2), auto(4), auto(64)], [1, 1, 2, 8]);
        assert_eq!(Workers::Count(3).resolve(1), 3);
        assert!(Workers::parse("0").is_err());
        assert!(Workers::parse("many").is_err());
    }
}
