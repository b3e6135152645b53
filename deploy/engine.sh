# The container engine as the shell scripts need it: found, installed, started, waited for. To be sourced after lib.sh.
# Not here: what Dayfly does with an engine, and whether it will do (`dayfly doctor`).
# shellcheck shell=bash disable=SC2034

# Dayfly's own setting holds for Docker's command, too.
if [[ -n ${DAYFLY_DOCKER_HOST:-} ]]; then export DOCKER_HOST=$DAYFLY_DOCKER_HOST; fi

STARTED_ENGINE=     # the pid of an engine that we started ourselves and may stop; empty otherwise
ENGINE_IS_UP=       # whether that one has answered
ENGINE_SAYS=        # the last words of Docker's command when the engine did not answer
ENGINE_PATIENCE=60  # seconds from the engine's start to its first answer

# Asks for the version of the server: unlike `docker info`, which ends with 0 although the server did not answer.
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

# Whether an engine is named that is not the default one.
names_engine() { [[ $(engine_address) != "$DEFAULT_ENGINE" ]]; }

# The path of the socket that Docker's command uses; empty where it is no file (tcp://, ssh://).
engine_socket() { engine_address | sed -n 's,^unix://,,p'; }

# The package that has Docker's command: up to Debian 12 it is a part of the engine's. An engine without it comes from a
# later Debian, whatever apt has been told so far.
client_package() { if apt_knows docker-cli || is_installed docker.io; then say docker-cli; else say docker.io; fi; }

# Whether an engine is on this machine, or named: whatever its state, no other one is installed beside it.
has_engine() { names_engine || [[ -S $(engine_socket) ]] || command -v dockerd >/dev/null; }

# What apt-get has to install so that there is an engine and its command, one package a line.
engine_packages() {
    {
        has_engine || say docker.io
        command -v docker >/dev/null || client_package
    } | sort -u
}

# ensure_engine LOG: an engine that answers. Debian's where there is none; started by systemd where systemd runs, else by
# hand, with its output in LOG.
ensure_engine() {
    local log=$1 packages
    if command -v docker >/dev/null && engine_answers; then return; fi
    if ! has_engine || ! command -v docker >/dev/null; then
        update_apt || return   # apt has to know whether the client is a package of its own
        mapfile -t packages < <(engine_packages)
        install_packages "${packages[@]}" || return
        hash -r
        if engine_answers; then return; fi
    fi
    if names_engine || [[ $ENGINE_SAYS == *"permission denied"* ]] || ! command -v dockerd >/dev/null; then
        explain_engine
        return 1
    fi
    # Where the kernel enforces AppArmor, the engine needs the parser to load its profile; its package only recommends it.
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
    setsid dockerd >"$1" 2>&1 </dev/null &
    STARTED_ENGINE=$!
}

await_engine() {
    local tries status=0
    say "    waiting until the engine answers"
    for ((tries = 1; tries <= ENGINE_PATIENCE; tries++)); do
        if engine_answers; then ENGINE_IS_UP=yes; return; fi
        # Hidden is only "no such process": its exit code is asked for next.
        if [[ -n $STARTED_ENGINE ]] && ! kill -0 "$STARTED_ENGINE" 2>/dev/null; then
            wait "$STARTED_ENGINE" || status=$?
            STARTED_ENGINE=
            show_engine_log "$1"
            say "dockerd ended at once (exit code $status); its last words are above" >&2
            return 1
        fi
        if ((tries % 10 == 0)); then say "    still waiting after $tries s: ${ENGINE_SAYS##*$'\n'}"; fi
        sleep "${ENGINE_PAUSE:-1}"
    done
    show_engine_log "$1"
    explain_engine
    return 1
}

# The engine's own last words, and what to do about them in one sentence.
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
            say "the engine refuses its configuration: mend /etc/docker/daemon.json as it says, then start again" ;;
    esac >&2
}

# Why the engine does not answer, in one sentence with what to do.
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

# The command that lets this user open the engine's socket, which belongs to GROUP.
group_command() { # GROUP
    if [[ $1 == root ]]; then
        say "sudo groupadd --force docker && sudo usermod -aG docker $(id -un)      # then restart the engine and log in again"
    else
        say "sudo usermod -aG $1 $(id -un)      # then log in again"
    fi
}

# Stops the engine if, and only if, ensure_engine started it by hand.
stop_own_engine() {
    [[ -n $STARTED_ENGINE ]] || return 0
    end_process "$STARTED_ENGINE" 30
    STARTED_ENGINE=
}
