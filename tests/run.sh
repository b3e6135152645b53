#!/usr/bin/env bash
# Runs all checks and tests, from a bare Debian 12 or 13 (root, apt, PyPI) to real Kubernetes clusters.
#
#   tests/run.sh                     all stages; the first run bakes the images (Kubernetes is compiled: some 20 minutes)
#   tests/run.sh --fast              no Kubernetes
#   tests/run.sh --long              also long tests: hosts of other Debians, rare failures; before a release
#   tests/run.sh --only unit -k qemu one stage (repeatable); pytest gets all other arguments
#
# Bakes and the stage serial run beside the stages that boot no machine. The run fails if tests leave objects behind.
# SIGINT, SIGTERM and SIGHUP end the running stage, which has two minutes to clean up.
set -uo pipefail
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
# shellcheck source-path=SCRIPTDIR source=../deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../deploy/python.sh
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/python.sh"
# shellcheck source-path=SCRIPTDIR source=../deploy/engine.sh
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/engine.sh"

QUIET_STAGES=(lint unit store api scenarios packaging)   # these boot nothing
# These stages share their tests among processes, one a core. Tests of the stage serial inspect all objects of the engine:
# they run one at a time, and leave half of the processors idle.
SHARED_STAGES=(unit store api scenarios integration)
VM_STAGES=(doctor integration hosts e2e)
SERIAL_TESTS=(tests/integration/drivers tests/integration/test_bake_in_container.py)
declare -A LIMIT=([lint]=600 [doctor]=180 [unit]=600 [store]=900 [api]=600 [scenarios]=1800
    [packaging]=1200 [serial]=1800 [integration]=2400 [hosts]=1200 [e2e]=3600 [bare]=1800 [k8s-debian]=4200
    [conformance]=4200 [k8s-debian-conformance]=2400 [lab]=1200)
# The time limit of one test with its fixtures, in seconds, if longer than pyproject.toml's.
declare -A TEST_LIMIT=([packaging]=1000 [hosts]=1100 [e2e]=1800)

main() {
    parse "$@"
    need_root
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/dayfly-tests.XXXXXX")
    say "logs: $WORK"
    trap 'on_exit $?' EXIT
    exit_on_signals
    setup
    list_docker_objects >"$WORK/before" || die "the engine does not list its objects"
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
            --long) LONG=yes; LIMIT[hosts]=9000; TEST_LIMIT[hosts]=3600; LIMIT[integration]=5400; TEST_LIMIT[integration]=1800
                LIMIT[e2e]=7200 ;;
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
    part "virtual environment" ensure_venv dev
    cd "$REPO" || die "cannot enter $REPO"
    PATH=$VENV/bin:$PATH
}

# --- stages

NAMES=() SECONDS_TAKEN=() RESULTS=() FAILED=
STAGE='' BEGAN=''   # the stage that runs, and since when
CLEANUP=120     # seconds for the clean-up of an interrupted or late stage

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
    # pytest's 5: the caller's filter selects no test of this stage.
    if [[ $status -eq 5 && ${#PYTEST_ARGS[@]} -gt 0 ]]; then status=0; fi
    STAGE=
    record "$stage" "$(since "$BEGAN")" "$status"
    if [[ $stage == lint && $status -ne 0 ]]; then die "lint failed: correct the errors first"; fi
}

# set_command STAGE: sets COMMAND to the stage's command.
set_command() {
    local stage=$1 sharing=() tests=("tests/$1")
    if [[ " ${SHARED_STAGES[*]} " == *" $stage "* ]]; then
        # At most 4: each process starts its own servers, which would cost more than further processes gain.
        sharing=(-n "$(nproc)" --maxprocesses 4 --dist worksteal)
    fi
    case $stage in
        lint) COMMAND=(bash -c "$(declare -f lint); lint"); return ;;
        doctor) COMMAND=(dayfly doctor); return ;;
        serial) tests=("${SERIAL_TESTS[@]}") ;;
        integration)
            tests+=("${SERIAL_TESTS[@]/#/--ignore=}")
            # loadfile: the tests of a file share machines, which take long to boot. Files with few tests, which would else
            # come last, have the longest: at the end a bake would have one processor, and the other would idle.
            sharing+=(--dist loadfile --no-loadscope-reorder) ;;
    esac
    COMMAND=(env "TEST_REASONS=$WORK/reasons/$stage"
        python -m pytest -p no:cacheprovider --durations=20 "${sharing[@]}" "${tests[@]}"
        ${TEST_LIMIT[$stage]:+--timeout="${TEST_LIMIT[$stage]}"} ${FAST:+-m "not kubernetes"} ${LONG:+--long} "${PYTEST_ARGS[@]}")
}

