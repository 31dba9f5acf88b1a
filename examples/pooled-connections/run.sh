#!/bin/sh
# 200 application connections on a PostgreSQL that takes 100: directly, then through pgweir on 20 of them.
# Usage: run.sh [PGWEIR]. Needs PostgreSQL's programs (pgbench too) and a built pgweir; starts a private
# server in a temporary folder, as another user if we are root, and removes it at the end.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
pgweir=${1:-$here/../../target/release/pgweir}
clients=${CLIENTS:-200}
seconds=${SECONDS_EACH:-8}
port=${PORT:-54329}
# shellcheck source=../private.sh
. "$here/../private.sh"
pgbench -p "$port" -i -q >/dev/null 2>&1

# What a web application does: a look-up, then 50 ms of something else.
cat >"$work/visit.sql" <<'SQL'
\set id random(1, 100000)
SELECT abalance FROM pgbench_accounts WHERE aid = :id;
\sleep 50 ms
SQL
visit() {
    pgbench -n -p "$1" -M prepared -f "$work/visit.sql" -c "$clients" -j 2 -T "$seconds"
}
backends() {
    psql -p "$port" -Atc "SELECT count(*) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
}
figures() {
    grep -E "^(tps|number of transactions actually|latency average)" "$1" | sed 's/^/  /'
}

echo "Before: $clients connections straight to PostgreSQL, which takes 100."
if visit "$port" >"$work/before" 2>&1; then
    figures "$work/before"
else
    grep -m 1 -o "FATAL:.*" "$work/before" | sed 's/^/  /'
fi

echo "After: the same through pgweir; only the port is another one."
start_pgweir
visit "$pool_port" >"$work/after" 2>&1 &
load=$!
sleep $((seconds / 2))
most=$(backends)
wait "$load" || { cat "$work/after" >&2; exit 1; }
figures "$work/after"
echo "  $clients client connections, $most server connections"
[ "$most" -le 20 ] || { echo "more than 20 server connections" >&2; exit 1; }
