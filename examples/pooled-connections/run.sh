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
pool_port=$((port + 1))
admin_port=$((port + 2))
case $pgweir in /*) ;; *) pgweir=$PWD/$pgweir ;; esac
[ -x "$pgweir" ] || { echo "build pgweir first: cargo build --release" >&2; exit 1; }
for folder in "${PGWEIR_PG_BIN:-}" /usr/lib/postgresql/*/bin; do
    [ -x "$folder/initdb" ] && [ -x "$folder/pgbench" ] && PATH=$folder:$PATH
done
command -v pgbench >/dev/null && command -v initdb >/dev/null || {
    echo "PostgreSQL's programs were not found; on Debian: apt-get install postgresql" >&2
    exit 1
}

work=$(mktemp -d)
as=
if [ "$(id -u)" = 0 ]; then
    as="runuser -u postgres --"
    chown postgres "$work"
fi
pool=
stop() {
    if [ -n "$pool" ]; then kill "$pool" 2>/dev/null || true; fi
    $as pg_ctl -D "$work/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 1' HUP INT TERM

cd "$work"
echo "secret" >"$work/password"
[ -z "$as" ] || chown postgres "$work/password"
$as initdb -D "$work/data" -U app --pwfile="$work/password" --auth=scram-sha-256 >/dev/null
$as pg_ctl -D "$work/data" -w -l "$work/log" \
    -o "-p $port -k $work -c listen_addresses=127.0.0.1 -c max_connections=100" start >/dev/null
export PGUSER=app PGPASSWORD=secret PGHOST=127.0.0.1 PGDATABASE=postgres
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
PGWEIR_UPSTREAM="postgres://app:secret@127.0.0.1:$port/postgres" "$pgweir" run \
    --listen "127.0.0.1:$pool_port" --admin "127.0.0.1:$admin_port" 2>"$work/pgweir.log" &
pool=$!
tries=0
until psql -p "$pool_port" -Atc "SELECT 1" >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" = 50 ]; then cat "$work/pgweir.log" >&2; exit 1; fi
    sleep 0.1
done
visit "$pool_port" >"$work/after" 2>&1 &
load=$!
sleep $((seconds / 2))
most=$(backends)
wait "$load" || { cat "$work/after" >&2; exit 1; }
figures "$work/after"
echo "  $clients client connections, $most server connections"
[ "$most" -le 20 ] || { echo "more than 20 server connections" >&2; exit 1; }
