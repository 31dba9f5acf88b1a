//! Conditions on times by dice: every form that routing knows, some that it must leave alone, with constants near
//! the rows at hand, as literals of every spelling or as parameters. Knows no server and no routing.

use pgweir::route::Kind;
use pgweir::route::calendar::{self, DAY, HOUR, Micros, POSTGRES_EPOCH, SECOND, Unit};

/// A seeded sequence of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// A row's time: the moment, and what the session's clock shows.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    pub moment: Micros,
    pub shown: Micros,
}

#[derive(Debug, Clone)]
pub struct Parameter {
    pub oid: u32,
    pub text: String,
    pub binary: Vec<u8>,
}

/// Writes conditions on one column.
pub struct Writer<'a> {
    pub dice: Dice,
    /// Of the column.
    pub kind: Kind,
    pub column: &'static str,
    pub times: &'a [Time],
    pub zones: &'a [String],
    /// Constants may be parameters, which are collected.
    pub extended: bool,
    pub parameters: Vec<Parameter>,
}

const UNITS: [&str; 9] =
    ["microseconds", "second", "minute", "hour", "day", "week", "month", "quarter", "year"];
const OPERATORS: [&str; 5] = ["=", "<", "<=", ">", ">="];

/// How many forms [`Writer::atom`] knows.
pub const FORMS: usize = 16;

