//! Which tables are routed, and by what; made from the catalog once per snapshot of it. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::around::Held;
use super::calendar::{self, Micros, SECOND};
use super::range::Range;
use super::zone::Zone;
use super::{Kind, Moment, RouteSettings};
use crate::catalog::{Catalog, Hidden, Strategy, Table, TableKind, Volatility};
use crate::sql::filter::{Call, Func, Source, Span};

/// A table that is partitioned by ranges of a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    pub schema: String,
    pub name: String,
    /// The first column of its partition key.
    pub column: String,
    pub kind: Kind,
    /// No partition has room for years before Christ.
    pub only_after_christ: bool,
    /// From where to where each partition goes, in order; the end is not included. Empty: they are not known. No
    /// bound depends on it, only how much a page leaves out.
    pub(super) pieces: Vec<(Micros, Micros)>,
    /// Of columns that grow with the key: which of their values closed partitions may hold.
    pub(super) held: Vec<(String, Vec<Held>)>,
    /// The key may be NULL, and a partition has room for such rows.
    pub(super) holds_nulls: bool,
    /// No other relation of the database has this name.
    sole: bool,
    /// The catalog's search path finds it by its bare name.
    in_path: bool,
}

/// The routed tables of one database.
#[derive(Debug, Default)]
pub struct Router {
    tables: HashMap<String, Vec<Routed>>,
    zones: BTreeMap<String, Zone>,
    catalog: Arc<Catalog>,
    /// Names of functions that are not PostgreSQL's own.
    own_functions: HashSet<String>,
    /// Names of tables whose rows may be read twice without anybody noticing.
    pub(super) quiet: HashSet<String>,
}

/// Names of types that PostgreSQL's grammar does not keep for itself, so that somebody may have defined others.
const TYPES: [&str; 11] = [
    "date",
    "timestamptz",
    "text",
    "int2",
    "int4",
    "int8",
    "float8",
    "tstzrange",
    "tsrange",
    "daterange",
    "varchar",
];

/// How wrong pgweir's clock may be against the server's: much more than computers with a time service are apart,
/// and little against a partition.
pub const CLOCK_SLACK: Micros = 600 * SECOND;

impl Router {
    /// No table is routed if somebody has given PostgreSQL's types or operators another meaning, or if the catalog
    /// is not complete.
    pub fn new(catalog: Arc<Catalog>, settings: &RouteSettings) -> Router {
        let zones = catalog.facts.zones.iter();
        let zones =
            zones.filter_map(|(name, (west, east))| Some((name.clone(), Zone::between(*west, *east)?)));
        let mut router = Router {
            zones: zones.collect(),
            own_functions: catalog.functions.iter().map(|function| function.name.clone()).collect(),
            ..Router::default()
        };
        let foreign = catalog.types.values().any(|own| TYPES.contains(&own.name.as_str()));
        if settings.enabled && !foreign && !catalog.facts.own_time_operators && !catalog.facts.cut {
            for table in &catalog.tables {
                let off = settings.off.iter().any(|off| {
                    off.name == table.name && off.schema.as_ref().is_none_or(|schema| *schema == table.schema)
                });
                if let Some(routed) = routed(&catalog, table).filter(|_| !off) {
                    router.tables.entry(table.name.clone()).or_default().push(routed);
                }
            }
        }
        if !router.tables.is_empty() {
            router.quiet = quiet(&catalog);
        }
        router.catalog = catalog;
        router
    }

    /// Whether both would do the same.
    pub fn is_like(&self, other: &Router) -> bool {
        self.tables == other.tables
            && self.zones == other.zones
            && self.own_functions == other.own_functions
            && self.quiet == other.quiet
    }

    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    pub fn tables(&self) -> impl Iterator<Item = &Routed> {
        self.tables.values().flatten()
    }

    /// Whether a statement may name a routed table. Cheap, and meant to be asked once per shape, of its text.
    pub fn concerns(&self, canonical: &str) -> bool {
        self.tables.keys().any(|name| canonical.contains(name.as_str()))
    }

    /// A session's time zone, as it reports it. `None`: nothing is known of it, and nothing is narrowed.
    pub fn zone(&self, name: &str) -> Option<Zone> {
        self.zones.get(name).copied().or_else(|| Zone::named(name))
    }

