#!/usr/bin/env bash
# Installs what the clients need, into tests/clients/.cache (which git ignores); run again, it does only what is missing.
# Debian packages are installed only where a tool is absent and this runs as root.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD cache=$PWD/.cache
mkdir -p "$cache"

# One installation at a time: tests of several drivers may ask for it together.
exec 9> "$cache/lock"
flock 9

packages=()
need() { # what to test for, Debian package
  eval "$1" > /dev/null 2>&1 || packages+=("$2")
}
need 'command -v psql' postgresql-client
need 'command -v gcc' gcc
need 'command -v make' make
need 'test -e "$(pg_config --includedir)/libpq-fe.h"' libpq-dev
need 'python3 -m venv --help && python3 -m ensurepip --version' python3-venv
need 'command -v node' nodejs
need 'command -v npm' npm
need 'java --list-modules | grep -q jdk.compiler' default-jdk-headless
need 'test -e /usr/share/java/postgresql.jar' libpostgresql-jdbc-java
need 'command -v perl' perl-base
need "ruby -e 'require %(pg)'" ruby-pg
need "ruby -e 'require %(active_record)'" ruby-activerecord
if [ "${#packages[@]}" -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
    echo "install.sh: missing: ${packages[*]} (Debian names). Install them and run this again." >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" > "$cache/apt.log" 2>&1 ||
    { tail -20 "$cache/apt.log" >&2; exit 1; }
fi

# Runs a step unless it has been run with these very inputs: step NAME "INPUT FILES" COMMAND…
step() {
  local name=$1 inputs=$2 sum
  shift 2
  sum=$(cat $inputs | sha256sum)
  if [ "$(cat "$cache/$name.done" 2> /dev/null)" = "$sum" ]; then return; fi
  echo "clients: installing $name"
  "$@"
  echo "$sum" > "$cache/$name.done"
}

python_packages() {
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$here/python/requirements.txt"
}
node_packages() {
  mkdir -p "$cache/node"
  cp "$here/node/package.json" "$here/node/package-lock.json" "$cache/node/"
  # The packages are plain JavaScript: their install scripts have nothing to do.
  (cd "$cache/node" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
}
# Prisma's client is generated from the schema; the engine that changes databases is not needed, nor fetched.
orm_packages() {
  mkdir -p "$cache/orm"
  cp "$here/orm/package.json" "$here/orm/package-lock.json" "$here/orm/schema.prisma" "$cache/orm/"
  (cd "$cache/orm" && npm ci --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error &&
    PRISMA_SCHEMA_ENGINE_BINARY=/bin/true CHECKPOINT_DISABLE=1 npx --no-install prisma generate --schema schema.prisma > prisma.log 2>&1 ||
    { cat prisma.log >&2; exit 1; })
}
c_client() {
  mkdir -p "$cache/c"
  gcc -std=gnu11 -O1 -g -Wall -Wextra -Werror -I"$(pg_config --includedir)" c/libpq_client.c c/pipeline.c c/talk.c \
    -o "$cache/c/libpq_client" -L"$(pg_config --libdir)" -lpq -pthread
}

# Most of this is waiting for the network, while the Rust client below is work for the processor.
step orm 'orm/package-lock.json orm/schema.prisma' orm_packages &
orm=$!
step python python/requirements.txt python_packages
step node node/package-lock.json node_packages
step c 'c/libpq_client.c c/pipeline.c c/talk.c c/talk.h' c_client
step rust 'rust/Cargo.lock rust/Cargo.toml rust/src/talk.rs rust/src/tokio_postgres_client.rs rust/src/sqlx_client.rs' \
  env CARGO_TARGET_DIR="$cache/rust" cargo build --locked --quiet --manifest-path rust/Cargo.toml
wait "$orm"
