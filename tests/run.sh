#!/usr/bin/env bash
# Runs everything that can be checked, from a bare Debian 12 (root, apt, PyPI) to real Kubernetes clusters.
#
#   tests/run.sh                     all stages; the first run bakes the images (Kubernetes is compiled: some 20 minutes)
#   tests/run.sh --fast              no Kubernetes
#   tests/run.sh --only unit -k qemu one stage (may be repeated), and anything else goes to pytest
#
# Bakes run beside the stages that boot no machine; stages that do run alone. Nothing that the tests make may stay.
set -uo pipefail
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
# shellcheck source-path=SCRIPTDIR source=../deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/lib.sh"

QUIET_STAGES=(lint unit store api scenarios packaging)   # these boot nothing
SHARED_STAGES=(unit store api scenarios)                 # their tests are shared among processes, one a core
VM_STAGES=(doctor integration e2e)
declare -A LIMIT=([lint]=600 [doctor]=180 [unit]=600 [store]=900 [api]=600 [scenarios]=1800
    [packaging]=1200 [integration]=2700 [e2e]=2700 [bare]=1800 [k8s-debian]=4200 [lab]=1200)

main() {
    parse "$@"
    need_root
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/dayfly-tests.XXXXXX")
    say "logs: $WORK"
    trap 'on_exit $?' EXIT
    trap 'exit 130' INT TERM HUP
    setup
    list_docker_objects >"$WORK/before"
    local stage
    start_bakes
    for stage in "${QUIET_STAGES[@]}"; do run_stage "$stage"; done
    finish_bakes
    list_images >"$WORK/images-before"
    for stage in "${VM_STAGES[@]}"; do run_stage "$stage"; done
    check_nothing_is_left
}

parse() {
    FAST=; ONLY=(); PYTEST_ARGS=()
    while [[ $# -gt 0 ]]; do
        case $1 in
            --fast) FAST=yes ;;
            --only) [[ " ${QUIET_STAGES[*]} ${VM_STAGES[*]} " == *" ${2:-} "* ]] \
                    || die "--only takes one of: ${QUIET_STAGES[*]} ${VM_STAGES[*]}"
                ONLY+=("$2"); shift ;;
            -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
            *) PYTEST_ARGS+=("$1") ;;
        esac
        shift
    done
}

