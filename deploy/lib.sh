# Shared by deploy/quickstart.sh and tests/run.sh: what a bare Debian 12 needs before Python can take over.
# To be sourced. Every function may be called again: it looks first, and acts only on what is missing.
# Not here: anything that Dayfly's own commands do (images, the service, clusters).
# shellcheck shell=bash disable=SC2034

HOME=${HOME:-/root}
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$REPO/.venv
CACHE_DIR=${DAYFLY_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/dayfly}
STATE_DIR=${DAYFLY_STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/dayfly}
STARTED_ENGINE=   # the pid of an engine that we started ourselves and may stop; empty otherwise

# What runs clusters; what bakes images (compilers live in build roots, not here); what builds and runs the lab stack;
# what the tests need besides.
RUNTIME_PACKAGES=(ca-certificates iproute2 iptables openssh-client procps)
BAKE_PACKAGES=(mmdebstrap qemu-utils e2fsprogs cpio lz4)
LAB_PACKAGES=(ca-certificates docker-compose mmdebstrap python3 python3-venv)
TEST_PACKAGES=(busybox-static)

say() { printf '%s\n' "$@"; }   # one line an argument
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

need_root() {
    [[ $EUID -eq 0 ]] || die "run this as root: it installs packages and talks to the container engine"
    command -v apt-get >/dev/null || die "this needs Debian 12 (or a relative with apt)"
}

# clock: seconds since the epoch, with a fraction, for since.
clock() { printf '%s' "$EPOCHREALTIME"; }
# since START: seconds passed since a clock, one decimal.
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

# part NAME COMMAND…: run a part, say how long it took; a failing part ends the script with its name.
part() {
    local name=$1 began status=0; shift
    began=$(clock)
    say "==> $name"
    "$@" || status=$?
    [[ $status -eq 0 ]] || die "$name failed after $(since "$began") s (exit code $status)"
    say "    $name: $(since "$began") s"
    PARTS+=("$(printf '%-42s %8s s' "$name" "$(since "$began")")")
}
PARTS=()

install_packages() {
    local package missing=() log
    for package; do
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    say "    installing: ${missing[*]}"
    if [[ -z ${APT_UPDATED:-} ]]; then
        timeout 600 apt-get update -qq || { sleep 5; timeout 600 apt-get update -qq; } || return
        APT_UPDATED=yes
    fi
    log=$(mktemp)
    if ! DEBIAN_FRONTEND=noninteractive timeout 1800 apt-get install -y -qq --no-install-recommends \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "${missing[@]}" </dev/null >"$log" 2>&1; then
        say "apt-get's own words: $log" >&2
        tail -n 40 "$log" >&2
        return 1
    fi
    rm -f "$log"
}

# Some machines have a kubectl of another package at the same path; Debian's would then break dpkg half-way.
install_kubectl() { command -v kubectl >/dev/null || install_packages kubernetes-client; }

install_postgresql() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && return
    local clusters=
    if command -v pg_lsclusters >/dev/null; then clusters=$(pg_lsclusters --no-header); fi
    install_packages postgresql || return
    # The package makes and starts a cluster of its own. We need the programs only.
    if [[ -z $clusters ]]; then
        pg_lsclusters --no-header | while read -r version name _; do pg_dropcluster --stop "$version" "$name"; done
    fi
}

engine_answers() { timeout 10 docker info >/dev/null 2>&1; }

# ensure_engine LOG: an engine that answers. Debian's docker.io where there is none; started by systemd where systemd runs.
ensure_engine() {
    local log=$1 tries
    if command -v docker >/dev/null && engine_answers; then return; fi
    if ! command -v dockerd >/dev/null; then
        install_packages docker.io || return
        hash -r
        if engine_answers; then return; fi
    fi
    # Where the kernel enforces AppArmor, the engine needs the parser to load its profile; its package only recommends it.
    if [[ $(cat /sys/module/apparmor/parameters/enabled 2>/dev/null) == Y ]]; then install_packages apparmor || return; fi
    if [[ -d /run/systemd/system ]]; then
        systemctl start docker || return
    else
        say "    starting dockerd (log: $log)"
        setsid dockerd >"$log" 2>&1 </dev/null &
        STARTED_ENGINE=$!
    fi
    for ((tries = 0; tries < 60; tries++)); do
        if engine_answers; then return; fi
        if [[ -n $STARTED_ENGINE ]] && ! kill -0 "$STARTED_ENGINE" 2>/dev/null; then break; fi
        sleep 1
    done
    tail -n 20 "$log" 2>/dev/null >&2
    say "the engine does not answer" >&2
    return 1
}

# Stops the engine if, and only if, ensure_engine started it by hand.
stop_own_engine() {
    local tries
    [[ -n $STARTED_ENGINE ]] || return 0
    kill "$STARTED_ENGINE" 2>/dev/null || return 0
    for ((tries = 0; tries < 60; tries++)); do
        kill -0 "$STARTED_ENGINE" 2>/dev/null || return 0
        sleep 0.5
    done
    say "dockerd ($STARTED_ENGINE) does not stop" >&2
    return 1
}

_python_fits() { "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# find_python: sets PYTHON to a Python 3.11 or newer that can make virtual environments.
find_python() {
    local candidate
    for candidate in python3 /usr/bin/python3 install /usr/bin/python3; do
        if [[ $candidate == install ]]; then install_packages python3 python3-venv || return; continue; fi
        if _python_fits "$candidate"; then PYTHON=$candidate; return; fi
    done
    say "no Python 3.11 or newer with venv was found" >&2
    return 1
}

# ensure_venv [--group dev]: .venv with Dayfly itself (editable), its server and its bake tools; pip's options are added.
ensure_venv() {
    local stamp wanted
    stamp=$VENV/.dayfly-${2:-server}
    wanted="$(sha256sum <"$REPO/pyproject.toml") $REPO"
    if [[ -x $VENV/bin/dayfly && $(cat "$stamp" 2>/dev/null) == "$wanted" ]]; then return; fi
    if ! _python_fits "$VENV/bin/python"; then
        find_python || return
        "$PYTHON" -m venv --clear "$VENV" || return
    fi
    # Debian's pip knows no dependency groups.
    timeout 600 "$VENV/bin/python" -m pip install -qq --upgrade 'pip>=25.1' </dev/null || return
    (cd "$REPO" && timeout 1800 "$VENV/bin/python" -m pip install -qq --editable '.[server,bake]' "$@" </dev/null) || return
    printf '%s' "$wanted" >"$stamp"
}
