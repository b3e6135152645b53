"""deploy/lib.sh and deploy/python.sh: packages, Python, signals; failures have a reason and a remedy."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.shell import Shell, is_alive, make_shell

UNREACHABLE = """case $1 in
update) echo "W: Failed to fetch http://mirror/dists/x/InRelease  Temporary failure resolving 'mirror'"; exit 0 ;;
*) echo "E: Unable to locate package cpio"; exit 100 ;;
esac"""


def refuses(words: str) -> str:
    """apt-get that can update and cannot install."""
    return f'[ "$1" = update ] || {{ echo "{words}"; exit 100; }}'


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = make_shell(tmp_path)
    shell.stand_in("dpkg-query", '[ "${!#}" = lz4 ] && echo installed')
    shell.stand_in("apt-get", "")
    return shell


def test_only_what_is_missing_is_installed_and_nothing_is_removed_for_it(shell: Shell) -> None:
    assert shell.run("install_packages lz4 cpio").code == 0
    update, download, install = shell.calls("apt-get")
    assert update.startswith("apt-get update")
    assert "--download-only cpio" in download
    assert install.endswith(" cpio")
    assert "--no-remove" in install


def test_apt_is_left_alone_where_nothing_is_missing(shell: Shell) -> None:
    assert shell.run("install_packages lz4").code == 0
    assert shell.calls("apt-get") == []


@pytest.mark.parametrize(
    ("apt_get", "own_words", "sentence"),
    [
        (UNREACHABLE, "Temporary failure resolving 'mirror'", "apt's archive cannot be reached"),
        (refuses("E: Unable to locate package cpio"), "locate package cpio", "apt's sources lack a package"),
        (
            refuses("E: You don't have enough free space in /var/cache/apt/archives/."),
            "enough",
            "the disk is full: free",
        ),
        (
            refuses("dpkg: error: write error: No space left on device"),
            "dpkg: error",
            "the disk is full: free some space",
        ),
        (refuses("E: Failed to fetch x  407  Proxy Authentication Required"), "407", "apt cannot use its proxy"),
        (refuses("E: Failed to fetch x  Could not connect to mirror:80"), "mirror:80", "where a proxy is needed"),
        (refuses("E: Could not get lock /var/lib/dpkg/lock-frontend"), "lock-frontend", "another program installs"),
        (refuses("E: dpkg was interrupted"), "dpkg was interrupted", "dpkg --configure -a"),
        ('echo "E: The list of sources could not be read."; exit 100', "could not be read", "whole output"),
    ],
)
def test_what_apt_cannot_do_is_told_with_its_own_words_and_what_to_do(
    shell: Shell, apt_get: str, own_words: str, sentence: str
) -> None:
    shell.stand_in("apt-get", apt_get)
    result = shell.run("part packages install_packages cpio")
    assert result.code == 1
    assert own_words in result.said
    assert sentence in result.said
    assert "packages failed after" in result.said


def test_a_source_that_fails_is_no_reason_where_another_program_holds_the_lock(shell: Shell) -> None:
    words = "W: Failed to fetch http://other/InRelease  Could not resolve"
    shell.stand_in(
        "apt-get", f'[ "$1" = update ] && {{ echo "{words}"; exit; }}; echo "E: Could not get lock"; exit 100'
    )
    result = shell.run("install_packages cpio")
    assert "another program installs packages" in result.said
    assert "cannot be reached" not in result.said


def pip(shell: Shell, words: str) -> None:
    (shell.folder / "venv" / "bin").mkdir(parents=True)
    # As the real one: the reason is a warning, and -qq hides warnings.
    warning = f'[[ " $* " == *" -qq "* ]] || echo "{words}" >&2'
    shell.stand_in("python", f'[ "$2" != pip ] || {{ {warning}; exit 1; }}')
    (shell.folder / "bin" / "python").rename(shell.folder / "venv" / "bin" / "python")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "NewConnectionError: Failed to establish a new connection: x",
            "the registry of Python packages cannot be reached",
        ),
        ("Temporary failure in name resolution", "where a proxy is needed, set https_proxy"),
        ("ProxyError('Cannot connect to proxy.')", "pip cannot use its proxy"),
        ("OSError: [Errno 28] No space left on device", "the disk is full: free some space"),
        ("SSLError: CERTIFICATE_VERIFY_FAILED", "set PIP_CERT to a file"),
        ("ERROR: No matching distribution found for pip", "has no suitable version"),
    ],
)
def test_what_pip_cannot_do_is_told_with_its_own_words_and_what_to_do(shell: Shell, words: str, sentence: str) -> None:
    pip(shell, words)
    result = shell.run("ensure_venv")
    assert result.code == 1
    assert words in result.said
    assert sentence in result.said


def test_no_python_that_fits_is_told_with_the_one_that_is_there(shell: Shell) -> None:
    shell.stand_in("python3", '[ "$1" = --version ] && echo Python 3.9.2; exit 1')
    result = shell.run("find_python")
    assert result.code == 1
    assert "apt-get" in " ".join(shell.calls())
    assert "no Python 3.11 or newer with the modules venv and ensurepip is here (python3: Python 3.9.2)" in result.said
    assert "first in PATH" in result.said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_ends_what_runs_at_once_and_lets_it_clean_up(shell: Shell, number: signal.Signals, code: int) -> None:
    # `timeout` forwards a signal only once it waits for its command, which may be sooner there.
    awaited = 'until grep -q "^State:.S" /proc/$PPID/status; do :; done'
    body = f'trap "echo mended >mended; exit 1" TERM; {awaited}; echo $$ >pid; while true; do sleep 0.05; done'
    shell.stand_in("slow", body)
    script = "trap 'end_child; echo \"ended by $SIGNAL\"' EXIT; exit_on_signals; part slow limited 60 slow"
    with shell.start(script, sources=("lib",)) as process:
        pid = shell.pid("pid")
        process.send_signal(number)
        said, _ = process.communicate(timeout=10)
    assert process.returncode == code
    assert f"ended by {number.name}" in said
    assert (shell.folder / "mended").exists()
    assert not is_alive(pid)


def test_a_signal_that_comes_before_the_pid_is_known_ends_the_command_too(shell: Shell) -> None:
    start = "PID_PENDING=yes; sleep 60 & echo $! >pid; kill -TERM $$; CHILD=$!; pid_noted"
    script = f"trap end_child EXIT; exit_on_signals; {start}"
    result = shell.run(script, sources=("lib",))
    assert result.code == 143
    assert not is_alive(int((shell.folder / "pid").read_text()))


def test_only_a_copy_of_this_shell_loses_signals(shell: Shell) -> None:
    ask = "loses_signals $! && echo loses || echo receives"
    assert shell.run("exit_on_signals; loses_signals $$ && echo loses", sources=("lib",)).said.strip() == "loses"
    assert shell.run("loses_signals $$ || echo receives", sources=("lib",)).said.strip() == "receives"
    ended = shell.run(f"exit_on_signals; true & wait; {ask}", sources=("lib",))
    assert ended.said.strip() == "receives"
    command = shell.run("exit_on_signals; sleep 60 & pid_noted; " + ask + "; kill $!; wait", sources=("lib",))
    assert command.said.strip() == "receives"


def test_what_is_read_after_the_end_of_a_child_is_what_was_asked_for(shell: Shell) -> None:
    """The file of a process that ends while it is read cannot be read back to its middle."""
    (shell.folder / "asked").write_text("asked for\n")
    start = "PID_PENDING=yes; : & pid_noted"
    look = 'while read -r line; do [[ $line == "asked for" ]] || echo "$line"; done <asked'
    result = shell.run(
        f"exit_on_signals; for ((i = 0; i < 300; i++)); do {start}; {look}; wait; done", sources=("lib",)
    )
    assert (result.code, result.said) == (0, "")


def test_packages_are_not_left_half_configured_by_a_signal(shell: Shell) -> None:
    install = "echo $$ >pid; until [ -e go ]; do sleep 0.02; done; touch whole"
    body = f'case " $* " in *download-only* | *" update "*) ;; *) {install} ;; esac'
    shell.stand_in("apt-get", body)
    script = "trap 'end_child' EXIT; exit_on_signals; part packages install_packages cpio"
    with shell.start(script, sources=("lib",)) as process:
        shell.pid("pid")
        process.terminate()
        (shell.folder / "go").touch()
        process.communicate(timeout=10)
    assert process.returncode == 143
    assert (shell.folder / "whole").exists()


def test_what_is_killed_for_taking_too_long_says_so(shell: Shell) -> None:
    result = shell.run("GRACE=1; limited 0.1 sleep 60")
    assert result.code == 124
    assert "sleep 60 did not end within 0.1 s" in result.said
