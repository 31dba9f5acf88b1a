//! Values on their way to a file and back: how each type of PostgreSQL is held in a column, how it is asked for,
//! and how it is written for PostgreSQL again. What no form holds without loss goes as PostgreSQL's own text.

use serde::{Deserialize, Serialize};

use super::civil;
use super::sql::name;

/// How a column is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    Bool,
    Int32,
    Int64,
    Float32,
    Float64,
    /// Days since 1970.
    Date,
    /// Microseconds since 1970.
    Timestamp,
    TimestampTz,
    /// A whole number of the last decimal place.
    Decimal {
        precision: i32,
        scale: i32,
    },
    Bytes,
    Text,
}

/// A column of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    /// As SQL writes it.
    #[serde(rename = "type")]
    pub type_name: String,
    pub form: Form,
}

/// Values of one column, row by row.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    Bool(Vec<Option<bool>>),
    Int32(Vec<Option<i32>>),
    Int64(Vec<Option<i64>>),
    Float32(Vec<Option<f32>>),
    Float64(Vec<Option<f64>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

/// Digits that 64 bits hold.
const DIGITS_MAX: i32 = 18;

impl Form {
    /// The form of a type, if every value of the column fits it; see [`Column::doubts`].
    pub fn of(type_name: &str) -> Form {
        match type_name {
            "boolean" => Form::Bool,
            "smallint" | "integer" => Form::Int32,
            "bigint" => Form::Int64,
            "real" => Form::Float32,
            "double precision" => Form::Float64,
            "date" => Form::Date,
            "bytea" => Form::Bytes,
            _ if timestamp(type_name, "with time zone") => Form::TimestampTz,
            _ if timestamp(type_name, "without time zone") => Form::Timestamp,
            _ => decimal(type_name).unwrap_or(Form::Text),
        }
    }
}

/// `timestamp with time zone`, or `timestamp(3) with time zone`.
fn timestamp(type_name: &str, zone: &str) -> bool {
    let rest = type_name.strip_prefix("timestamp").and_then(|rest| rest.strip_suffix(zone));
    rest.is_some_and(|precision| {
        precision == " " || (precision.starts_with('(') && precision.ends_with(") "))
    })
}

/// `numeric(10,2)`.
fn decimal(type_name: &str) -> Option<Form> {
    let (precision, scale) = type_name.strip_prefix("numeric(")?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale): (i32, i32) = (precision.parse().ok()?, scale.parse().ok()?);
    let fits = precision <= DIGITS_MAX && (0..=precision).contains(&scale);
    fits.then_some(Form::Decimal { precision, scale })
}

impl Column {
    /// The expression that brings its values.
    pub fn select(&self) -> String {
        let column = name(&self.name);
        match self.form {
            Form::Bool | Form::Int64 | Form::Float32 | Form::Float64 | Form::Bytes => column,
            Form::Int32 => format!("{column}::int4"),
            Form::Date => format!("({column} - DATE '1970-01-01')::int4"),
            Form::Timestamp | Form::TimestampTz => {
                format!("(extract(epoch FROM {column}) * 1000000)::int8")
            }
            Form::Decimal { scale, .. } => format!("({column} * 10::numeric ^ {scale})::int8"),
            Form::Text => format!("{column}::text"),
        }
    }

    /// A condition that is true of a value that the form does not hold. `None`: it holds all.
    pub fn doubts(&self) -> Option<String> {
        let column = name(&self.name);
        let beyond = |least: &str, most: &str| {
            format!("NOT isfinite({column}) OR {column} < '{least}' OR {column} >= '{most}'")
        };
        match self.form {
            Form::Date | Form::Timestamp => Some(beyond("0001-01-01", "10000-01-01")),
            Form::TimestampTz => Some(beyond("0001-01-01 00:00:00+00", "10000-01-01 00:00:00+00")),
            Form::Decimal { .. } => Some(format!("{column} = 'NaN'")),
            _ => None,
        }
    }
}

