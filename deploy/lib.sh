# Shared by deploy/quickstart.sh, deploy/docker/build.sh and tests/run.sh: time limits, signals, Debian packages. To be
# sourced. Functions are idempotent: they check first, and install only what is missing.
# Not here: Python (python.sh), the container engine (engine.sh), images, the service and clusters (Dayfly's commands).
# shellcheck shell=bash disable=SC2034

HOME=${HOME:-~}
PATH=$PATH:/usr/sbin:/sbin   # dockerd's folders, which an ordinary user's PATH lacks
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$REPO/.venv
CACHE_DIR=${DAYFLY_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/dayfly}
STATE_DIR=${DAYFLY_STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/dayfly}

# Packages to run clusters, to bake images (compilers are in build roots), to build and run the lab stack, and for the
# tests, most of them for the tests' own mirror. docker-compose is version 1 on Debian 12 and version 2 later, with the
# same command.
RUNTIME_PACKAGES=(ca-certificates iproute2 iptables openssh-client procps)
BAKE_PACKAGES=(mmdebstrap debian-archive-keyring qemu-utils e2fsprogs cpio lz4)
LAB_PACKAGES=(ca-certificates debian-archive-keyring docker-compose mmdebstrap python3 python3-venv)
TEST_PACKAGES=(apt-utils busybox-static dosfstools e2fsprogs fdisk git gnupg gpgv mtools qemu-utils)

say() { printf '%s\n' "$@"; }   # one line an argument
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

is_root() { [[ $EUID -eq 0 ]]; }

need_root() {
    is_root || die "run this as root: it installs packages and builds root file systems"
    command -v apt-get >/dev/null || die "this needs Debian 12 or 13 (or a relative with apt)"
}

# clock: seconds since the epoch, with a fraction; the argument of `since`.
clock() { printf '%s' "$EPOCHREALTIME"; }
# since START: seconds since START, with one decimal.
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

# --- parts and signals

GRACE=60   # seconds from SIGTERM to SIGKILL, for the clean-up of an interrupted command
CHILD=     # the pid that `limited` waits for
PID_PENDING=  # not empty between the start of a command in the background and the note of its pid
SIGNAL=    # the signal that ends this script; empty otherwise
SIGNAL_CODE=
PARTS=()
PART=

# part NAME COMMAND…: runs a part and prints its duration; the failure of a part ends the script with the part's name.
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

# limited SECONDS COMMAND…: runs an external command with a time limit, in the background: bash runs a trap after the end of
# a foreground command, but at once while it waits for a background command.
limited() {
    local seconds=$1 status=0; shift
    PID_PENDING=yes
    timeout --kill-after="$GRACE" "$seconds" "$@" &
    CHILD=$!
    pid_noted
    wait "$CHILD" || status=$?
    CHILD=
    case $status in
        124) say "$* did not end within $seconds s" >&2 ;;
        137) say "$* was killed: it did not end within $seconds s, or memory ran out (see dmesg)" >&2 ;;
    esac
    return "$status"
}

# Makes SIGINT, SIGTERM and SIGHUP end the script through its EXIT trap, with the signal's exit code.
exit_on_signals() {
    trap 'on_signal SIGINT 130' INT
    trap 'on_signal SIGTERM 143' TERM
    trap 'on_signal SIGHUP 129' HUP
}

on_signal() { # name, exit code
    SIGNAL=$1 SIGNAL_CODE=$2
    # The EXIT trap cannot end a command whose pid is not noted yet: pid_noted exits then.
    [[ -n $PID_PENDING ]] || exit "$SIGNAL_CODE"
}

# Right after the pid of a command in the background was noted, with PID_PENDING set before its start. Returns when the
# command receives signals.
pid_noted() {
    local deadline=$((SECONDS + 5))
    while loses_signals "$!" && ((SECONDS < deadline)); do :; done
    PID_PENDING=
    [[ -z $SIGNAL ]] || exit "$SIGNAL_CODE"
}

