#!/bin/sh
# pgbench as it is, by turns straight to PostgreSQL, through PgBouncer and through pgweir: look-ups of a crowd (-S), and
# TPC-B with the proxy's CPU time, which look-ups together must not raise. Prints one line per run; compare medians.
#     sh benches/crowd/run.sh [rounds] [seconds]
# It needs a built pgweir (cargo build --release), PostgreSQL's programs, and PgBouncer, which is left out otherwise.
set -eu
rounds=${1:-3}
seconds=${2:-3}
here=$(cd "$(dirname "$0")" && pwd)
pgweir=${PGWEIR:-$here/../../target/release/pgweir}
port=${PORT:-7600}
connections=300
# shellcheck source=examples/private.sh
. "$here/../../examples/private.sh"
bouncer_port=$((port + 3))
off_port=$((port + 4))

pgbench -q -i -s 10 -p "$port" >/dev/null 2>&1
start_pgweir
on=$pool
mkdir "$work/off"
echo "coalesce: {enabled: false}" >"$work/off/coalesce.yaml"
PGWEIR_UPSTREAM="postgres://app:secret@127.0.0.1:$port/postgres" "$pgweir" run --rules "$work/off" \
    --listen "127.0.0.1:$off_port" --admin "127.0.0.1:$((port + 5))" 2>"$work/off.log" &
off=$!
bouncer=
end() {
    kill "$off" 2>/dev/null || true
    if [ -n "$bouncer" ]; then kill "$bouncer" 2>/dev/null || true; fi
    stop
}
trap end EXIT
PATH=$PATH:/usr/sbin
if command -v pgbouncer >/dev/null; then
    echo '"app" "secret"' >"$work/users.txt"
    printf '%s\n' "[databases]" "postgres = host=127.0.0.1 port=$port" "[pgbouncer]" "listen_addr = 127.0.0.1" \
        "listen_port = $bouncer_port" "unix_socket_dir =" "auth_type = scram-sha-256" "auth_file = $work/users.txt" \
        "pool_mode = transaction" "max_client_conn = 500" "default_pool_size = 20" "log_connections = 0" \
        "log_disconnections = 0" >"$work/pgbouncer.ini"
    $as "$(command -v pgbouncer)" -q "$work/pgbouncer.ini" 2>/dev/null &
    bouncer=$!
fi
sleep 1

# tps of one run: mode, clients, port
look_ups() {
    pgbench -n -S -M "$1" -c "$2" -T "$seconds" -p "$3" 2>/dev/null | awk '/^tps/ {printf "%d\n", $3}'
}

for kind in simple:32 extended:32 prepared:32 simple:128 simple:1; do
    mode=${kind%:*} clients=${kind#*:}
    for _ in $(seq "$rounds"); do
        # PgBouncer before 1.21 has no prepared statements in transaction mode.
        other=
        if [ -n "$bouncer" ] && [ "$mode" != prepared ]; then other="pgbouncer $(look_ups "$mode" "$clients" "$bouncer_port")"; fi
        echo "look-ups $mode $clients clients, tps: direct $(look_ups "$mode" "$clients" "$port") $other pgweir $(look_ups "$mode" "$clients" "$pool_port")"
    done
done

# Nanoseconds of a process's CPU time per query of TPC-B, which has seven: mode, port, process
per_query() {
    before=$(awk '{print $14 + $15}' "/proc/$3/stat")
    done=$(pgbench -n -M "$1" -c 8 -T "$seconds" -p "$2" 2>/dev/null | awk '/actually processed/ {print int($NF)}')
    after=$(awk '{print $14 + $15}' "/proc/$3/stat")
    echo $(((after - before) * 10000000 / (done * 7)))
}

for mode in simple prepared; do
    for _ in $(seq "$rounds"); do
        with=$(per_query "$mode" "$pool_port" "$on")
        without=$(per_query "$mode" "$off_port" "$off")
        echo "TPC-B $mode 8 clients, ns of proxy CPU per query: with $with without $without"
    done
done
