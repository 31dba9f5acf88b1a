//! What the server says of time: the offsets of the time zones in use, and whether somebody has given operators on
//! times another meaning. Knows how to ask, and not what the answers are for.

use super::ProbeError;
use super::catalog::{Reading, get};

/// The zones of this session, of the settings of databases and roles, and UTC. A zone's offset changes a few times
/// a year at most and stays for weeks, so that a look every five days sees each; what a zone has done by 2037 it goes on doing.
const ZONES: &str = "SELECT z.name, min(z.offset_s)::int4, max(z.offset_s)::int4 FROM ( \
        SELECT n.name, extract(epoch FROM (t AT TIME ZONE n.name) - (t AT TIME ZONE 'UTC')) AS offset_s \
        FROM (SELECT current_setting('TimeZone') AS name UNION SELECT 'UTC' \
            UNION SELECT split_part(c, '=', 2) FROM pg_db_role_setting s, unnest(s.setconfig) c \
                WHERE lower(c) LIKE 'timezone=%' LIMIT 20) n, \
            generate_series(timestamptz '1972-01-01 00:00+00', timestamptz '2038-01-01 00:00+00', \
                interval '120 hours') t \
    ) z GROUP BY z.name";

/// Comparison and arithmetic of times by somebody else than PostgreSQL.
const OPERATORS: &str = "SELECT EXISTS (SELECT FROM pg_operator \
    WHERE oprnamespace <> 'pg_catalog'::regnamespace \
        AND oprname IN ('=', '<', '<=', '>', '>=', '+', '-', '*', '/', '@>', '<@') \
        AND ARRAY[oprleft, oprright] && ARRAY['date', 'timestamp', 'timestamptz', 'interval', 'tstzrange', 'tsrange', \
            'daterange']::regtype[]::oid[])";

pub(super) async fn read(reading: &mut Reading<'_>) -> Result<(), ProbeError> {
    for row in &reading.part("offsets of time zones", ZONES, &[]).await? {
        reading.facts.zones.insert(get(row, 0)?, (get(row, 1)?, get(row, 2)?));
    }
    for row in &reading.part("operators", OPERATORS, &[]).await? {
        reading.facts.own_time_operators = get(row, 0)?;
    }
    Ok(())
}
