# Finds, installs and starts the container engine, and waits for it. To be sourced after lib.sh.
# Not here: whether Dayfly can use the engine (`dayfly doctor`).
# shellcheck shell=bash disable=SC2034

# Docker's command uses Dayfly's setting, too.
if [[ -n ${DAYFLY_DOCKER_HOST:-} ]]; then export DOCKER_HOST=$DAYFLY_DOCKER_HOST; fi

STARTED_ENGINE=     # the pid of the engine that this script started and may stop; empty otherwise
ENGINE_IS_UP=       # whether the started engine has answered
ENGINE_SAYS=        # the output of Docker's command when the engine did not answer
ENGINE_PATIENCE=60  # seconds from the engine's start to its first answer

# Requests the server's version: `docker info` exits with 0 although the server did not answer.
engine_answers() {
    local said status=0
    said=$(mktemp) || return
    limited 10 docker version --format '{{.Server.Version}}' >"$said" 2>&1 || status=$?
    ENGINE_SAYS=$(<"$said")
    rm -f "$said"
    return "$status"
}

has_systemd() { [[ -d /run/systemd/system ]]; }

# A kernel without AppArmor has no such file.
has_apparmor() { [[ $(cat /sys/module/apparmor/parameters/enabled 2>/dev/null) == Y ]]; }

DEFAULT_ENGINE=unix:///var/run/docker.sock

# The engine's address as Docker's command finds it: DOCKER_HOST, the current context, the default.
engine_address() {
    if [[ -n ${DOCKER_HOST:-} ]]; then
        say "$DOCKER_HOST"
    else
        docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null || say "$DEFAULT_ENGINE"
    fi
}

# Whether the environment or the context names an engine other than the default.
names_engine() { [[ $(engine_address) != "$DEFAULT_ENGINE" ]]; }

# The path of the socket that Docker's command uses; empty for tcp:// and ssh://.
engine_socket() { engine_address | sed -n 's,^unix://,,p'; }

# The package with Docker's command: up to Debian 12 the engine's package. An installed engine without the command is from a
# later Debian, even if apt does not know docker-cli yet.
client_package() { if apt_knows docker-cli || is_installed docker.io; then say docker-cli; else say docker.io; fi; }

# Whether an engine is installed or named, running or not: the scripts then install no other engine.
has_engine() { names_engine || [[ -S $(engine_socket) ]] || command -v dockerd >/dev/null; }

# The missing packages of an engine and its command, one a line.
engine_packages() {
    {
        has_engine || say docker.io
        command -v docker >/dev/null || client_package
    } | sort -u
}

# ensure_engine LOG: ensures an engine that answers; without an engine, installs Debian's. Starts it by systemd, or without
# systemd as a process with its output in LOG.
ensure_engine() {
    local log=$1 packages
    if command -v docker >/dev/null && engine_answers; then return; fi
    if ! has_engine || ! command -v docker >/dev/null; then
        update_apt || return   # the package lists show whether docker-cli exists
        mapfile -t packages < <(engine_packages)
        install_packages "${packages[@]}" || return
        hash -r
        if engine_answers; then return; fi
    fi
    if names_engine || [[ $ENGINE_SAYS == *"permission denied"* ]] || ! command -v dockerd >/dev/null; then
        explain_engine
        return 1
    fi
    # Under AppArmor, the engine needs the parser to load its profile; the engine's package only recommends the parser.
    if has_apparmor; then install_packages apparmor || return; fi
    start_engine "$log" && await_engine "$log"
}

start_engine() {
    if has_systemd; then
        say "    starting docker.service"
        systemctl start docker && return
        show_engine_log "$1"
        return 1
    fi
    say "    starting dockerd (log: $1)"
    PID_PENDING=yes
    setsid dockerd >"$1" 2>&1 </dev/null &
    STARTED_ENGINE=$!
    pid_noted
}

await_engine() {
    local tries status=0
    say "    waiting until the engine answers"
    for ((tries = 1; tries <= ENGINE_PATIENCE; tries++)); do
        if engine_answers; then ENGINE_IS_UP=yes; return; fi
        # Hides only "no such process": `wait` then returns the exit code.
        if [[ -n $STARTED_ENGINE ]] && ! kill -0 "$STARTED_ENGINE" 2>/dev/null; then
            wait "$STARTED_ENGINE" || status=$?
            STARTED_ENGINE=
            show_engine_log "$1"
            say "dockerd ended at once (exit code $status); its output is above" >&2
            return 1
        fi
        if ((tries % 10 == 0)); then say "    still waiting after $tries s: ${ENGINE_SAYS##*$'\n'}"; fi
        sleep "${ENGINE_PAUSE:-1}"
    done
    show_engine_log "$1"
    explain_engine
    return 1
}

# Prints the end of the engine's log, and a sentence with the remedy.
show_engine_log() {
    local words
    if has_systemd; then
        words=$(journalctl --unit docker --lines 20 --no-pager 2>&1)
    else
        words=$(tail -n 20 "$1" 2>&1)
    fi
    say "$words" >&2
    case $words in
        *"no space left on device"*)
            say "the disk is full: free some space ($(free_space /var/lib/docker)), then start again" ;;
        *"configur"*"/daemon.json"* | *"/daemon.json"*"configur"*)
            say "the engine refuses its configuration: correct /etc/docker/daemon.json, then start again" ;;
    esac >&2
}

# Prints why the engine does not answer, with the remedy.
explain_engine() {
    local socket
    socket=$(engine_socket)
    case $ENGINE_SAYS in
        *"permission denied"*)
            say "this user may not open the engine's socket $socket: $(group_command "$(socket_group)")" ;;
        *)
            say "${ENGINE_SAYS:-no answer}"
            if names_engine; then
                say "the engine at $(engine_address) does not answer: start it, or set DAYFLY_DOCKER_HOST (DOCKER_HOST) to another"
            elif ! command -v dockerd >/dev/null; then
                say "a client is here, but no engine answers at $socket: start the engine that belongs to it," \
                    "name its address in DOCKER_HOST, or install one (apt-get install docker.io)"
            else
                say "the engine does not answer at $socket: see why in its log (journalctl -u docker, or dockerd's output)"
            fi ;;
    esac >&2
}

socket_group() {
    local socket
    socket=$(engine_socket)
    if [[ -S $socket ]]; then stat --dereference --format=%G "$socket"; else say docker; fi
}

# The command that gives this user access to the engine's socket of group GROUP.
group_command() { # GROUP
    if [[ $1 == root ]]; then
        say "sudo groupadd --force docker && sudo usermod -aG docker $(id -un)      # then restart the engine and log in again"
    else
        say "sudo usermod -aG $1 $(id -un)      # then log in again"
    fi
}

# Stops the engine only if ensure_engine started it as a process.
stop_own_engine() {
    [[ -n $STARTED_ENGINE ]] || return 0
    end_process "$STARTED_ENGINE" 30
    STARTED_ENGINE=
}