impl Writer<'_> {
    fn time(&mut self) -> Time {
        self.times[self.dice.below(self.times.len())]
    }

    fn op(&mut self) -> &'static str {
        self.dice.pick(&OPERATORS)
    }

    fn parameter(&mut self, oid: u32, text: String, binary: Vec<u8>) -> String {
        self.parameters.push(Parameter { oid, text, binary });
        format!("${}", self.parameters.len())
    }

    /// A constant of this kind at this place of the clock, spelled somehow.
    fn constant(&mut self, kind: Kind, at: Time) -> String {
        let zoned = kind == Kind::Timestamptz;
        if self.extended && self.dice.one_in(2) {
            let (oid, text, binary) = match kind {
                Kind::Date => {
                    let day = Unit::Day.floor(at.shown);
                    let days = ((day - POSTGRES_EPOCH) / DAY) as i32;
                    (1082, calendar::write(day, false), days.to_be_bytes().to_vec())
                }
                Kind::Timestamp => {
                    let binary = (at.shown - POSTGRES_EPOCH).to_be_bytes().to_vec();
                    (1114, calendar::write(at.shown, true), binary)
                }
                _ => {
                    let binary = (at.moment - POSTGRES_EPOCH).to_be_bytes().to_vec();
                    (1184, calendar::write(at.moment, true) + "+00", binary)
                }
            };
            return self.parameter(oid, text, binary);
        }
        let text = match kind {
            Kind::Date => calendar::write(Unit::Day.floor(at.shown), false),
            _ if zoned && self.dice.one_in(3) => calendar::write(at.moment, true) + "+00",
            _ if zoned && self.dice.one_in(3) => {
                calendar::write(at.moment - 3 * HOUR - 30 * 60 * SECOND, true) + "-03:30"
            }
            _ => calendar::write(at.shown, true),
        };
        let name = match kind {
            Kind::Date => "date",
            Kind::Timestamp => "timestamp",
            _ => "timestamptz",
        };
        match self.dice.below(4) {
            0 => format!("'{text}'"),
            1 => format!("{name} '{text}'"),
            2 => format!("cast('{text}' as {name})"),
            _ => format!("'{text}'::{name}"),
        }
    }

    /// The start of a unit, or a place near it.
    fn near(&mut self, unit: &str) -> Time {
        let mut at = self.time();
        if !self.dice.one_in(4)
            && let Some(unit) = Unit::named(unit)
        {
            let floor = unit.floor(at.shown);
            at = Time { moment: at.moment - (at.shown - floor), shown: floor };
        }
        at
    }

    pub fn interval(&mut self) -> String {
        let n = self.dice.below(40) as i64;
        if self.extended && self.dice.one_in(3) {
            let (months, days, micros) = (self.dice.below(3) as i32, self.dice.below(9) as i32, n * HOUR);
            let binary = [&micros.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()].concat();
            return self.parameter(1186, format!("{months} mons {days} days {n:02}:00:00"), binary);
        }
        match self.dice.below(8) {
            0 => format!("interval '{n} hours'"),
            1 => format!("'{n} days'::interval"),
            2 => format!("interval '{n} months'"),
            3 => format!("interval '{}' year", n % 4),
            4 => format!("interval '-{n} days'"),
            5 => format!("interval '1 year 2 mons {n} days 03:04:05.5'"),
            6 => format!("interval '1 day' * {}", n % 5),
            _ => format!("interval '{n} minutes'"),
        }
    }

    /// A constant expression that compares with times.
    fn value(&mut self, kind: Kind, unit: &str) -> String {
        let at = self.near(unit);
        match self.dice.below(12) {
            0..=5 => self.constant(kind, at),
            6 => self.constant(Kind::Date, at),
            7 => self.constant(Kind::Timestamp, at),
            8 => format!("{} + {}", typed(&self.constant(kind, at), kind), self.interval()),
            9 => format!("date_trunc('{unit}', {})", typed(&self.constant(kind, at), kind)),
            10 => {
                let (year, month, day) = calendar::civil(at.shown.div_euclid(DAY));
                let hour = at.shown.rem_euclid(DAY) / HOUR;
                format!("make_timestamptz({year}, {month}, {day}, {hour}, 30, 0)")
            }
            _ => self.now(),
        }
    }

    /// Something of today.
    pub fn now(&mut self) -> String {
        let interval = self.interval();
        match self.dice.below(7) {
            0 => format!("now() - {interval}"),
            1 => format!("current_date - {}", self.dice.below(40)),
            2 => format!("current_timestamp(0) - {interval}"),
            3 => format!("localtimestamp - {interval}"),
            4 => "date_trunc('day', now())".to_owned(),
            5 => format!("current_date - {interval}"),
            _ => format!("clock_timestamp() - {interval}"),
        }
    }

    fn zone(&mut self) -> String {
        format!("'{}'", self.zones[self.dice.below(self.zones.len())])
    }

    /// A condition of one form.
    pub fn atom(&mut self, form: usize) -> String {
        let (column, kind, op) = (self.column, self.kind, self.op());
        let unit = self.dice.pick(&UNITS);
        let truncated = if kind == Kind::Timestamp { kind } else { Kind::Timestamptz };
        match form {
            0 => format!("date_trunc('{unit}', {column}) {op} {}", self.value(truncated, unit)),
            1 => {
                let zone = self.zone();
                let moment = if kind == Kind::Timestamptz {
                    column.to_owned()
                } else {
                    format!("{column}::timestamptz")
                };
                format!("date_trunc('{unit}', {moment}, {zone}) {op} {}", self.value(Kind::Timestamptz, unit))
            }
            2 => {
                let cast =
                    self.dice.pick(&["{}::date", "date({})", "cast({} as date)"]).replace("{}", column);
                match self.dice.below(3) {
                    0 => {
                        let (low, high) = (self.value(Kind::Date, "day"), self.value(Kind::Date, "day"));
                        format!("{cast} between {low} and {high}")
                    }
                    1 => {
                        let (one, other) = (self.near("day"), self.near("day"));
                        let (one, other) = (self.constant(Kind::Date, one), self.constant(Kind::Date, other));
                        format!("{cast} in ({one}, {other})")
                    }
                    _ => format!("{cast} {op} {}", self.value(Kind::Date, "day")),
                }
            }
            3 => format!("{column}::timestamp {op} {}", self.value(Kind::Timestamp, unit)),
            4 => {
                let zone = self.zone();
                let other = if kind == Kind::Timestamp { Kind::Timestamptz } else { Kind::Timestamp };
                format!("{column} AT TIME ZONE {zone} {op} {}", self.value(other, unit))
            }
            5 => self.parts(),
            6 => {
                let at = self.time();
                let base = if kind == Kind::Timestamptz { at.moment } else { at.shown };
                format!("extract(epoch from {column}) {op} {}", base / SECOND)
            }
            7 => {
                let format = self.dice.pick(&["YYYY-MM-DD", "YYYY-MM", "YYYY", "YYYYMMDD", "YYYYMM"]);
                let date = calendar::write(Unit::Day.floor(self.time().shown), false);
                let date = if format.contains('-') { date } else { date.replace('-', "") };
                format!("to_char({column}, '{format}') = '{}'", &date[..format.len()])
            }
            _ => self.other_atom(form, unit, op),
        }
    }

    fn other_atom(&mut self, form: usize, unit: &str, op: &str) -> String {
        let (column, kind) = (self.column, self.kind);
        match form {
            8 => {
                let sum = if kind == Kind::Date { Kind::Timestamp } else { kind };
                let (interval, sign) = (self.interval(), self.dice.pick(&["+", "-"]));
                format!("{column} {sign} {interval} {op} {}", self.value(sum, unit))
            }
            9 => match self.dice.below(3) {
                0 => format!("now() - {column} {op} {}", self.interval()),
                1 => format!("{column} {op} {}", self.now()),
                _ => format!("extract(epoch from (now() - {column})) / 3600 {op} {}", self.dice.below(900)),
            },
            10 => match self.dice.below(2) {
                0 => format!("age({column}) {op} {}", self.interval()),
                _ => {
                    let at = self.time();
                    let base = typed(&self.constant(Kind::Timestamptz, at), Kind::Timestamptz);
                    format!("age({base}, {column}::timestamptz) {op} {}", self.interval())
                }
            },
            11 => format!("{} {op} {column}", self.value(kind, unit)),
            12 => {
                let (value, id) = (self.value(kind, unit), self.dice.below(1_000));
                format!("({column}, e.id) {op} ({value}, {id})")
            }
            13 => self.range(),
            14 => {
                let (low, high) = (self.value(kind, unit), self.value(kind, unit));
                format!("{column} between {low} and {high}")
            }
            _ => {
                let (one, other) = (self.near(unit), self.near(unit));
                let (one, other) = (self.constant(kind, one), self.constant(kind, other));
                format!("{column} in ({one}, {other}, null)")
            }
        }
    }

    fn parts(&mut self) -> String {
        let (year, month, day) = calendar::civil(self.time().shown.div_euclid(DAY));
        let column = self.column;
        let (op, other) = (self.op(), self.op());
        let year = match self.extended && self.dice.one_in(2) {
            true => self.parameter(23, year.to_string(), (year as i32).to_be_bytes().to_vec()) + "::int",
            false => year.to_string(),
        };
        let field = |name: &str, call: bool| match call {
            true => format!("date_part('{name}', {column})"),
            false => format!("extract({name} from {column})"),
        };
        let call = self.dice.one_in(2);
        match self.dice.below(5) {
            0 => format!("{} {op} {year}", field("year", call)),
            1 => format!("{} = {year} and {} = {month}", field("year", call), field("month", call)),
            2 => format!("{} = {year} and {} {other} {month}", field("year", call), field("month", call)),
            3 => format!(
                "{} = {year} and {} in ({month}, 12) and {} between 1 and {day}",
                field("year", call),
                field("month", call),
                field("day", call)
            ),
            _ => format!(
                "{} = {year} and {} = {month} and {} {other} {day}",
                field("year", call),
                field("month", call),
                field("day", call)
            ),
        }
    }

    fn range(&mut self) -> String {
        let (kind, column) = (self.kind, self.column);
        let name = match kind {
            Kind::Date => "daterange",
            Kind::Timestamp => "tsrange",
            _ => "tstzrange",
        };
        let (one, other) = (self.time(), self.time());
        let (low, high) = if one.moment <= other.moment { (one, other) } else { (other, one) };
        let mut bound = |at, none: bool| if none { "null".to_owned() } else { self.constant(kind, at) };
        let (lower, upper) = (bound(low, one.moment % 5 == 0), bound(high, other.moment % 7 == 0));
        match self.dice.below(4) {
            0 => format!("{name}({lower}, {upper}) @> {column}"),
            1 => format!("{column} <@ {name}({lower}, {upper}, '[]')"),
            2 => format!("{name}({lower}, {upper}, '(]') @> {column}"),
            _ => {
                let (low, high) = (calendar::write(low.shown, true), calendar::write(high.shown, true));
                format!("{column} <@ '[\"{low}\",\"{high}\")'::{name}")
            }
        }
    }
}

/// A constant whose type is in no doubt.
fn typed(constant: &str, kind: Kind) -> String {
    match kind {
        Kind::Date => format!("{constant}::date"),
        Kind::Timestamp => format!("{constant}::timestamp"),
        _ => format!("{constant}::timestamptz"),
    }
}
