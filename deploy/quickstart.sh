#!/usr/bin/env bash
# From a bare Debian 12 (root; apt and PyPI are enough) to a running service and a Ready cluster.
#
#   deploy/quickstart.sh                a Kubernetes cluster called `demo`: one control plane, one worker
#   deploy/quickstart.sh --image bare   the quick path: two plain virtual machines, `demo-bare`, no Kubernetes
#
# May be run again at any time: what is there is kept, what is missing is made.
set -euo pipefail
export LC_ALL=C.UTF-8
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

IMAGE=k8s-debian
while [[ $# -gt 0 ]]; do
    case $1 in
        --image) IMAGE=${2:?--image takes the name of a recipe}; shift 2 ;;
        -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) die "unknown option $1; see --help" ;;
    esac
done

NAME=demo
[[ $IMAGE == k8s-debian ]] || NAME=demo-$IMAGE
export DAYFLY_URL=${DAYFLY_URL:-http://${DAYFLY_LISTEN_ADDRESS:-127.0.0.1}:${DAYFLY_LISTEN_PORT:-8700}}
PID_FILE=$STATE_DIR/serve.pid
LOG=$STATE_DIR/serve.log
KUBECONFIG_FILE=$HOME/.kube/dayfly-$NAME.yaml

main() {
    need_root
    say "Dayfly: packages, a container engine, $VENV, the image $IMAGE, a service on $DAYFLY_URL, a cluster called $NAME."
    (umask 077; mkdir -p "$STATE_DIR" "$CACHE_DIR")
    part "system packages" install_packages "${RUNTIME_PACKAGES[@]}" "${BAKE_PACKAGES[@]}"
    part "kubectl" install_kubectl
    part "container engine" ensure_engine "$STATE_DIR/dockerd.log"
    part "virtual environment" ensure_venv
    PATH=$VENV/bin:$PATH
    part "doctor" timeout 300 dayfly doctor
    if [[ $IMAGE == k8s-debian ]]; then
        say "Next, the node image. Kubernetes is compiled from Debian's source the first time, which takes some 10 minutes" \
            "on two cores; after that it comes from $CACHE_DIR."
    fi
    part "image $IMAGE" timeout 5400 dayfly image bake "$IMAGE"
    part "service" start_service
    part "cluster $NAME" create_cluster
    part "access" show_access
    summary
}

service_answers() {
    python - "$DAYFLY_URL/healthz" <<'PYTHON' 2>/dev/null
import sys, urllib.request
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=5)
PYTHON
}

start_service() {
    local tries pid
    if service_answers; then say "    one answers already at $DAYFLY_URL"; return; fi
    setsid dayfly serve >>"$LOG" 2>&1 </dev/null &
    pid=$!
    echo "$pid" >"$PID_FILE" || return
    for ((tries = 0; tries < 120; tries++)); do
        if service_answers; then return; fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.5
    done
    tail -n 20 "$LOG" >&2
    say "the service does not answer at $DAYFLY_URL" >&2
    return 1
}

create_cluster() {
    if dayfly cluster show "$NAME" >/dev/null 2>&1; then
        timeout 1800 dayfly cluster show "$NAME" --wait ready
    else
        timeout 1800 dayfly cluster create "$NAME" --image "$IMAGE" --workers 1 --wait
    fi
}

show_access() {
    if [[ $IMAGE == bare ]]; then
        timeout 300 dayfly cluster ssh "$NAME" node01 -- uname -a
        return
    fi
    timeout 60 dayfly cluster kubeconfig "$NAME" --output "$KUBECONFIG_FILE" || return
    kubectl --kubeconfig "$KUBECONFIG_FILE" --request-timeout 60s get nodes -o wide
}

summary() {
    say "" "${PARTS[@]}" "total $SECONDS s" "" "To use it:" "  export PATH=$VENV/bin:\$PATH DAYFLY_URL=$DAYFLY_URL"
    if [[ $IMAGE != bare ]]; then say "  kubectl --kubeconfig $KUBECONFIG_FILE get pods -A"; fi
    say "  dayfly cluster show $NAME       dayfly cluster ssh $NAME node01       dayfly cluster create another --image $IMAGE --wait" \
        "" "To remove it:" "  dayfly cluster delete $NAME --wait"
    if [[ -f $PID_FILE ]]; then say "  kill \$(cat $PID_FILE)      # the service; it keeps running until then, log: $LOG"; fi
    if [[ -n $STARTED_ENGINE ]]; then say "  kill $STARTED_ENGINE      # the container engine that this run started; it keeps running, too"; fi
    say "  docker image rm dayfly/$IMAGE" "  rm -rf $CACHE_DIR $STATE_DIR $VENV $KUBECONFIG_FILE"
}

main