wanted() {
    if [[ ${#ONLY[@]} -gt 0 ]]; then [[ " ${ONLY[*]} " == *" $1 "* ]]; return; fi
    [[ -z $FAST || $1 != e2e ]]
}

setup() {
    local packages=("${RUNTIME_PACKAGES[@]}" "${TEST_PACKAGES[@]}")
    if wanted integration || wanted e2e; then packages+=("${BAKE_PACKAGES[@]}"); fi
    if wanted integration; then packages+=("${LAB_PACKAGES[@]}"); fi
    part "system packages" install_packages "${packages[@]}"
    if wanted e2e; then part "kubectl" install_kubectl; fi
    part "postgresql" install_postgresql
    part "container engine" ensure_engine "$WORK/dockerd.log"
    part "virtual environment" ensure_venv --group dev
    cd "$REPO" || die "cannot enter $REPO"
    PATH=$VENV/bin:$PATH
}

# --- stages

NAMES=() SECONDS_TAKEN=() RESULTS=() FAILED=

record() { # name, seconds, exit code
    local result=ok
    if [[ $3 -eq 124 || $3 -eq 137 ]]; then result="FAILED (time limit)"; elif [[ $3 -ne 0 ]]; then result="FAILED ($3)"; fi
    NAMES+=("$1"); SECONDS_TAKEN+=("$2"); RESULTS+=("$result")
    [[ $3 -eq 0 ]] || FAILED+=" $1"
    say "--- $1: $result, $2 s"
}

run_stage() {
    local stage=$1 began status=0 sharing=()
    wanted "$stage" || return 0
    if [[ " ${SHARED_STAGES[*]} " == *" $stage "* ]]; then
        # Each process starts servers of its own: many cores would make more of them than they save.
        sharing=(-n "$(nproc)" --maxprocesses 4 --dist worksteal)
    fi
    say "" "=== $stage"
    began=$(clock)
    case $stage in
        lint) follow "$stage" bash -c "$(declare -f lint); lint" || status=$? ;;
        doctor) follow "$stage" dayfly doctor || status=$? ;;
        *) follow "$stage" python -m pytest -p no:cacheprovider --durations=5 "${sharing[@]}" "tests/$stage" \
               ${FAST:+-m "not kubernetes"} "${PYTEST_ARGS[@]}" || status=$? ;;
    esac
    # pytest's 5: the caller's own filter left no test of this stage.
    if [[ $status -eq 5 && ${#PYTEST_ARGS[@]} -gt 0 ]]; then status=0; fi
    record "$stage" "$(since "$began")" "$status"
    if [[ $stage == lint && $status -ne 0 ]]; then die "lint failed: mend it first"; fi
}

# All of them, so that one run shows all there is to mend.
lint() {
    local check status=0
    for check in "ruff check" "ruff format --check" mypy "mypy deploy/docker/build.py" lint-imports \
        "shellcheck --external-sources deploy/*.sh deploy/docker/{build.sh,trim,postgres/entrypoint} tests/run.sh .ci/run"; do
        echo "--- $check"
        bash -c "$check" || status=1
    done
    return "$status"
}

# follow STAGE COMMAND…: run it within the stage's limit, shown while it runs and kept in the stage's log.
follow() {
    local log=$WORK/$1.log tail status
    local limit=${LIMIT[$1]}; shift
    : >"$log"
    timeout --kill-after=120 "$limit" "$@" >"$log" 2>&1 </dev/null &
    CHILD=$!
    tail -n +1 -f -s 0.2 --pid="$CHILD" "$log" &
    tail=$!
    wait "$CHILD"; status=$?
    wait "$tail"
    CHILD=
    return "$status"
}
CHILD=

# --- bakes: nothing is done where an image of the same content is there; `lab` is the service's own (deploy/docker)

BAKES=() BAKER=

start_bakes() {
    if wanted integration || wanted e2e || wanted doctor; then BAKES+=(bare); fi
    if wanted integration; then BAKES+=(lab); fi
    if wanted e2e; then BAKES+=(k8s-debian); fi
    [[ ${#BAKES[@]} -gt 0 ]] || return 0
    say "" "=== baking ${BAKES[*]} in the background (log: $WORK/bake.log)"
    : >"$WORK/bake.log"
    setsid bash -c "$(declare -f bake_all clock since); $(declare -p BAKES LIMIT WORK); bake_all" >"$WORK/bake.log" 2>&1 </dev/null &
    BAKER=$!
}

bake_all() {
    local recipe began status command
    for recipe in "${BAKES[@]}"; do
        began=$(clock) status=0
        command=(dayfly image bake "$recipe")
        if [[ $recipe == lab ]]; then command=(python deploy/docker/build.py); fi
        # Nice: the tests beside it measure time. --foreground keeps it in our process group, so that on_exit ends it.
        nice -n 10 timeout --foreground --kill-after=120 "${LIMIT[$recipe]}" "${command[@]}" || status=$?
        echo "$(since "$began") $status" >"$WORK/baked-$recipe"
    done
}

finish_bakes() {
    local recipe seconds status tail
    [[ -n $BAKER ]] || return 0
    say "" "=== images"
    tail -n +1 -f -s 0.5 --pid="$BAKER" "$WORK/bake.log" &
    tail=$!
    wait "$BAKER"; wait "$tail"
    BAKER=
    for recipe in "${BAKES[@]}"; do
        read -r seconds status <"$WORK/baked-$recipe" || { seconds=0; status=1; }
        record "image $recipe" "$seconds" "$status"
    done
}

# --- what must not stay

list_docker_objects() {
    {
        docker ps --all --quiet --no-trunc | sed 's/^/container /'
        docker volume ls --quiet | sed 's/^/volume /'
        docker network ls --quiet --no-trunc | sed 's/^/network /'
    } | sort
}

# Without the few tiny images that tests keep for the next run.
list_images() {
    comm -23 <(docker images --quiet --no-trunc | sort -u) \
        <(docker images --quiet --no-trunc --filter label=dayfly.test | sort -u)
}

check_nothing_is_left() {
    local kind id format began status=0
    began=$(clock)
    say "" "=== nothing is left"
    list_docker_objects | comm -13 "$WORK/before" - >"$WORK/left"
    list_images | comm -13 "$WORK/images-before" - | sed 's/^/image /' >>"$WORK/left"
    while read -r kind id; do
        status=1
        case $kind in
            container) format='{{.Name}} {{.Config.Labels}}' ;;
            image) format='{{.RepoTags}} {{.Config.Labels}}' ;;
            *) format='{{.Name}} {{.Labels}}' ;;
        esac
        say "left behind: $kind $id $(docker inspect --type "$kind" --format "$format" "$id")"
        # Only what carries our label is removed: others may use this engine, too.
        if [[ $kind == container && -n $(docker inspect --format '{{index .Config.Labels "dayfly.instance"}}' "$id") ]]; then
            docker rm --force --volumes "$id" >/dev/null
        fi
    done <"$WORK/left"
    record "nothing is left" "$(since "$began")" "$status"
}

on_exit() {
    local status=$1 i
    trap - EXIT INT TERM HUP
    if [[ -n $CHILD ]]; then kill "$CHILD" 2>/dev/null; wait "$CHILD" 2>/dev/null; fi
    if [[ -n $BAKER ]]; then
        kill -- "-$BAKER" 2>/dev/null
        for ((i = 0; i < 100; i++)); do kill -0 -- "-$BAKER" 2>/dev/null || break; sleep 0.1; done
        kill -KILL -- "-$BAKER" 2>/dev/null
    fi
    stop_own_engine || status=1
    if [[ ${#NAMES[@]} -gt 0 ]]; then
        say "" "stage                 seconds  result"
        for i in "${!NAMES[@]}"; do printf '%-20s %8s  %s\n' "${NAMES[$i]}" "${SECONDS_TAKEN[$i]}" "${RESULTS[$i]}"; done
        say "total $SECONDS s; logs: $WORK"
    fi
    if [[ -n $FAILED ]]; then say "FAILED:$FAILED"; status=1; elif [[ $status -eq 0 ]]; then say "all passed"; fi
    exit "$status"
}

main "$@"
