# Shared by deploy/quickstart.sh, deploy/docker/build.sh and tests/run.sh: what a bare Debian 12 or 13 needs before Python
# can take over. To be sourced. Every function may be called again: it looks first, and acts only on what is missing.
# Not here: Python (python.sh), the container engine (engine.sh), and anything that Dayfly's own commands do (images, the service, clusters).
# shellcheck shell=bash disable=SC2034

HOME=${HOME:-~}
PATH=$PATH:/usr/sbin:/sbin   # an ordinary user's path lacks them, and dockerd is there
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$REPO/.venv
CACHE_DIR=${DAYFLY_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/dayfly}
STATE_DIR=${DAYFLY_STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/dayfly}

# What runs clusters; what bakes images (compilers live in build roots, not here); what builds and runs the lab stack;
# what the tests need besides. docker-compose is version 1 on Debian 12 and version 2 later, with the same command.
RUNTIME_PACKAGES=(ca-certificates iproute2 iptables openssh-client procps)
BAKE_PACKAGES=(mmdebstrap debian-archive-keyring qemu-utils e2fsprogs cpio lz4)
LAB_PACKAGES=(ca-certificates debian-archive-keyring docker-compose mmdebstrap python3 python3-venv)
TEST_PACKAGES=(busybox-static git)

say() { printf '%s\n' "$@"; }   # one line an argument
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

is_root() { [[ $EUID -eq 0 ]]; }

need_root() {
    is_root || die "run this as root: it installs packages and makes root file systems"
    command -v apt-get >/dev/null || die "this needs Debian 12 or 13 (or a relative with apt)"
}

# clock: seconds since the epoch, with a fraction, for since.
clock() { printf '%s' "$EPOCHREALTIME"; }
# since START: seconds passed since a clock, one decimal.
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

# --- parts, and what a signal does to them

GRACE=60   # seconds from SIGTERM to SIGKILL: what is interrupted may clean up
CHILD=     # the pid that `limited` waits for
SIGNAL=    # the signal that ends this script; empty otherwise
PARTS=()
PART=

# part NAME COMMAND…: run a part, say how long it took; a failing part ends the script with its name.
part() {
    local name=$1 began status=0; shift
    began=$(clock)
    PART=$name
    say "==> $name"
    "$@" || status=$?
    [[ $status -eq 0 ]] || die "$name failed after $(since "$began") s (exit code $status)"
    PART=
    say "    $name: $(since "$began") s"
    PARTS+=("$(printf '%-42s %8s s' "$name" "$(since "$began")")")
}

# limited SECONDS COMMAND…: an external command with a time limit, which a signal to this script interrupts: bash runs a
# trap only when its foreground command has ended, but at once while it waits for a background one.
limited() {
    local seconds=$1 status=0; shift
    timeout --kill-after="$GRACE" "$seconds" "$@" &
    CHILD=$!
    wait "$CHILD" || status=$?
    CHILD=
    case $status in
        124) say "$* did not end within $seconds s" >&2 ;;
        137) say "$* was killed: it did not end within $seconds s, or memory ran out (dmesg says)" >&2 ;;
    esac
    return "$status"
}

# From here on SIGINT, SIGTERM and SIGHUP end the script through its EXIT trap, with the exit code of that signal.
exit_on_signals() {
    trap 'SIGNAL=SIGINT; exit 130' INT
    trap 'SIGNAL=SIGTERM; exit 143' TERM
    trap 'SIGNAL=SIGHUP; exit 129' HUP
}

# For EXIT traps: ends what `limited` waits for. timeout hands SIGTERM on, and sends SIGKILL after GRACE seconds. Its process
# group has what the command started; whatever of that outlives the command is killed.
end_child() {
    [[ -n $CHILD ]] || return 0
    # Hidden is only that it has ended by itself meanwhile. How it ends is of no interest: we ended it.
    kill "$CHILD" 2>/dev/null || true
    wait "$CHILD" || true
    # Hidden is only that nothing is left of the group.
    kill -KILL -- "-$CHILD" 2>/dev/null || true
    CHILD=
}

# end_process PID SECONDS: SIGTERM, and SIGKILL where that does not end it in time. PID is a child of this shell.
end_process() {
    local pid=$1 tries
    # Hidden is only that there is no such process: it has ended.
    kill "$pid" 2>/dev/null || return 0
    for ((tries = 0; tries < $2 * 10; tries++)); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    say "process $pid does not end within $2 s of SIGTERM: killed" >&2
    kill -KILL "$pid" 2>/dev/null
    return 1
}

# --- Debian packages

