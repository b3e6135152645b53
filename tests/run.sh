#!/usr/bin/env bash
# Runs everything that can be checked, from a bare Debian 12 or 13 (root, apt, PyPI) to real Kubernetes clusters.
#
#   tests/run.sh                     all stages; the first run bakes the images (Kubernetes is compiled: some 20 minutes)
#   tests/run.sh --fast              no Kubernetes
#   tests/run.sh --long              and what takes long: hosts of other Debians, rare endings; before a release
#   tests/run.sh --only unit -k qemu one stage (may be repeated), and anything else goes to pytest
#
# Bakes, and then the stage serial, run beside the stages that boot no machine. Nothing that the tests make may stay.
# SIGINT, SIGTERM and SIGHUP end what runs: it has two minutes to clean up.
set -uo pipefail
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
# shellcheck source-path=SCRIPTDIR source=../deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../deploy/python.sh
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/python.sh"
# shellcheck source-path=SCRIPTDIR source=../deploy/engine.sh
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/engine.sh"

QUIET_STAGES=(lint unit store api scenarios packaging)   # these boot nothing
# Their tests are shared among processes, one a core. Those of the stage serial look at all that an engine has: they run
# one after the other, and leave half of the processors idle.
SHARED_STAGES=(unit store api scenarios integration)
VM_STAGES=(doctor integration hosts e2e)
SERIAL_TESTS=(tests/integration/drivers tests/integration/test_bake_in_container.py)
declare -A LIMIT=([lint]=600 [doctor]=180 [unit]=600 [store]=900 [api]=600 [scenarios]=1800
    [packaging]=1200 [serial]=1800 [integration]=2400 [hosts]=1200 [e2e]=3600 [bare]=1800 [k8s-debian]=4200 [lab]=1200)
# Seconds of one test with its fixtures, where pyproject.toml's are too few: of real Kubernetes, hosts and pip.
declare -A TEST_LIMIT=([packaging]=1000 [hosts]=1100 [e2e]=1800)

main() {
    parse "$@"
    need_root
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/dayfly-tests.XXXXXX")
    say "logs: $WORK"
    trap 'on_exit $?' EXIT
    exit_on_signals
    setup
    list_docker_objects >"$WORK/before" || die "the engine does not list what is there"
    local stage
    start_beside
    for stage in "${QUIET_STAGES[@]}"; do run_stage "$stage"; done
    finish_beside
    for stage in "${VM_STAGES[@]}"; do run_stage "$stage"; done
    check_nothing_is_left
}

parse() {
    FAST=; LONG=; ONLY=(); PYTEST_ARGS=()
    while [[ $# -gt 0 ]]; do
        case $1 in
            --fast) FAST=yes ;;
            --long) LONG=yes; LIMIT[hosts]=9000; TEST_LIMIT[hosts]=3600; LIMIT[integration]=5400; TEST_LIMIT[integration]=1800 ;;
            --only) [[ " ${QUIET_STAGES[*]} serial ${VM_STAGES[*]} " == *" ${2:-} "* ]] \
                    || die "--only takes one of: ${QUIET_STAGES[*]} serial ${VM_STAGES[*]}"
                ONLY+=("$2"); shift ;;
            -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
            *) PYTEST_ARGS+=("$1") ;;
        esac
        shift
    done
}

wanted() {
    if [[ ${#ONLY[@]} -gt 0 ]]; then [[ " ${ONLY[*]} " == *" $1 "* ]]; return; fi
    [[ -z $FAST || $1 != e2e ]] && [[ -n $LONG || $1 != hosts ]]
}

setup() {
    local packages=("${RUNTIME_PACKAGES[@]}" "${TEST_PACKAGES[@]}")
    if wanted serial || wanted integration || wanted hosts || wanted e2e; then packages+=("${BAKE_PACKAGES[@]}"); fi
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
STAGE='' BEGAN=''   # the stage that runs, and since when
CLEANUP=120     # seconds that what is interrupted, or takes too long, has to clean up

record() { # name, seconds, exit code
    local result=ok
    case $3 in
        0) ;;
        124) result="FAILED (time limit)" ;;
        137) result="FAILED (killed: time limit, or no memory)" ;;
        *) result="FAILED ($3)" ;;
    esac
    if [[ $1 == "$STAGE" && -n $SIGNAL ]]; then result="INTERRUPTED ($SIGNAL)"; fi
    NAMES+=("$1"); SECONDS_TAKEN+=("$2"); RESULTS+=("$result")
    [[ $3 -eq 0 ]] || FAILED+=" $1"
    say "--- $1: $result, $2 s"
}

