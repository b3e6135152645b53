#!/usr/bin/env bash
# Makes the images of the lab stack (docker-compose.yml) on a bare Debian 12 or 13: root, apt and PyPI are enough, nothing is pulled.
#
#   deploy/docker/build.sh                                dayfly/service and dayfly/postgres; the first time some two minutes
#   deploy/docker/build.sh --base debian:12-slim service  one of them, on a base that can be pulled
#
# May be run again at any time: what is there is kept. Notes the group of the engine's socket in .env, for docker-compose.
set -euo pipefail
export LC_ALL=C.UTF-8
# shellcheck source-path=SCRIPTDIR source=../lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source-path=SCRIPTDIR source=../python.sh
source "$(dirname "${BASH_SOURCE[0]}")/../python.sh"
# shellcheck source-path=SCRIPTDIR source=../engine.sh
source "$(dirname "${BASH_SOURCE[0]}")/../engine.sh"

main() {
    if [[ ${1:-} == -h || ${1:-} == --help ]]; then
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        return
    fi
    need_root
    trap 'on_exit $?' EXIT
    exit_on_signals
    (umask 077; mkdir -p "$STATE_DIR" "$CACHE_DIR")
    part "system packages" install_packages "${LAB_PACKAGES[@]}"
    part "container engine" ensure_engine "$STATE_DIR/dockerd.log"
    part "virtual environment" ensure_venv
    part "images" limited 3600 "$VENV/bin/python" "$REPO/deploy/docker/build.py" "$@"
    note_engine_group
    say "" "To start it:" "  cd $REPO && docker-compose up -d --scale worker=2"
}

on_exit() {
    local status=$1
    set +e   # a step of the clean-up that fails says so, and the next one is taken
    trap - EXIT
    trap '' INT TERM HUP   # one signal is enough: what follows ends by itself
    if [[ -n $SIGNAL ]]; then say "error: interrupted by $SIGNAL${PART:+ during: $PART}" >&2; fi
    end_child
    if [[ -z $ENGINE_IS_UP ]]; then stop_own_engine; fi
    exit "$status"
}

note_engine_group() {
    local file=$REPO/.env line
    line=DAYFLY_ENGINE_GID=$(stat --dereference --format=%g "${DAYFLY_ENGINE_SOCKET:-/var/run/docker.sock}")
    # Without such a file (-s) the line is new, too.
    if grep -qs '^DAYFLY_ENGINE_GID=' "$file"; then
        sed -i "s/^DAYFLY_ENGINE_GID=.*/$line/" "$file"
    else
        (umask 077; say "$line" >>"$file")
    fi
}

main "$@"