# Runs all checks, so that one run shows all errors.
lint() {
    local check status=0
    for check in "ruff check" "ruff format --check" mypy lint-imports "python deploy/lock/renew.py --check" \
        "shellcheck --external-sources deploy/*.sh deploy/docker/{build.sh,trim,postgres/entrypoint} tests/run.sh .ci/run" \
        "shellcheck provisioning/base/{enter,mount,trim} provisioning/base/initrd/{init,udhcpc}" \
        "shellcheck provisioning/kubernetes/{*.sh,import-images} provisioning/toolbox/{net,node,registry,trim} tests/hosts/pivot \
            tests/support/mirror/crictl/build.sh" \
        "shellcheck provisioning/ansible/roles/kubernetes_images/files/{list-images-*,pull-images}" \
        "shellcheck provisioning/cloud/{start,node,clean} provisioning/cloud/files/usr/lib/dayfly/{seed,grow-root}" \
        "cd provisioning/ansible && ansible-lint" \
        "cd provisioning/ansible && ansible-lint ../cloud/{before,after,vars}.yaml"; do
        echo "--- $check"
        bash -c "$check" || status=1
    done
    return "$status"
}

# follow STAGE COMMAND…: runs the command within the stage's limit, prints its output and keeps it in the stage's log.
follow() {
    local log=$WORK/$1.log status=0
    local limit=${LIMIT[$1]}; shift
    : >"$log"
    # In a new process group, of which only the command gets signals: pytest's clean-up needs its servers, and ends them.
    set -m
    PID_PENDING=yes
    timeout --foreground --kill-after="$CLEANUP" "$limit" "$@" >"$log" 2>&1 </dev/null &
    CHILD=$!
    pid_noted
    set +m
    tail -n +1 -f -s 0.2 --pid="$CHILD" "$log" &
    TAIL=$!
    # In the background: a signal to this script interrupts only `wait`.
    wait "$CHILD" || status=$?
    CHILD=
    wait "$TAIL"   # ends with the command; its exit code does not matter
    TAIL=
    return "$status"
}
TAIL=

# --- beside the quiet stages: one job after the other. A bake keeps an image of the same content; `lab` is the lab's images
# (deploy/docker), `conformance` Kubernetes' own tests. The stage serial, which waits half of its time, comes before Kubernetes
# is compiled: the quiet stages use the processors meanwhile, and have ended when the compiler needs both.

BESIDE=() BESIDE_GROUP=