run_stage() {
    local stage=$1 status=0
    wanted "$stage" || return 0
    say "" "=== $stage"
    STAGE=$stage BEGAN=$(clock)
    set_command "$stage"
    follow "$stage" "${COMMAND[@]}" || status=$?
    # pytest's 5: the caller's own filter left no test of this stage.
    if [[ $status -eq 5 && ${#PYTEST_ARGS[@]} -gt 0 ]]; then status=0; fi
    STAGE=
    record "$stage" "$(since "$BEGAN")" "$status"
    if [[ $stage == lint && $status -ne 0 ]]; then die "lint failed: mend it first"; fi
}

# set_command STAGE: COMMAND is what runs it.
set_command() {
    local stage=$1 sharing=() tests=("tests/$1")
    if [[ " ${SHARED_STAGES[*]} " == *" $stage "* ]]; then
        # Each process starts servers of its own: many cores would make more of them than they save.
        sharing=(-n "$(nproc)" --maxprocesses 4 --dist worksteal)
    fi
    case $stage in
        lint) COMMAND=(bash -c "$(declare -f lint); lint"); return ;;
        doctor) COMMAND=(dayfly doctor); return ;;
        serial) tests=("${SERIAL_TESTS[@]}") ;;
        integration)
            tests+=("${SERIAL_TESTS[@]/#/--ignore=}")
            # A file's tests share machines, which take long to boot: they stay together.
            sharing+=(--dist loadfile) ;;
    esac
    COMMAND=(python -m pytest -p no:cacheprovider --durations=20 "${sharing[@]}" "${tests[@]}"
        ${TEST_LIMIT[$stage]:+--timeout="${TEST_LIMIT[$stage]}"} ${FAST:+-m "not kubernetes"} ${LONG:+--long} "${PYTEST_ARGS[@]}")
}

# All of them, so that one run shows all there is to mend.
lint() {
    local check status=0
    for check in "ruff check" "ruff format --check" mypy lint-imports \
        "shellcheck --external-sources deploy/*.sh deploy/docker/{build.sh,trim,postgres/entrypoint} tests/run.sh .ci/run" \
        "shellcheck provisioning/base/{enter,mount,trim} provisioning/base/initrd/{init,udhcpc}" \
        "shellcheck provisioning/kubernetes/{*.sh,import-images} provisioning/toolbox/{net,node,registry,trim} tests/hosts/pivot"; do
        echo "--- $check"
        bash -c "$check" || status=1
    done
    return "$status"
}

# follow STAGE COMMAND…: run it within the stage's limit, shown while it runs and kept in the stage's log.
follow() {
    local log=$WORK/$1.log status=0
    local limit=${LIMIT[$1]}; shift
    : >"$log"
    # A process group of its own, of which only the command gets our signals: pytest ends the servers that it needs to clean up.
    set -m
    timeout --foreground --kill-after="$CLEANUP" "$limit" "$@" >"$log" 2>&1 </dev/null &
    CHILD=$!
    set +m
    tail -n +1 -f -s 0.2 --pid="$CHILD" "$log" &
    TAIL=$!
    # In the background, because a signal to us interrupts only a `wait`.
    wait "$CHILD" || status=$?
    CHILD=
    wait "$TAIL"   # ends with the command; its own exit code says nothing about that
    TAIL=
    return "$status"
}
TAIL=

# --- beside the quiet stages: bakes, one after the other, and then the stage serial. Nothing is baked where an image of the
# same content is there; `lab` is the service's own (deploy/docker)

BESIDE=() BESIDE_GROUP=

