#!/usr/bin/env bash
# psql: the common conversation as one script, line by line against conversation.out; then cancel by Ctrl-C, and many
# psql at once. `result:` lines are what two runs are compared by, so nothing in them may differ from run to run.
set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
url=${1:-} mode=${2:-}
case "$url/$mode" in
  ?*/session | ?*/transaction) ;;
  *) echo "usage: $0 URL session|transaction" >&2; exit 2 ;;
esac
clients=${CLIENTS:-8} lookups=${LOOKUPS:-50}
schema=c_psql_$$
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 2
export PGAPPNAME=pgweir-clients PGCLIENTENCODING=UTF8 LC_ALL=C.UTF-8
unset PGTZ PGOPTIONS PGDATESTYLE
export OTHER_PSQL="psql -XqAt $url"
passed=0 failed=0

check() { # name got want
  echo "result: $1 = $2"
  if [ "$2" = "$3" ]; then
    passed=$((passed + 1)); echo "ok $1"
  else
    failed=$((failed + 1)); echo "not ok $1: got $2, want $3"
  fi
}

ask() { psql -XqAt "$url" -c "$1" 2>&1; }

# The conversation, with what may differ from run to run taken out.
conversation() {
  PGOPTIONS='-c statement_timeout=54321' psql -Xq "$url" -v schema="$schema" -v key=$(($$ * 1000)) -f "$here/conversation.sql" 2>&1 |
    sed -e "s/$schema/SCHEMA/g" -e 's/PID [0-9][0-9]*/PID nnn/' -e 's/^psql:[^ ]*: //'
}

many() {
  psql -Xq "$url" -c "create table $schema.lookup as select c * 1000 + n as id, format('owner %s/%s', c, n) as owner from generate_series(0, $clients - 1) c, generate_series(0, $lookups - 1) n"
  local pids=() me
  for ((me = 0; me < clients; me++)); do
    for ((n = 0; n < lookups; n++)); do
      echo "select id, current_setting('application_name'), owner from $schema.lookup where id = $((me * 1000 + n));"
    done | PGAPPNAME="client $me" psql -XqAt "$url" > "many.$me" 2>&1 &
    pids+=($!)
  done
  wait "${pids[@]}"
  local right=0
  for ((me = 0; me < clients; me++)); do
    for ((n = 0; n < lookups; n++)); do echo "$((me * 1000 + n))|client $me|owner $me/$n"; done | cmp -s - "many.$me" && right=$((right + 1))
  done
  check many.lookups "$right" "$clients"
}

# Ctrl-C while a query sleeps: psql sends the cancel itself, reports it and ends its script.
cancel() {
  local round marker pid got
  for round in 0 1 2; do
    marker=${schema}_sleep_$round
    printf '%s\n' 'select 4;' "select pg_sleep(60) /* $marker */;" 'select 5;' > sleep.sql
    # A shell without job control starts background jobs deaf to SIGINT, so perl hands it back to psql.
    perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' psql -XqAt "$url" -f sleep.sql > sleep.out 2>&1 &
    pid=$!
    for _ in $(seq 200); do
      [ "$(ask "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and query like '%$marker%'")" = 1 ] && break
      sleep 0.05
    done
    kill -INT $pid
    wait $pid
    got="$? $(sed 's/^psql:[^ ]*: //' sleep.out | sort | tr '\n' ' ')"
    check cancel.$round "$got" "3 4 Cancel request sent ERROR:  canceling statement due to user request "
  done
}

psql -Xq "$url" -c "create schema $schema" || { echo "0 passed, 1 failed"; exit 1; }
conversation > out
if [ -n "${PRINT_CONVERSATION:-}" ]; then cat out; fi
number=0
while IFS= read -r -u 3 want || [ -n "$want" ]; do
  number=$((number + 1))
  check "line.$number" "$(sed -n "${number}p" out)" "$want"
done 3< "$here/conversation.out"
check lines "$(wc -l < out)" "$(wc -l < "$here/conversation.out")"
cancel
many
psql -Xq "$url" -c "set client_min_messages = warning" -c "drop schema $schema cascade"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
