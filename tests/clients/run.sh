#!/usr/bin/env bash
# Holds the conversation with every driver, or with those named: run.sh URL session|transaction [names…]
# `run.sh --list` prints the names. The last line is the sum; the exit code is 0 only if every check of every driver passed.
set -u -o pipefail
cd "$(dirname "$0")"
cache=$PWD/.cache
all=(psql libpq psycopg3 psycopg2 asyncpg sqlalchemy node_pg postgresjs pgjdbc tokio_postgres sqlx)
if [ "${1:-}" = --list ]; then printf '%s\n' "${all[@]}"; exit 0; fi
url=${1:-} mode=${2:-}
case "$url/$mode" in
  ?*/session | ?*/transaction) shift 2 ;;
  *) echo "usage: $0 URL session|transaction [names…], or $0 --list" >&2; exit 2 ;;
esac

command_of() {
  case $1 in
    psql) echo psql/psql_client.sh ;;
    libpq) echo "$cache/c/libpq_client" ;;
    psycopg3 | psycopg2 | asyncpg | sqlalchemy) echo "$cache/venv/bin/python" "python/$1_client.py" ;;
    node_pg) echo env "NODE_PATH=$cache/node/node_modules" node node/pg_client.cjs ;;
    postgresjs) echo env "NODE_PATH=$cache/node/node_modules" node node/postgresjs_client.cjs ;;
    pgjdbc) echo java -XX:TieredStopAtLevel=1 -cp /usr/share/java/postgresql.jar java/PgjdbcClient.java ;;
    tokio_postgres | sqlx) echo "$cache/rust/debug/$1_client" ;;
    *) return 1 ;;
  esac
}

passed=0 failed=0
for name in "${@:-${all[@]}}"; do
  command=$(command_of "$name") || { echo "run.sh: no driver is called $name; there are: ${all[*]}" >&2; exit 2; }
  echo "# $name"
  log=$(mktemp)
  # A driver that waits for ever is a failed one; the slowest takes under a minute on two busy cores.
  PYTHONDONTWRITEBYTECODE=1 timeout -k 5 "${CLIENT_TIMEOUT:-300}" $command "$url" "$mode" 2>&1 | tee "$log"
  code=${PIPESTATUS[0]}
  last=$(tail -n 1 "$log")
  rm -f "$log"
  if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
    passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
    if [ "$code" -ne 0 ] && [ "${BASH_REMATCH[2]}" -eq 0 ]; then failed=$((failed + 1)); echo "not ok $name: ended with code $code"; fi
  else
    failed=$((failed + 1))
    echo "not ok $name: ended with code $code before its last line (124: out of time)"
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
