# Finds or installs Python, and creates .venv with Dayfly. To be sourced after lib.sh.
# Not here: the dependencies (pyproject.toml), their versions and hashes (lock/).
# shellcheck shell=bash

# Whether a Python is new enough and has the modules; find_python prints the reason.
_python_fits() { "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

PYTHONS=(python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11)   # in order of preference

# Sets PYTHON to a Python 3.11 or newer that can create virtual environments; fails silently without such a Python.
look_for_python() {
    for PYTHON in "${PYTHONS[@]}"; do
        if _python_fits "$PYTHON"; then return; fi
    done
    PYTHON=
    return 1
}

find_python() {
    local found
    if look_for_python; then return; fi
    install_packages python3 python3-venv || return
    hash -r
    if look_for_python; then return; fi
    found=$(python3 --version 2>&1) || true   # the output is shown, an error as well
    say "no Python 3.11 or newer with the modules venv and ensurepip is here (python3: $found):" \
        "install one, and put the folder of its python3 first in PATH" >&2
    return 1
}

# ensure_venv [LOCK]: ensures .venv with Dayfly (editable) and what the lock file deploy/lock/LOCK.txt has: `host` (the default)
# or `dev`. pip refuses whatever has another hash than there.
ensure_venv() {
    local lock=$REPO/deploy/lock/${1:-host}.txt stamp wanted
    stamp=$VENV/.dayfly-${1:-host}
    wanted="$(cat "$REPO/pyproject.toml" "$lock" | sha256sum) $REPO"
    if [[ -x $VENV/bin/dayfly && -f $stamp && $(<"$stamp") == "$wanted" ]]; then return; fi
    if ! _python_fits "$VENV/bin/python"; then
        find_python || return
        limited 300 "$PYTHON" -m venv --clear "$VENV" || return
    fi
    say "    installing Dayfly and its dependencies into $VENV"
    pip_install --require-hashes --requirement "$lock" || return
    # Without pip's isolated build, which would fetch the build's requirements without hashes: the lock has them.
    pip_install --no-deps --no-build-isolation --editable "$REPO" || return
    printf '%s' "$wanted" >"$stamp"
}

# Not -qq: pip's warnings have the reason for an unreachable registry.
pip_install() {
    local log status=0
    log=$(mktemp) || return
    limited 1800 "$VENV/bin/python" -m pip install -q "$@" >"$log" 2>&1 || status=$?
    if [[ $status -eq 0 ]]; then rm -f "$log"; return; fi
    tail -n 20 "$log" >&2
    say "(pip's whole output: $log)" >&2
    explain_pip "$(<"$log")" >&2
    return "$status"
}

explain_pip() {
    case $1 in
        *"No space left on device"*)
            say "the disk is full: free some space ($(free_space "$VENV"), $(free_space "${TMPDIR:-/tmp}")), then start again" ;;
        *ProxyError* | *"Tunnel connection failed"* | *"407 Proxy"*)
            say "pip cannot use its proxy: see https_proxy, http_proxy and no_proxy in the environment" ;;
        *NewConnectionError* | *ConnectTimeout* | *ReadTimeout* | *"onnection refused"* | *"name resolution"* \
            | *"Name or service not known"* | *"Network is unreachable"* | *"Connection reset"*)
            say "the registry of Python packages cannot be reached: see the address (pip config list; PIP_INDEX_URL names" \
                "another) and this machine's network; where a proxy is needed, set https_proxy" ;;
        *CERTIFICATE_VERIFY_FAILED* | *SSLError*)
            say "this machine does not trust the registry's certificate: set PIP_CERT to a file of trusted authorities" ;;
        *"DO NOT MATCH THE HASHES"*)
            say "the registry of Python packages has another file than deploy/lock: see its address (pip config list)" ;;
        *"No matching distribution"*)
            say "the registry of Python packages has no suitable version: see its address (pip config list)" ;;
    esac
}
