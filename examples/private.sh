# What the stories, and benches/crowd, share: a private PostgreSQL in a temporary folder, as another user if we are root, and an
# end that removes it. Sourced by each run.sh with: here (its folder), pgweir, port; connections if the server
# takes others than 100. PORT and the next two ports must be free. Leaves the server running on $port, and $work as
# the working folder; start_pgweir puts pgweir in front of it, on $pool_port.
# shellcheck shell=sh
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
    -o "-p $port -k $work -c listen_addresses=127.0.0.1 -c max_connections=${connections:-100}" start >/dev/null
export PGUSER=app PGPASSWORD=secret PGHOST=127.0.0.1 PGDATABASE=postgres

start_pgweir() {
    PGWEIR_UPSTREAM="postgres://app:secret@127.0.0.1:$port/postgres" "$pgweir" run \
        --listen "127.0.0.1:$pool_port" --admin "127.0.0.1:$admin_port" 2>"$work/pgweir.log" &
    pool=$!
    tries=0
    until psql -p "$pool_port" -Atc "SELECT 1" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" = 50 ]; then cat "$work/pgweir.log" >&2; exit 1; fi
        sleep 0.1
    done
}
