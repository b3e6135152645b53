#!/usr/bin/env bash
# From a bare Debian 12 or 13, with root, apt and PyPI, to a running service and a ready cluster.
#
#   deploy/quickstart.sh                a Kubernetes cluster called `demo`: one control plane, one worker
#   deploy/quickstart.sh --image bare   the quick path: two plain virtual machines, `demo-bare`, no Kubernetes
#   deploy/quickstart.sh --image bare --pull REGISTRY/REFERENCE    the image from a registry instead of a bake
#
# Every user of this host may use the service that it starts, without a token. DAYFLY_LOOPBACK_IS_OPERATOR=false has tokens
# required, and logs the caller in.
# For an ordinary user, and for root without apt, it installs no system packages: it first lists missing ones with the
# commands that install them (exit code 3).
# Exit codes: 0, the cluster is ready; 1, a part failed; 3, system packages are missing; 129, 130, 143, a signal.
# A repeated run keeps existing parts and creates missing ones.
set -euo pipefail
export LC_ALL=C.UTF-8
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=python.sh
source "$(dirname "${BASH_SOURCE[0]}")/python.sh"
# shellcheck source-path=SCRIPTDIR source=engine.sh
source "$(dirname "${BASH_SOURCE[0]}")/engine.sh"

IMAGE=k8s-debian
PULL=
STARTING=   # the pid of a started service that has not answered yet

parse() {
    while [[ $# -gt 0 ]]; do
        case $1 in
            --image) IMAGE=${2:?--image takes the name of a recipe}; shift 2 ;;
            --pull) PULL=${2:?--pull takes REGISTRY/REFERENCE of an image}; shift 2 ;;
            -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
            *) die "unknown option $1; see --help" ;;
        esac
    done
    NAME=demo
    [[ $IMAGE == k8s-debian ]] || NAME=demo-$IMAGE
    export DAYFLY_LOOPBACK_IS_OPERATOR=${DAYFLY_LOOPBACK_IS_OPERATOR:-true}
    export DAYFLY_URL=${DAYFLY_URL:-http://${DAYFLY_LISTEN_ADDRESS:-127.0.0.1}:${DAYFLY_LISTEN_PORT:-8700}}
    PID_FILE=$STATE_DIR/serve.pid
    LOG=$STATE_DIR/serve.log
    KUBECONFIG_FILE=$HOME/.kube/dayfly-$NAME.yaml
}

main() {
    parse "$@"
    trap 'on_exit $?' EXIT
    exit_on_signals
    say "Dayfly: a container engine, $VENV, the image $IMAGE, a service on $DAYFLY_URL, a cluster called $NAME."
    can_install || check_what_is_there
    (umask 077; mkdir -p "$STATE_DIR" "$CACHE_DIR")
    if can_install; then part "system packages" install_system_packages; fi
    part "container engine" ensure_engine "$STATE_DIR/dockerd.log"
    part "virtual environment" ensure_venv
    PATH=$VENV/bin:$PATH
    part "doctor" ask_doctor
    part "image $IMAGE" get_image
    part "service" start_service
    part "login" log_in
    part "cluster $NAME" create_cluster
    part "access" show_access
    summary
}

on_exit() {
    local status=$1
    set +e   # a failed step of the clean-up prints its error, and the clean-up continues
    trap - EXIT
    trap '' INT TERM HUP   # ignore further signals: the clean-up is bounded
    if [[ -n $SIGNAL ]]; then say "error: interrupted by $SIGNAL${PART:+ during: $PART}" >&2; fi
    end_child
    # Stop a service or an engine that has not answered; those that have answered keep running.
    if [[ -n $STARTING ]]; then end_process "$STARTING" 20; rm -f "$PID_FILE"; fi
    if [[ -z $ENGINE_IS_UP ]]; then stop_own_engine; fi
    exit "$status"
}

# --- without root, or without apt

can_install() { is_root && command -v apt-get >/dev/null; }