    /// `earliest` and `latest`: between which moments, by pgweir's clock, the transaction began or will begin.
    pub fn moment(&self, zone: Zone, earliest: Micros, latest: Option<Micros>) -> Moment<'_> {
        let latest = latest.map_or(Micros::MAX, |latest| latest.saturating_add(CLOCK_SLACK));
        let now = Range::new(earliest.saturating_sub(CLOCK_SLACK), latest);
        Moment {
            zone,
            now,
            zones: &self.zones,
            default_path: true,
            standard_strings: true,
            reach: 0,
            plain_only: false,
        }
    }

    /// The routed table that a source is.
    pub(super) fn find(
        &self,
        text: &str,
        source: &Source,
        ctes: &[Span],
        default_path: bool,
    ) -> Option<&Routed> {
        let name = source.table?;
        let written = name.of(text).trim_matches('"');
        let same_name = match self.tables.get(written) {
            Some(tables) => tables,
            None => self.tables.get(&written.to_ascii_lowercase())?,
        };
        let found = same_name.iter().find(|routed| {
            name.is_name(text, &routed.name)
                && match source.schema {
                    Some(schema) => schema.is_name(text, &routed.schema),
                    None => routed.sole || (default_path && routed.in_path),
                }
        })?;
        let is_cte = source.schema.is_none() && ctes.iter().any(|cte| cte.is_name(text, &found.name));
        (!is_cte).then_some(found)
    }

    /// Functions that run unnamed, where they are not known to be harmless.
    pub(super) fn hidden(&self) -> &Hidden {
        &self.catalog.hidden
    }

    /// The names of the types that such functions belong to.
    pub(super) fn hidden_types(&self) -> impl Iterator<Item = &str> {
        let hidden = &self.catalog.hidden;
        let oids = hidden.types.keys().chain(hidden.domains.keys());
        oids.filter_map(|oid| self.catalog.types.get(oid)).map(|known| known.name.as_str())
    }

    /// Whether it does not matter how often a function is called.
    pub(super) fn is_harmless(&self, text: &str, call: &Call) -> bool {
        let name = call.name.of(text).trim_matches('"').to_ascii_lowercase();
        let schema = call.schema.map(|schema| schema.of(text).trim_matches('"').to_ascii_lowercase());
        let own = schema.as_deref().is_none_or(|schema| schema == "pg_catalog");
        if own && Func::named(name.as_bytes()) != Func::Other {
            return !self.own_functions.contains(&name) || schema.is_some();
        }
        let found = self.catalog.volatility(&self.catalog.facts.schemas, schema.as_deref(), &name);
        found.is_some_and(|volatility| volatility <= Volatility::Stable)
    }
}

fn routed(catalog: &Catalog, table: &Table) -> Option<Routed> {
    let partitioning = table.partitioning.as_ref().filter(|by| by.strategy == Strategy::Range)?;
    let column = table.column_by_number((*partitioning.columns.first()?)?)?;
    let kind = match column.type_oid {
        1082 => Kind::Date,
        1114 => Kind::Timestamp,
        1184 => Kind::Timestamptz,
        _ => return None,
    };
    let bounds = || {
        let children = catalog.children_of(table.oid);
        children.filter_map(|child| child.partition_of.as_ref()).map(|of| of.bound.as_str())
    };
    // With one partition or none there is nothing to choose from.
    (bounds().nth(1).is_some()).then_some(())?;
    let holds_all = |bound: &str| {
        ["DEFAULT", "MINVALUE", "BC", "-infinity"].iter().any(|word| bound.contains(word)) || bound.is_empty()
    };
    let mut pieces: Vec<_> = bounds().filter_map(piece).collect();
    pieces.sort_unstable();
    let is_default = |bound: &str| bound.contains("DEFAULT");
    if pieces.len() < bounds().filter(|bound| !is_default(bound)).count() {
        pieces.clear();
    }
    let in_path = catalog.table(&catalog.facts.search_path, None, &table.name);
    let mut routed = Routed {
        schema: table.schema.clone(),
        name: table.name.clone(),
        column: column.name.clone(),
        kind,
        only_after_christ: !bounds().any(holds_all),
        holds_nulls: !column.not_null && bounds().any(is_default),
        pieces,
        sole: catalog.tables.iter().filter(|other| other.name == table.name).count() == 1,
        in_path: in_path.is_some_and(|found| found.oid == table.oid),
        held: Vec::new(),
    };
    for column in table.columns.iter().filter(|column| [20, 21, 23].contains(&column.type_oid)) {
        let held = |child: &Table| {
            let own = child.column(&column.name)?.number;
            let span = child.spans.iter().find(|span| span.column == own)?;
            let piece = piece(&child.partition_of.as_ref()?.bound)?;
            // Nobody checks what a foreign server holds.
            let checked = matches!(child.kind, TableKind::Table | TableKind::Partitioned);
            checked.then_some(Held { piece, least: span.least, most: span.most })
        };
        // A name with a quote in it would have to be written with two.
        if !routed.column.contains('"') {
            routed.hold(&column.name, catalog.children_of(table.oid).filter_map(held).collect());
        }
    }
    Some(routed)
}

/// `FOR VALUES FROM ('2024-03-01 00:00:00+00') TO ('2024-04-01 00:00:00+00')`, of several columns the first.
fn piece(bound: &str) -> Option<(Micros, Micros)> {
    let (from, to) = bound.strip_prefix("FOR VALUES FROM (")?.split_once(") TO (")?;
    Some((edge(from, Micros::MIN)?, edge(to, Micros::MAX)?))
}

fn edge(text: &str, none: Micros) -> Option<Micros> {
    match text.strip_prefix('\'') {
        None => ["MINVALUE", "MAXVALUE"].iter().any(|word| text.starts_with(word)).then_some(none),
        Some(quoted) => {
            let iso = calendar::read(quoted.split('\'').next()?)?;
            Some(iso.at - iso.offset_s.unwrap_or(0) * SECOND)
        }
    }
}

/// Plain tables, without policies and rules, and without columns whose types run functions that are not known. A
/// name counts if all relations of the name do.
fn quiet(catalog: &Catalog) -> HashSet<String> {
    let hidden = &catalog.hidden;
    let (mut quiet, mut loud) = (HashSet::new(), HashSet::new());
    for table in &catalog.tables {
        let plain = matches!(table.kind, TableKind::Table | TableKind::Partitioned)
            && !table.row_security
            && table.rules.is_empty();
        let mut types = table.columns.iter().map(|column| column.type_oid);
        let harmless = hidden.known
            && !types.any(|oid| hidden.types.contains_key(&oid) || hidden.domains.contains_key(&oid));
        if plain && harmless {
            quiet.insert(table.name.clone())
        } else {
            loud.insert(table.name.clone())
        };
    }
    quiet.retain(|name| !loud.contains(name));
    quiet
}