start_beside() {
    if wanted serial || wanted integration || wanted hosts || wanted e2e || wanted doctor; then BESIDE+=(bare); fi
    if wanted integration; then BESIDE+=(lab); fi
    if wanted serial; then BESIDE+=(serial); fi
    if wanted e2e; then BESIDE+=(k8s-debian); fi
    if wanted e2e; then BESIDE+=(conformance); fi
    if [[ -n $LONG ]] && wanted e2e; then BESIDE+=(k8s-debian-conformance); fi
    [[ ${#BESIDE[@]} -gt 0 ]] || return 0
    say "" "=== in the background: ${BESIDE[*]} (logs: $WORK/bake.log, $WORK/serial.log)"
    : >"$WORK/bake.log"
    : >"$WORK/serial.log"
    set -m   # a new process group, which end_beside ends
    PID_PENDING=yes
    run_beside >>"$WORK/bake.log" 2>&1 </dev/null &
    BESIDE_GROUP=$!
    pid_noted
    set +m
}

run_beside() {
    local job began status command listed=
    # Only the job gets the signal: pytest's clean-up needs its servers, and ends them.
    trap '[[ -z $JOB ]] || { kill "$JOB"; wait "$JOB"; }; exit 143' TERM
    for job in "${BESIDE[@]}"; do
        began=$(clock) status=0
        # nice: the concurrent tests measure time.
        case $job in
            serial) list_images >"$WORK/images-before"; listed=yes; set_command serial; command=("${COMMAND[@]}") ;;
            lab) command=(nice -n 10 python deploy/docker/build.py) ;;
            conformance) command=(nice -n 10 python -m tests.conformance build) ;;
            *) command=(nice -n 10 dayfly image bake "$job") ;;
        esac
        timeout --foreground --kill-after="$CLEANUP" "${LIMIT[$job]}" "${command[@]}" >>"$WORK/$(beside_log "$job")" 2>&1 &
        JOB=$!
        wait "$JOB" || status=$?
        JOB=
        # The end of the log is another job's when the run ends.
        [[ $status -eq 0 || $job == serial ]] || tail -n 6 "$WORK/bake.log" >"$WORK/image $job.log"
        if [[ $job == serial && $status -eq 5 && ${#PYTEST_ARGS[@]} -gt 0 ]]; then status=0; fi
        # A bake after the list makes an image that stays.
        if [[ -n $listed && $job != serial ]]; then docker images --quiet --no-trunc "dayfly/$job" >>"$WORK/images-before"; fi
        echo "$(since "$began") $status" >"$WORK/beside-$job"
    done
    if [[ -z $listed ]]; then list_images >"$WORK/images-before"; fi
}
JOB=

beside_log() { if [[ $1 == serial ]]; then echo serial.log; else echo bake.log; fi; }

finish_beside() {
    local job seconds status name
    [[ -n $BESIDE_GROUP ]] || return 0
    say "" "=== results of the background jobs"
    tail -n +1 -f -s 0.5 --pid="$BESIDE_GROUP" "$WORK/bake.log" "$WORK/serial.log" &
    TAIL=$!
    wait "$BESIDE_GROUP"; wait "$TAIL"   # each job's exit code is in a file
    BESIDE_GROUP='' TAIL=''
    for job in "${BESIDE[@]}"; do
        if [[ -s $WORK/beside-$job ]]; then
            read -r seconds status <"$WORK/beside-$job"
        else
            say "$job was interrupted: see $WORK/bake.log"
            seconds=0 status=1
        fi
        name="image $job"
        if [[ $job == serial ]]; then name=serial; fi
        record "$name" "$seconds" "$status"
    done
}

# --- leftovers

# Fails if the engine does not answer: an empty list would hide leftovers.
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

# All images but the few tiny images that tests keep for the next run.
list_images() {
    local all kept
    all=$(docker images --quiet --no-trunc) || return
    kept=$(docker images --quiet --no-trunc --filter label=dayfly.test) || return
    comm -23 <(sort -u <<<"$all") <(sort -u <<<"$kept")
}

check_nothing_is_left() {
    local kind id format found began status=0
    began=$(clock)
    say "" "=== nothing is left"
    { list_docker_objects | comm -13 "$WORK/before" - >"$WORK/left"; } || status=1
    # Without the list of images after the bakes, the run was interrupted before, or had no bakes: skip images.
    if [[ -e $WORK/images-before ]]; then
        { list_images | comm -13 <(sort -u "$WORK/images-before") - | sed 's/^/image /' >>"$WORK/left"; } || status=1
    fi
    while read -r kind id; do
        status=1
        case $kind in
            container) format='{{.Name}} {{.Config.Labels}}' ;;
            image) format='{{.RepoTags}} {{.Config.Labels}}' ;;
            *) format='{{.Name}} {{.Labels}}' ;;
        esac
        found="left behind: $kind $id $(docker inspect --type "$kind" --format "$format" "$id")"
        say "$found"
        say "$found" >>"$WORK/nothing is left.log"
        # Remove only containers with Dayfly's label: other programs may use this engine.
        if [[ $kind == container && -n $(docker inspect --format '{{index .Config.Labels "dayfly.instance"}}' "$id") ]]; then
            docker rm --force --volumes "$id" >/dev/null || say "container $id stays: the reason is above"
        fi
    done <"$WORK/left"
    record "nothing is left" "$(since "$began")" "$status"
}

