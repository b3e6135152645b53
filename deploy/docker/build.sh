#!/usr/bin/env bash
# Builds the images of the lab stack (docker-compose.yml) on a bare Debian 12 or 13, with root, apt and PyPI, without a registry.
#
#   deploy/docker/build.sh                                dayfly/service and dayfly/postgres; the first build takes two minutes
#   deploy/docker/build.sh --base debian:12-slim service  one image, on a base from a registry
#
# A repeated run keeps existing images. Writes the group of the engine's socket to .env, for docker-compose.
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
    say "" "To start it:" "  cd $REPO && docker-compose up -d --scale worker=2" \
        "The first login:" "  docker-compose exec -T api cat operator-token | $VENV/bin/dayfly login"
}

on_exit() {
    local status=$1
    set +e   # a failed step of the clean-up prints its error, and the clean-up continues
    trap - EXIT
    trap '' INT TERM HUP   # ignore further signals: the clean-up is bounded
    if [[ -n $SIGNAL ]]; then say "error: interrupted by $SIGNAL${PART:+ during: $PART}" >&2; fi
    end_child
    if [[ -z $ENGINE_IS_UP ]]; then stop_own_engine; fi
    exit "$status"
}

note_engine_group() {
    local file=$REPO/.env line
    line=DAYFLY_ENGINE_GID=$(stat --dereference --format=%g "${DAYFLY_ENGINE_SOCKET:-/var/run/docker.sock}")
    # -s: the file may be missing.
    if grep -qs '^DAYFLY_ENGINE_GID=' "$file"; then
        sed -i "s/^DAYFLY_ENGINE_GID=.*/$line/" "$file"
    else
        (umask 077; say "$line" >>"$file")
    fi
}

main "$@"
