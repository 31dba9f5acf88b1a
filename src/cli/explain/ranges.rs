//! What is added to a statement for the partitioned tables of a database, and why.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::catalog::Catalog;
use crate::config;
use crate::pool::routing::REACH_FIRST;
use crate::proxy::once;
use crate::route::narrow::Work;
use crate::route::table::Router;
use crate::route::{Moment, RouteSettings};
use crate::sql::edit;

/// Asks the database for its catalog and says what becomes of the text, which has so many statements.
///
/// # Errors
/// A sentence that says why the database cannot be asked.
pub fn told(text: &str, statements: usize, url: &str) -> Result<String, String> {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = config::from_upstream(url, address, address, None)?;
    let catalog = once::catalog(&settings)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
    Ok(sentence(text, statements, Arc::new(catalog), now))
}

/// `now`: microseconds since 1970.
pub fn sentence(text: &str, statements: usize, catalog: Arc<Catalog>, now: i64) -> String {
    let zone = catalog.facts.time_zone.clone();
    let router = Router::new(catalog, &RouteSettings::default());
    if router.is_empty() {
        return "forwarded unchanged: no table of this database is partitioned by ranges of a time"
            .to_owned();
    }
    if statements > 1 {
        return "forwarded unchanged: bounds are added to single statements only".to_owned();
    }
    let Some(known) = router.zone(&zone) else {
        return format!("forwarded unchanged: the time zone {zone} is not known well enough");
    };
    let moment = Moment { reach: REACH_FIRST, ..router.moment(known, now, None) };
    let mut work = Work::default();
    if let Some(splices) = router.narrow(text, &moment, &mut work) {
        let why = because(&router.reasons(text, &moment, &mut work));
        let new = edit::apply(text, &splices).unwrap_or_default();
        let page = match work.page_rows {
            Some(rows) => format!("; sent once more as it is unless {rows} rows come"),
            None => String::new(),
        };
        return format!("narrowed in time zone {zone}; {why}; sent as: {new}{page}");
    }
    match router.prepare(text, &[], &moment) {
        Some(prepared) => {
            let why = because(&prepared.reasons(&router, &moment));
            format!("narrowed at each Bind; {why}; prepared as: {}", prepared.text())
        }
        None => "forwarded unchanged: no condition implies a range of a partition key that PostgreSQL would not see \
                 itself, or something in it is in doubt"
            .to_owned(),
    }
}

fn because(reasons: &[crate::route::narrow::Reason]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