# Lists missing system packages with one command that installs them; ends the script if a required one is missing.
check_what_is_there() {
    local missing=() needed=() wanted=() packages=() commands=()
    if ! look_for_python; then missing+=("Python 3.11 or newer with venv"); needed+=(python3 python3-venv); fi
    if ! command -v docker >/dev/null || ! engine_answers; then
        has_engine || missing+=("a container engine")
        command -v docker >/dev/null || missing+=("Docker's command")
        mapfile -t packages < <(engine_packages)
        needed+=("${packages[@]}")
        check_access
    fi
    if [[ $IMAGE == bare ]]; then
        command -v ssh >/dev/null || wanted+=(openssh-client)
    else
        command -v kubectl >/dev/null || wanted+=(kubernetes-client)
    fi
    command -v curl >/dev/null || wanted+=(curl)
    packages=("${needed[@]}" "${wanted[@]}")
    if [[ ${#packages[@]} -gt 0 ]]; then commands=("$(install_command "${packages[@]}")" "${commands[@]}"); fi
    if [[ ! -w $REPO && ! -x $VENV/bin/dayfly ]]; then
        missing+=("a clone that $(id -un) may write to: $REPO is not one")
    fi
    if [[ ${#missing[@]} -gt 0 ]]; then
        {
            say "error: missing:" "${missing[@]/#/  - }"
            if [[ ${#commands[@]} -gt 0 ]]; then say "nothing is changed yet; to install:" "${commands[@]/#/  }"; fi
            say "then start the quickstart again"
        } >&2
        exit 3
    fi
    if [[ ${#wanted[@]} -gt 0 ]]; then say "    optional, to use the cluster: ${commands[*]}"; fi
}

# Adds to `missing` and `commands` why the engine does not answer this user, and the remedy.
check_access() {
    local socket
    socket=$(engine_socket)
    if [[ $ENGINE_SAYS == *"permission denied"* || ( -S $socket && ! -w $socket ) ]]; then
        missing+=("the right to open the engine's socket $socket")
        commands+=("$(group_command "$(socket_group)")")
    elif ! has_engine; then
        # The engine's package gives this group access to the engine's socket.
        is_root || [[ " $(id -nG) " == *" docker "* ]] || commands+=("$(group_command docker)")
    elif command -v docker >/dev/null; then
        missing+=("an engine that answers")
        explain_engine
        if ! names_engine && command -v dockerd >/dev/null; then
            if has_systemd; then commands+=("sudo systemctl start docker"); else commands+=("sudo dockerd &"); fi
        fi
    fi
}

install_command() {
    if command -v apt-get >/dev/null; then
        say "sudo apt-get install $*"
    else
        say "install (package names may differ on this system): $*"
    fi
}

# --- the parts

install_system_packages() {
    local packages=("${RUNTIME_PACKAGES[@]}")
    if [[ -z $PULL ]]; then packages+=("${BAKE_PACKAGES[@]}"); fi
    command -v curl >/dev/null || packages+=(curl)   # for README's first session
    install_packages "${packages[@]}" || return
    if [[ $IMAGE != bare ]]; then install_kubectl; fi
}

ask_doctor() {
    local status=0
    limited 300 dayfly doctor || status=$?
    if [[ $status -ne 0 ]]; then
        say "this machine cannot run clusters yet: see the lines that begin with \"fail\"" >&2
    elif [[ -n $PULL ]] || { ! can_install && image_is_here; }; then
        say "    (this run bakes no image: the checks of bakes do not matter now)"
    fi
    return "$status"
}

image_is_here() { [[ -n $(docker image ls --quiet "dayfly/$IMAGE:latest") ]]; }

get_image() {
    if [[ -n $PULL ]]; then
        limited 3600 dayfly image pull "$PULL" || return
        if image_is_here; then return; fi
        say "$PULL is not an image of the recipe $IMAGE: set --image to the image's recipe" >&2
        return 1
    fi
    if ! can_install && image_is_here; then
        say "    using dayfly/$IMAGE:latest of the engine; to renew the image, run dayfly image bake $IMAGE"
        return
    fi
    if [[ $IMAGE == k8s-debian ]]; then
        say "    The first bake compiles Kubernetes from Debian's source, some 10 minutes on two cores;" \
            "    later bakes use $CACHE_DIR."
    fi
    limited 5400 dayfly image bake "$IMAGE"
}

# Prints the reason if the service does not answer.
ask_service() {
    "$VENV/bin/python" - "$DAYFLY_URL/healthz" 2>&1 <<'PYTHON'
import sys, urllib.request
try:
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=5)
except OSError as error:
    sys.exit(str(error))
PYTHON
}

start_service() {
    local tries reason
    if ask_service >/dev/null; then say "    a service answers already at $DAYFLY_URL"; return; fi
    PID_PENDING=yes
    setsid dayfly serve >>"$LOG" 2>&1 </dev/null &
    STARTING=$!
    pid_noted
    echo "$STARTING" >"$PID_FILE" || return
    if [[ $DAYFLY_LOOPBACK_IS_OPERATOR == true ]]; then
        say "    every user of this host may use the service without a token (DAYFLY_LOOPBACK_IS_OPERATOR=true)"
    fi
    say "    waiting until the service answers (log: $LOG)"
    for ((tries = 0; tries < 120; tries++)); do
        if reason=$(ask_service); then STARTING=; return; fi
        # Hides only "no such process": the log has the reason of its end.
        kill -0 "$STARTING" 2>/dev/null || break
        sleep 0.5
    done
    tail -n 20 "$LOG" >&2
    say "the service does not answer at $DAYFLY_URL ($reason); its output is above" >&2
    return 1
}

log_in() {
    local token=$STATE_DIR/operator-token
    # Hides why the service does not know the caller: `login` prints the same reason.
    if dayfly whoami >/dev/null 2>&1; then
        say "    no token is needed, or one is stored: see dayfly whoami"
    elif [[ -f $token ]]; then
        dayfly login <"$token" && rm "$token"
    else
        say "the service at $DAYFLY_URL wants a token: run dayfly login" >&2
        return 1
    fi
}

create_cluster() {
    # Hides why no cluster is shown: `create` prints the same reason.
    if dayfly cluster show "$NAME" >/dev/null 2>&1; then
        limited 1800 dayfly cluster show "$NAME" --wait ready
    else
        limited 1800 dayfly cluster create "$NAME" --image "$IMAGE" --workers 1 --wait
    fi
}

show_access() {
    if [[ $IMAGE == bare ]]; then
        if ! command -v ssh >/dev/null; then say "    ssh is not installed: the cluster is not tried"; return; fi
        limited 300 dayfly cluster ssh "$NAME" node01 -- uname -a
        return
    fi
    limited 60 dayfly cluster kubeconfig "$NAME" --output "$KUBECONFIG_FILE" || return
    if ! command -v kubectl >/dev/null; then say "    kubectl is not installed: the cluster is not tried"; return; fi
    limited 90 kubectl --kubeconfig "$KUBECONFIG_FILE" --request-timeout 60s get nodes -o wide
}

summary() {
    say "" "${PARTS[@]}" "total $SECONDS s" "" "To use it:" "  export PATH=$VENV/bin:\$PATH DAYFLY_URL=$DAYFLY_URL"
    if [[ $IMAGE != bare ]]; then say "  kubectl --kubeconfig $KUBECONFIG_FILE get pods -A"; fi
    say "  dayfly cluster show $NAME       dayfly cluster ssh $NAME node01       dayfly cluster create another --image $IMAGE --wait" \
        "" "To remove it:" "  dayfly cluster delete $NAME --wait"
    if [[ -f $PID_FILE ]]; then say "  kill \$(cat $PID_FILE)      # stops the service, log: $LOG"; fi
    if [[ -n $STARTED_ENGINE ]]; then say "  kill $STARTED_ENGINE      # stops the container engine that this run started"; fi
    say "  docker image rm dayfly/$IMAGE" "  rm -rf $CACHE_DIR $STATE_DIR $VENV $KUBECONFIG_FILE"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; fi