start_beside() {
    if wanted serial || wanted integration || wanted hosts || wanted e2e || wanted doctor; then BESIDE+=(bare); fi
    if wanted integration; then BESIDE+=(lab); fi
    if wanted e2e; then BESIDE+=(k8s-debian); fi
    if wanted serial; then BESIDE+=(serial); fi
    [[ ${#BESIDE[@]} -gt 0 ]] || return 0
    say "" "=== in the background: ${BESIDE[*]} (logs: $WORK/bake.log, $WORK/serial.log)"
    : >"$WORK/bake.log"
    : >"$WORK/serial.log"
    set -m   # a process group of its own, which end_beside ends
    run_beside >>"$WORK/bake.log" 2>&1 </dev/null &
    BESIDE_GROUP=$!
    set +m
}

run_beside() {
    local job began status command listed=
    # Only the job gets the signal: pytest ends the servers that it needs to clean up.
    trap '[[ -z $JOB ]] || { kill "$JOB"; wait "$JOB"; }; exit 143' TERM
    for job in "${BESIDE[@]}"; do
        began=$(clock) status=0
        # Nice: the tests beside them measure time.
        case $job in
            serial) list_images >"$WORK/images-before"; listed=yes; set_command serial; command=("${COMMAND[@]}") ;;
            lab) command=(nice -n 10 python deploy/docker/build.py) ;;
            *) command=(nice -n 10 dayfly image bake "$job") ;;
        esac
        timeout --foreground --kill-after="$CLEANUP" "${LIMIT[$job]}" "${command[@]}" >>"$WORK/$(beside_log "$job")" 2>&1 &
        JOB=$!
        wait "$JOB" || status=$?
        JOB=
        if [[ $job == serial && $status -eq 5 && ${#PYTEST_ARGS[@]} -gt 0 ]]; then status=0; fi
        echo "$(since "$began") $status" >"$WORK/beside-$job"
    done
    if [[ -z $listed ]]; then list_images >"$WORK/images-before"; fi
}
JOB=

beside_log() { if [[ $1 == serial ]]; then echo serial.log; else echo bake.log; fi; }

finish_beside() {
    local job seconds status name
    [[ -n $BESIDE_GROUP ]] || return 0
    say "" "=== what ran in the background"
    tail -n +1 -f -s 0.5 --pid="$BESIDE_GROUP" "$WORK/bake.log" "$WORK/serial.log" &
    TAIL=$!
    wait "$BESIDE_GROUP"; wait "$TAIL"   # each job's own exit code lies in a file
    BESIDE_GROUP='' TAIL=''
    for job in "${BESIDE[@]}"; do
        if [[ -s $WORK/beside-$job ]]; then
            read -r seconds status <"$WORK/beside-$job"
        else
            say "$job was cut off: see $WORK/bake.log"
            seconds=0 status=1
        fi
        name="image $job"
        if [[ $job == serial ]]; then name=serial; fi
        record "$name" "$seconds" "$status"
    done
}

# --- what must not stay

# Fails where the engine does not answer: a list that is empty for that reason would say that nothing is left.
list_docker_objects() {
    local containers volumes networks
    containers=$(docker ps --all --quiet --no-trunc) || return
    volumes=$(docker volume ls --quiet) || return
    networks=$(docker network ls --quiet --no-trunc) || return
    sed -n 's/^./container &/p' <<<"$containers" >"$WORK/objects"
    sed -n 's/^./volume &/p' <<<"$volumes" >>"$WORK/objects"
    sed -n 's/^./network &/p' <<<"$networks" >>"$WORK/objects"
    sort "$WORK/objects"
}

# Without the few tiny images that tests keep for the next run.
list_images() {
    local all kept
    all=$(docker images --quiet --no-trunc) || return
    kept=$(docker images --quiet --no-trunc --filter label=dayfly.test) || return
    comm -23 <(sort -u <<<"$all") <(sort -u <<<"$kept")
}

check_nothing_is_left() {
    local kind id format began status=0
    began=$(clock)
    say "" "=== nothing is left"
    { list_docker_objects | comm -13 "$WORK/before" - >"$WORK/left"; } || status=1
    # A run that was interrupted before its bakes had ended does not know which images are the tests'; one without bakes makes none.
    if [[ -e $WORK/images-before ]]; then
        { list_images | comm -13 "$WORK/images-before" - | sed 's/^/image /' >>"$WORK/left"; } || status=1
    fi
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
            docker rm --force --volumes "$id" >/dev/null || say "container $id stays: the reason is above"
        fi
    done <"$WORK/left"
    record "nothing is left" "$(since "$began")" "$status"
}

on_exit() {
    local status=$1 i
    trap - EXIT
    trap '' INT TERM HUP   # one signal is enough: what follows ends by itself
    if [[ -n $SIGNAL ]]; then say "" "=== $SIGNAL during ${STAGE:-${PART:-what runs in the background}}: it has $CLEANUP s to clean up"; fi
    end_child
    end_beside
    if [[ -n $TAIL ]]; then wait "$TAIL"; fi
    if [[ -n $STAGE ]]; then record "$STAGE" "$(since "$BEGAN")" "$status"; fi
    # An engine that did not answer was listed nowhere.
    if [[ -n $SIGNAL && -s $WORK/before ]]; then check_nothing_is_left; fi
    stop_own_engine || status=1
    if [[ ${#NAMES[@]} -gt 0 ]]; then
        say "" "stage                 seconds  result"
        for i in "${!NAMES[@]}"; do printf '%-20s %8s  %s\n' "${NAMES[$i]}" "${SECONDS_TAKEN[$i]}" "${RESULTS[$i]}"; done
        say "total $SECONDS s; logs: $WORK" "the slowest:"
        list_slowest
    fi
    if [[ -n $FAILED ]]; then say "FAILED:$FAILED"; fi
    if [[ -n $SIGNAL ]]; then say "interrupted by $SIGNAL"; elif [[ -n $FAILED ]]; then status=1; fi
    if [[ $status -eq 0 ]]; then say "all passed"; fi
    exit "$status"
}

# The twenty tests, fixtures included, that took longest, of all stages.
list_slowest() {
    grep --no-filename --extended-regexp '^[0-9.]+s (call|setup|teardown) ' "$WORK"/*.log | sort --numeric --reverse | head -n 20
}

end_beside() {
    local i
    [[ -n $BESIDE_GROUP ]] || return 0
    # Hidden is only that it has ended.
    kill "$BESIDE_GROUP" 2>/dev/null
    for ((i = 0; i < CLEANUP * 10; i++)); do
        kill -0 "$BESIDE_GROUP" 2>/dev/null || break
        sleep 0.1
    done
    # Hidden is only that nothing is left of the group.
    kill -KILL -- "-$BESIDE_GROUP" 2>/dev/null
    BESIDE_GROUP=
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; fi