impl Values {
    pub fn new(form: Form) -> Values {
        match form {
            Form::Bool => Values::Bool(Vec::new()),
            Form::Int32 | Form::Date => Values::Int32(Vec::new()),
            Form::Int64 | Form::Timestamp | Form::TimestampTz | Form::Decimal { .. } => {
                Values::Int64(Vec::new())
            }
            Form::Float32 => Values::Float32(Vec::new()),
            Form::Float64 => Values::Float64(Vec::new()),
            Form::Bytes | Form::Text => Values::Bytes(Vec::new()),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Values::Bool(values) => values.len(),
            Values::Int32(values) => values.len(),
            Values::Int64(values) => values.len(),
            Values::Float32(values) => values.len(),
            Values::Float64(values) => values.len(),
            Values::Bytes(values) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About the memory that they take.
    pub fn bytes(&self) -> usize {
        match self {
            Values::Bytes(values) => values.iter().flatten().map(|value| value.len() + 32).sum(),
            _ => self.len() * 16,
        }
    }

    /// Feeds every value to a digest, so that other values, another order or another NULL come to another one.
    pub fn digest(&self, feed: &mut impl FnMut(&[u8])) {
        fn each<T>(
            values: &[Option<T>],
            feed: &mut impl FnMut(&[u8]),
            mut value: impl FnMut(&T, &mut dyn FnMut(&[u8])),
        ) {
            for one in values {
                match one {
                    None => feed(&[0]),
                    Some(one) => {
                        feed(&[1]);
                        value(one, feed);
                    }
                }
            }
        }
        match self {
            Values::Bool(values) => each(values, feed, |one, feed| feed(&[u8::from(*one)])),
            Values::Int32(values) => each(values, feed, |one, feed| feed(&one.to_le_bytes())),
            Values::Int64(values) => each(values, feed, |one, feed| feed(&one.to_le_bytes())),
            Values::Float32(values) => each(values, feed, |one, feed| feed(&one.to_le_bytes())),
            Values::Float64(values) => each(values, feed, |one, feed| feed(&one.to_le_bytes())),
            Values::Bytes(values) => each(values, feed, |one, feed| {
                feed(&(one.len() as u64).to_le_bytes());
                feed(one);
            }),
        }
    }

    /// The values of some rows as PostgreSQL reads them; NULL is none.
    ///
    /// # Errors
    /// A text is not UTF-8, or the values are not of the form.
    pub fn texts(&self, form: Form, from: usize, until: usize) -> Result<Vec<Option<String>>, String> {
        fn each<T>(values: &[Option<T>], text: impl Fn(&T) -> String) -> Vec<Option<String>> {
            values.iter().map(|value| value.as_ref().map(&text)).collect()
        }
        let odd = || "the file does not hold what its manifest says".to_owned();
        Ok(match (self, form) {
            (Values::Bool(values), Form::Bool) => each(&values[from..until], |one| one.to_string()),
            (Values::Int32(values), Form::Int32) => each(&values[from..until], ToString::to_string),
            (Values::Int64(values), Form::Int64) => each(&values[from..until], ToString::to_string),
            (Values::Float32(values), Form::Float32) => {
                each(&values[from..until], |one| float(f64::from(*one), one.to_string()))
            }
            (Values::Float64(values), Form::Float64) => {
                each(&values[from..until], |one| float(*one, one.to_string()))
            }
            (Values::Int32(values), Form::Date) => {
                each(&values[from..until], |one| civil::day_text(i64::from(*one)))
            }
            (Values::Int64(values), Form::Timestamp) => each(&values[from..until], |one| civil::text(*one)),
            (Values::Int64(values), Form::TimestampTz) => {
                each(&values[from..until], |one| format!("{}+00", civil::text(*one)))
            }
            (Values::Int64(values), Form::Decimal { scale, .. }) => {
                each(&values[from..until], |one| decimal_text(*one, scale))
            }
            (Values::Bytes(values), Form::Bytes) => each(&values[from..until], |one| {
                let digits: String = one.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("\\x{digits}")
            }),
            (Values::Bytes(values), Form::Text) => {
                let text = |one: &Option<Vec<u8>>| {
                    one.as_ref().map(|one| String::from_utf8(one.clone()).map_err(|_| odd())).transpose()
                };
                values[from..until].iter().map(text).collect::<Result<_, _>>()?
            }
            _ => return Err(odd()),
        })
    }
}

/// The shortest text that is read back to the same bits.
fn float(value: f64, text: String) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => text,
    }
}