# loses_signals PID: whether the child is still a copy of this shell, with a handler of this shell's traps: the handler takes
# a signal, and nobody runs the trap. The child gives the handlers up a moment after its start. SIGHUP stands for all three.
loses_signals() {
    local key value caught=0
    [[ /proc/$1/exe -ef /proc/$$/exe ]] || return 1
    # To the end: bash gives back what `read` did not use by a seek, which fails where the child has ended meanwhile. The next
    # `read`, of any file, would get it. Hides only "no such file": the child has ended.
    while read -r key value; do [[ $key != SigCgt: ]] || caught=$value; done 2>/dev/null <"/proc/$1/status" || true
    ((0x$caught & 1))
}

# For EXIT traps: ends the command of `limited`. timeout forwards SIGTERM, and sends SIGKILL after GRACE seconds. Then the
# remaining processes of timeout's process group are killed.
end_child() {
    [[ -n $CHILD ]] || return 0
    # Hides only "no such process". The exit code does not matter: this script ended the command.
    kill "$CHILD" 2>/dev/null || true
    wait "$CHILD" || true
    # Hides only an empty group.
    kill -KILL -- "-$CHILD" 2>/dev/null || true
    CHILD=
}

# end_process PID SECONDS: sends SIGTERM, and SIGKILL after SECONDS. PID is a child of this shell.
end_process() {
    local pid=$1 tries
    # Hides only "no such process": it has ended.
    kill "$pid" 2>/dev/null || return 0
    for ((tries = 0; tries < $2 * 10; tries++)); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    say "process $pid did not end within $2 s of SIGTERM: killed" >&2
    kill -KILL "$pid" 2>/dev/null
    return 1
}

# --- Debian packages

is_installed() {
    # dpkg-query prints an error for an unknown package, which is not installed.
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Sets MISSING to the packages that are not installed.
find_missing() {
    local package
    MISSING=()
    for package; do is_installed "$package" || MISSING+=("$package"); done
}

APT_LOG=   # the file with the output of apt-get update; empty before its first run

# For an unreachable archive, apt-get update only warns, because other sources may suffice: keep its output, and show it if a
# package is missing.
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

# Whether apt's sources have a package with this name.
apt_knows() { command -v apt-cache >/dev/null && [[ -n $(apt-cache madison "$1") ]]; }

install_packages() {
    local log options
    find_missing "$@"
    [[ ${#MISSING[@]} -gt 0 ]] || return 0
    say "    installing: ${MISSING[*]}"
    update_apt || return
    log=$(mktemp) || return
    # --no-remove: Debian's engine must not replace another vendor's.
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

# In the foreground, in timeout's process group: a signal to this script waits for apt-get, because partly configured
# packages block every later apt-get.
install_downloaded() { DEBIAN_FRONTEND=noninteractive timeout 1800 apt-get "$@" </dev/null; }

# explain_apt LOG: prints the end of apt's output, and a sentence with the remedy.
explain_apt() {
    local words
    words=$(tail -n 30 "$1")
    case $words in
        *"nable to locate"* | *"no installation candidate"* | *"Failed to fetch"*)
            # grep fails if apt-get update printed no warning.
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
            say "an earlier installation was interrupted: run dpkg --configure -a, then start again" ;;
    esac >&2
}

# free_space FOLDER: "1.2G free at FOLDER", measured at the nearest existing parent.
free_space() {
    local folder=$1
    while [[ ! -e $folder ]]; do folder=$(dirname "$folder"); done
    printf '%s free at %s' "$(df -h --output=avail "$folder" | tail -n 1 | tr -d ' ')" "$1"
}

# Another package may own the path of kubectl; dpkg would fail on Debian's package then.
install_kubectl() { command -v kubectl >/dev/null || install_packages kubernetes-client; }

install_postgresql() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && return
    local clusters=
    if command -v pg_lsclusters >/dev/null; then clusters=$(pg_lsclusters --no-header) || return; fi
    install_packages postgresql || return
    # Drop the database cluster that the package creates and starts: only the programs are needed.
    if [[ -z $clusters ]]; then
        clusters=$(pg_lsclusters --no-header) || return
        while read -r version name _; do
            [[ -z $version ]] || pg_dropcluster --stop "$version" "$name" || return
        done <<<"$clusters"
    fi
}
