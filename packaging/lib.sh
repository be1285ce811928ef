# What scripts of this directory share; to be sourced.

# The program to try: LONGHAUL_BIN, or a release build.
program() {
  if [ -z "${LONGHAUL_BIN:-}" ]; then
    cargo build --release --locked --bin longhaul >&2
    LONGHAUL_BIN=$(cargo metadata --no-deps --format-version 1 |
      python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/release/longhaul
  fi
  realpath "$LONGHAUL_BIN"
}

# Installs the Debian package $2 unless there is a command $1.
need() {
  command -v "$1" >/dev/null || { apt-get update -qq && apt-get install -qq --yes "$2" >/dev/null; }
}

# A Debian root made once, with these packages besides the smallest set: root NAME PACKAGE,PACKAGE…
debian_root() {
  need debootstrap debootstrap
  local cache=${LONGHAUL_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/longhaul-tests}/root-$1 mirror
  if ! [ -e "$cache.complete" ]; then
    rm -rf "$cache"
    mkdir -p "$cache"
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
      grep -v '^#' | grep -oE 'https?://[^ ]+' | head -1)
    debootstrap --variant=minbase --include="$2" bookworm "$cache" "$mirror" >&2
    touch "$cache.complete"
  fi
  echo "$cache"
}

# A port that was free a moment ago.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Starts a PostgreSQL with its data in $1 on port $2, for everyone on this machine; stop_postgres ends it.
start_postgres() {
  need runuser util-linux
  postgres=${LONGHAUL_PG_BIN:-$(find /usr/lib/postgresql -name initdb -printf '%h\n' 2>/dev/null | sort -V | tail -1)}
  if [ -z "$postgres" ]; then
    apt-get update -qq && apt-get install -qq --yes postgresql >/dev/null
    postgres=$(find /usr/lib/postgresql -name initdb -printf '%h\n' | sort -V | tail -1)
  fi
  postgres_data=$1
  mkdir "$postgres_data"
  chown postgres: "$postgres_data"
  runuser -u postgres -- "$postgres/initdb" --no-sync -A trust -D "$postgres_data" >/dev/null
  runuser -u postgres -- "$postgres/pg_ctl" -s -w -D "$postgres_data" -l "$postgres_data/log" \
    -o "-p $2 -k '' -c listen_addresses=127.0.0.1" start >/dev/null
}
stop_postgres() {
  [ -z "${postgres_data:-}" ] || runuser -u postgres -- "$postgres/pg_ctl" -s -m immediate -D "$postgres_data" stop || true
}