fn decimal_text(value: i64, scale: i32) -> String {
    let places = usize::try_from(scale).unwrap_or_default();
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let sign = if value < 0 { "-" } else { "" };
    if places == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_forms_that_lose_nothing() {
        for (type_name, form) in [
            ("integer", Form::Int32),
            ("timestamp with time zone", Form::TimestampTz),
            ("timestamp(3) without time zone", Form::Timestamp),
            ("numeric(10,2)", Form::Decimal { precision: 10, scale: 2 }),
            ("numeric(38,2)", Form::Text),
            ("numeric(3,-2)", Form::Text),
            ("numeric", Form::Text),
            ("jsonb", Form::Text),
            ("timestamp with time zone[]", Form::Text),
            ("interval", Form::Text),
        ] {
            assert_eq!(Form::of(type_name), form, "{type_name}");
        }
    }

    #[test]
    fn values_are_written_as_postgresql_reads_them() {
        let text = |values: Values, form| values.texts(form, 0, values.len()).unwrap();
        let some = |texts: &[&str]| -> Vec<Option<String>> {
            texts.iter().map(|one| Some((*one).to_owned())).collect()
        };
        let cents = Form::Decimal { precision: 10, scale: 2 };
        assert_eq!(
            text(Values::Int64(vec![Some(-5), Some(12_345), Some(0)]), cents),
            some(&["-0.05", "123.45", "0.00"])
        );
        assert_eq!(text(Values::Int32(vec![Some(19_000)]), Form::Date), some(&["2022-01-08"]));
        assert_eq!(
            text(Values::Int64(vec![Some(-1)]), Form::TimestampTz),
            some(&["1969-12-31 23:59:59.999999+00"])
        );
        assert_eq!(text(Values::Bytes(vec![Some(vec![0, 255])]), Form::Bytes), some(&["\\x00ff"]));
        assert_eq!(
            text(Values::Float64(vec![Some(f64::NAN), Some(f64::NEG_INFINITY), Some(0.1)]), Form::Float64),
            some(&["NaN", "-Infinity", "0.1"])
        );
        assert_eq!(text(Values::Float32(vec![Some(0.1)]), Form::Float32), some(&["0.1"]));
        assert_eq!(text(Values::Bool(vec![None, Some(true)]), Form::Bool), [None, Some("true".to_owned())]);
        assert!(Values::Bytes(vec![Some(vec![0xff])]).texts(Form::Text, 0, 1).is_err());
        assert!(Values::Bool(vec![Some(true)]).texts(Form::Date, 0, 1).is_err());
    }

    #[test]
    fn a_digest_sees_every_difference() {
        let digest = |values: &Values| {
            let mut bytes = Vec::new();
            values.digest(&mut |part| bytes.extend_from_slice(part));
            bytes
        };
        let texts =
            |texts: &[&str]| Values::Bytes(texts.iter().map(|one| Some(one.as_bytes().to_vec())).collect());
        assert_ne!(digest(&texts(&["ab", "c"])), digest(&texts(&["a", "bc"])));
        assert_ne!(digest(&texts(&["", "a"])), digest(&texts(&["a", ""])));
        assert_ne!(digest(&Values::Int32(vec![None, Some(1)])), digest(&Values::Int32(vec![Some(1), None])));
        assert_ne!(digest(&Values::Float64(vec![Some(0.0)])), digest(&Values::Float64(vec![Some(-0.0)])));
    }
}