on_exit() {
    local status=$1 i
    trap - EXIT
    trap '' INT TERM HUP   # ignore further signals: the clean-up is bounded
    if [[ -n $SIGNAL ]]; then say "" "=== $SIGNAL during ${STAGE:-${PART:-the background jobs}}: $CLEANUP s for its clean-up"; fi
    end_child
    end_beside
    if [[ -n $TAIL ]]; then wait "$TAIL"; fi
    if [[ -n $STAGE ]]; then record "$STAGE" "$(since "$BEGAN")" "$status"; fi
    # The list is empty if the engine did not answer.
    if [[ -n $SIGNAL && -s $WORK/before ]]; then check_nothing_is_left; fi
    stop_own_engine || status=1
    if [[ ${#NAMES[@]} -gt 0 ]]; then
        say "" "stage                 seconds  result"
        for i in "${!NAMES[@]}"; do printf '%-20s %8s  %s\n' "${NAMES[$i]}" "${SECONDS_TAKEN[$i]}" "${RESULTS[$i]}"; done
        say "total $SECONDS s; logs: $WORK" "the slowest:"
        list_slowest
    fi
    if [[ -n $FAILED ]]; then
        say "" "the first reasons:"
        list_reasons
        say "FAILED:$FAILED"
    fi
    if [[ -n $SIGNAL ]]; then say "interrupted by $SIGNAL"; elif [[ -n $FAILED ]]; then status=1; fi
    if [[ $status -eq 0 ]]; then say "all passed"; fi
    exit "$status"
}

# The twenty slowest tests of all stages, fixtures included.
list_slowest() {
    grep --no-filename --extended-regexp '^[0-9.]+s (call|setup|teardown) ' "$WORK"/*.log | sort --numeric --reverse | head -n 20
}

# The first failures of each stage that failed: the tests' messages, which tests/support/reasons.py has kept, or the end of
# the stage's log. Few lines: of a long output, continuous integration keeps only the end.
list_reasons() {
    local i log lines=36
    for i in "${!NAMES[@]}"; do
        [[ ${RESULTS[$i]} == FAILED* && ! -d $WORK/reasons/${NAMES[$i]} ]] || continue
        log=$WORK/${NAMES[$i]}.log
        if [[ ! -s $log ]]; then continue; fi
        say "${NAMES[$i]}: the end of its output"
        tail -n 6 "$log" | cut -c 1-200 | sed 's/^/    /'
        lines=$((lines > 19 ? lines - 7 : 12))
    done
    if [[ -d $WORK/reasons ]]; then
        timeout 20 python -P "$REPO/tests/support/print_reasons.py" "$WORK/reasons" "$lines" || say "see $WORK/reasons"
    fi
}

end_beside() {
    local i
    [[ -n $BESIDE_GROUP ]] || return 0
    # Hides only "no such process".
    kill "$BESIDE_GROUP" 2>/dev/null
    for ((i = 0; i < CLEANUP * 10; i++)); do
        kill -0 "$BESIDE_GROUP" 2>/dev/null || break
        sleep 0.1
    done
    # Hides only an empty group.
    kill -KILL -- "-$BESIDE_GROUP" 2>/dev/null
    BESIDE_GROUP=
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; fi
