#!/bin/sh
# A page that asks once for a list and then once per row: what pgweir says about it, and how a build fails on it.
# Usage: run.sh [PGWEIR]. Needs PostgreSQL's programs and a built pgweir; starts a private server in a temporary
# folder, as another user if we are root, and removes it at the end.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
pgweir=${1:-$here/../../target/release/pgweir}
port=${PORT:-54329}
# shellcheck source=../private.sh
. "$here/../private.sh"

psql -p "$port" -q <<'SQL'
CREATE TABLE facilities (id int PRIMARY KEY, name text);
CREATE TABLE emission_sources (id int PRIMARY KEY, facility_id int REFERENCES facilities, name text);
INSERT INTO facilities SELECT n, 'facility ' || n FROM generate_series(1, 500) n;
INSERT INTO emission_sources SELECT n, 1 + n * 7919 % 500, 'source ' || n FROM generate_series(1, 2000) n;
SQL
start_pgweir

# psql plays the application: \gexec runs each row that a query returns as a query of its own.
cat >"$work/page.sql" <<'SQL'
SELECT id, facility_id, name FROM emission_sources ORDER BY id DESC LIMIT 50
\g /dev/null
SELECT format('SELECT id, name FROM facilities WHERE id = %s', facility_id)
FROM (SELECT facility_id FROM emission_sources ORDER BY id DESC LIMIT 50) AS page
\gexec
SQL
PGAPPNAME=page psql -p "$pool_port" -Xq -f "$work/page.sql" >/dev/null

admin="--admin 127.0.0.1:$admin_port"
echo "What pgweir saw:"
# shellcheck disable=SC2086 # Two words.
"$pgweir" report nplus1 $admin
echo "The statements behind it:"
# shellcheck disable=SC2086
"$pgweir" report queries $admin --limit 3 --sort calls
echo "As a step of a build, with --fail-on proved:"
# shellcheck disable=SC2086
if "$pgweir" report nplus1 $admin --fail-on proved >/dev/null 2>&1; then
    echo "  no loop was proved, which is wrong here" >&2
    exit 1
fi
echo "  exit code 1, the build fails"