is_installed() {
    # dpkg-query complains about a package that it has never heard of; that is the answer "no".
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Sets MISSING to those of the packages that are not installed.
find_missing() {
    local package
    MISSING=()
    for package; do is_installed "$package" || MISSING+=("$package"); done
}

APT_LOG=   # the file of what apt-get update said in this run; empty before

# An archive that cannot be reached is only a warning of apt-get update, and other sources may do: what it said is kept, and
# shown if a package is then missing.
update_apt() {
    local log
    [[ -z $APT_LOG ]] || return 0
    log=$(mktemp) || return
    if ! limited 600 apt-get update -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 >"$log" 2>&1; then
        explain_apt "$log"
        return 1
    fi
    APT_LOG=$log
}

# Whether apt's sources have a package of that name.
apt_knows() { command -v apt-cache >/dev/null && [[ -n $(apt-cache madison "$1") ]]; }

install_packages() {
    local log options
    find_missing "$@"
    [[ ${#MISSING[@]} -gt 0 ]] || return 0
    say "    installing: ${MISSING[*]}"
    update_apt || return
    log=$(mktemp) || return
    # --no-remove: an engine of another vendor is not to be replaced by Debian's.
    options=(install --yes -q --no-install-recommends --no-remove -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300
        -o Dpkg::Use-Pty=0)
    if limited 1800 apt-get "${options[@]}" --download-only "${MISSING[@]}" >"$log" 2>&1 \
        && install_downloaded "${options[@]}" "${MISSING[@]}" >"$log" 2>&1; then
        rm -f "$log"
        return
    fi
    explain_apt "$log"
    return 1
}

# In the foreground, in a process group of its own (timeout's): a signal to this script waits for it, because packages that
# are half configured would be in the way of every later apt-get.
install_downloaded() { DEBIAN_FRONTEND=noninteractive timeout 1800 apt-get "$@" </dev/null; }

# explain_apt LOG: apt's own words, and what to do about them in one sentence.
explain_apt() {
    local words
    words=$(tail -n 30 "$1")
    case $words in
        *"nable to locate"* | *"no installation candidate"* | *"Failed to fetch"*)
            # Where apt-get update had nothing to complain about, grep finds nothing.
            if [[ -n $APT_LOG ]]; then words+=$'\n'$(grep -E '^(W|E|Err)[:0-9]' "$APT_LOG" | tail -n 20); fi ;;
    esac
    say "$words" "(apt-get's whole output: $1)" >&2
    case $words in
        *"No space left on device"* | *"enough free space"*)
            say "the disk is full: free some space ($(free_space /var/cache/apt), $(free_space /usr)), then start again" ;;
        *"Could not get lock"* | *"Unable to acquire the dpkg"*)
            say "another program installs packages: wait until it has ended, then start again" ;;
        *"Proxy Authentication"* | *"from proxy"* | *" 407 "*)
            say "apt cannot use its proxy: set Acquire::http::Proxy in /etc/apt/apt.conf.d, with its user and password" ;;
        *"emporary failure resolving"* | *"ould not resolve"* | *"ould not connect"* | *"nable to connect"* \
            | *"onnection failed"* | *"onnection timed out"* | *"onnection refused"* | *"Failed to fetch"*)
            say "apt's archive cannot be reached: see the sources in /etc/apt, and this machine's network;" \
                "where a proxy is needed, set Acquire::http::Proxy in /etc/apt/apt.conf.d" ;;
        *"nable to locate package"* | *"no installation candidate"*)
            say "apt's sources lack a package: they need the section main of Debian 12 or 13 (see /etc/apt)" ;;
        *"dpkg was interrupted"*)
            say "an earlier installation was cut off: run dpkg --configure -a, then start again" ;;
    esac >&2
}

# free_space FOLDER: "1.2G free at FOLDER", of its nearest parent where it does not exist.
free_space() {
    local folder=$1
    while [[ ! -e $folder ]]; do folder=$(dirname "$folder"); done
    printf '%s free at %s' "$(df -h --output=avail "$folder" | tail -n 1 | tr -d ' ')" "$1"
}

# Some machines have a kubectl of another package at the same path; Debian's would then break dpkg half-way.
install_kubectl() { command -v kubectl >/dev/null || install_packages kubernetes-client; }

install_postgresql() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && return
    local clusters=
    if command -v pg_lsclusters >/dev/null; then clusters=$(pg_lsclusters --no-header) || return; fi
    install_packages postgresql || return
    # The package makes and starts a cluster of its own. We need the programs only.
    if [[ -z $clusters ]]; then
        clusters=$(pg_lsclusters --no-header) || return
        while read -r version name _; do
            [[ -z $version ]] || pg_dropcluster --stop "$version" "$name" || return
        done <<<"$clusters"
    fi
}
