"""deploy/quickstart.sh: its order, its behaviour without root, and after a signal."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.shell import Result, Shell, is_alive, make_shell, wait_until

SOURCES = ("quickstart",)
AS_USER = "is_root() { false; }; id() { case $1 in -nG) echo users ;; *) echo alice ;; esac; };"
ALL_STAND_IN = "REPO=$PWD; ensure_venv() { mkdir -p $VENV/bin; };"
"""A writable clone, and a virtual environment that is there at once."""
PYTHON = "exec /usr/bin/env true"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A Debian with all that is needed, an engine without any image, and a Dayfly that does everything at once."""
    shell = make_shell(tmp_path)
    shell.stand_in("dpkg-query", "echo installed")
    shell.stand_in("apt-get", "")
    shell.stand_in("apt-cache", "")
    shell.stand_in(
        "docker", '[ "$1" = version ] && echo 20.10; [ "$1 $2" = "image ls" ] && cat image 2>/dev/null; true'
    )
    shell.stand_in("python3", PYTHON)
    shell.stand_in("kubectl", "")
    shell.stand_in("ssh", "")
    shell.stand_in("curl", "")
    shell.stand_in("dayfly", '[ "$1" != serve ] || exec sleep 60')
    return shell


def start(shell: Shell, *arguments: str, before: str = "") -> Result:
    script = f"{ALL_STAND_IN} ask_service() {{ true; }}; {before} main {' '.join(arguments)}"
    return shell.run(script, sources=SOURCES)


def remove(shell: Shell, *names: str) -> None:
    for name in names:
        (shell.folder / "bin" / name).unlink()


def test_the_doctor_is_the_first_of_dayflys_own_and_before_the_bake(shell: Shell) -> None:
    result = start(shell, "--image", "bare")
    assert result.code == 0, result.said
    commands = [" ".join(call.split()[1:3]) for call in shell.calls("dayfly")]
    assert commands == ["doctor", "image bake", "whoami", "cluster show", "cluster show", "cluster ssh"]


def test_what_the_doctor_finds_ends_it(shell: Shell) -> None:
    shell.stand_in("dayfly", 'echo "fail  tun  there is no /dev/net/tun"; exit 1')
    result = start(shell, "--image", "bare")
    assert result.code == 1
    assert "fail  tun  there is no /dev/net/tun" in result.said
    assert 'see the lines that begin with "fail"' in result.said
    assert shell.calls("dayfly") == ["dayfly doctor"]


def test_an_ordinary_user_is_told_all_that_is_missing_at_once_and_nothing_is_done(shell: Shell) -> None:
    shell.stand_in("apt-cache", '[ "$2" = docker-cli ] && echo "docker-cli | 26.1.5 | mirror"')
    remove(shell, "docker", "kubectl")
    shell.stand_in("python3", "exit 1")
    shell.stand_in("dpkg-query", "")
    result = start(shell, before=AS_USER)
    assert result.code == 3
    (line,) = [line.strip() for line in result.said.splitlines() if "sudo apt-get" in line]
    assert line == "sudo apt-get install python3 python3-venv docker-cli docker.io kubernetes-client"
    assert "sudo usermod -aG docker alice" in result.said
    assert shell.calls("apt-get") == []
    assert list((shell.folder / "state").iterdir()) == []


def test_an_ordinary_user_whose_engine_is_there_needs_only_the_client(shell: Shell) -> None:
    remove(shell, "docker")
    shell.stand_in("dockerd", "")
    result = start(shell, before=AS_USER)
    assert result.code == 3
    assert "sudo apt-get install docker-cli\n" in result.said


def test_an_ordinary_user_who_may_not_open_the_socket(shell: Shell) -> None:
    shell.stand_in("docker", 'echo "permission denied while trying to connect" >&2; exit 1')
    shell.stand_in("dockerd", "")
    result = start(shell, before=AS_USER)
    assert result.code == 3
    assert "sudo usermod -aG docker alice      # then log in again" in result.said
    assert "apt-get" not in result.said


def test_an_ordinary_user_whose_engine_does_not_run(shell: Shell) -> None:
    shell.stand_in("docker", 'echo "Cannot connect to the Docker daemon" >&2; exit 1')
    shell.stand_in("dockerd", "")
    result = start(shell, before=f"{AS_USER} has_systemd() {{ true; }};")
    assert result.code == 3
    assert "  sudo systemctl start docker\n" in result.said


def test_where_there_is_no_apt_the_names_are_given_without_a_command(shell: Shell) -> None:
    remove(shell, "apt-get", "apt-cache", "dpkg-query", "docker")
    result = start(shell)
    assert result.code == 3
    assert "install (package names may differ on this system): docker.io\n" in result.said


def test_an_ordinary_user_without_kubectl_gets_a_cluster_and_the_command_to_install_it(shell: Shell) -> None:
    remove(shell, "kubectl")
    result = start(shell, before=AS_USER)
    assert result.code == 0, result.said
    assert "optional, to use the cluster: sudo apt-get install kubernetes-client" in result.said
    assert "kubectl is not installed" in result.said
    assert shell.calls("apt-get") == []


def test_curl_is_there_afterwards_for_the_session_of_the_readme(shell: Shell) -> None:
    shell.stand_in("dpkg-query", "")
    remove(shell, "curl")
    assert start(shell, "--image", "bare").code == 0
    assert any(" curl" in call for call in shell.calls("apt-get")), shell.calls("apt-get")
    result = start(shell, "--image", "bare", before=AS_USER)
    assert "optional, to use the cluster: sudo apt-get install curl" in result.said


def test_an_ordinary_user_uses_an_image_that_is_there_and_bakes_one_that_is_not(shell: Shell) -> None:
    assert start(shell, "--image", "bare", before=AS_USER).code == 0
    assert "dayfly image bake bare" in shell.calls()
    (shell.folder / "calls").unlink()
    (shell.folder / "image").write_text("9dabaa231998\n")
    result = start(shell, "--image", "bare", before=AS_USER)
    assert result.code == 0
    assert "using dayfly/bare:latest of the engine" in result.said
    assert "dayfly image bake bare" not in shell.calls()


def test_an_image_is_pulled_instead_of_baked_and_bake_tools_are_not_installed(shell: Shell) -> None:
    shell.stand_in("dpkg-query", "")
    shell.stand_in("dayfly", '[ "$1 $2" != "image pull" ] || echo 9dabaa231998 >image')
    assert start(shell, "--image", "bare", "--pull", "lab:5000/bare:1").code == 0
    assert "dayfly image pull lab:5000/bare:1" in shell.calls()
    assert "dayfly image bake bare" not in shell.calls()
    assert not any("mmdebstrap" in call for call in shell.calls("apt-get"))
    assert any("openssh-client" in call for call in shell.calls("apt-get"))


def test_a_pulled_image_of_another_recipe_is_refused(shell: Shell) -> None:
    result = start(shell, "--image", "bare", "--pull", "lab:5000/other:1")
    assert result.code == 1
    assert "lab:5000/other:1 is not an image of the recipe bare" in result.said


def test_a_service_that_ends_at_once_is_heard(shell: Shell) -> None:
    shell.stand_in("dayfly", '[ "$1" != serve ] || { echo "error: port 8700 is taken" >&2; exit 1; }')
    result = start(shell, "--image", "bare", before="ask_service() { echo Connection refused; return 1; };")
    assert result.code == 1
    assert "error: port 8700 is taken" in result.said
    assert "(Connection refused); its output is above" in result.said
    assert not (shell.folder / "state" / "serve.pid").exists()


@pytest.mark.parametrize(("setting", "said"), [("", True), ("false", False)])
def test_callers_of_the_host_need_no_token_unless_the_caller_wants_that(shell: Shell, setting: str, said: bool) -> None:
    """Without: the first token of the service that was started is stored for the caller, and its file removed."""
    shell.stand_in(
        "dayfly",
        'case $1 in serve) echo "$DAYFLY_LOOPBACK_IS_OPERATOR" >serving; echo secret >state/operator-token; '
        'touch answers; exec sleep 60;; whoami) [ "$DAYFLY_LOOPBACK_IS_OPERATOR" = true ];; login) cat >given;; esac',
    )
    before = f"export DAYFLY_LOOPBACK_IS_OPERATOR={setting}; ask_service() {{ [[ -f answers ]]; }};"
    result = start(shell, "--image", "bare", before=before)
    try:
        assert result.code == 0, result.said
        assert (shell.folder / "serving").read_text() == f"{setting or 'true'}\n"
        assert ("every user of this host may use the service without a token" in result.said) == said
        assert (shell.folder / "given").exists() != said
        if not said:
            assert (shell.folder / "given").read_text() == "secret\n"
            assert not (shell.folder / "state/operator-token").exists()
    finally:
        os.kill(int((shell.folder / "state/serve.pid").read_text()), signal.SIGTERM)


def test_a_caller_without_a_token_is_told(shell: Shell) -> None:
    shell.stand_in("dayfly", '[ "$1" != whoami ]')
    result = start(shell, "--image", "bare")
    assert result.code == 1
    assert "wants a token: run dayfly login" in result.said


def test_a_signal_while_the_service_starts_leaves_no_service(shell: Shell) -> None:
    script = f"{ALL_STAND_IN} ask_service() {{ false; }}; main --image bare"
    with shell.start(script, sources=SOURCES) as process:
        pid = shell.pid("state/serve.pid")
        wait_until(lambda: "dayfly serve" in shell.calls(), "the service runs")
        process.terminate()
        said, _ = process.communicate(timeout=10)
    assert process.returncode == 143
    assert "interrupted by SIGTERM during: service" in said
    assert not is_alive(pid)
    assert not (shell.folder / "state" / "serve.pid").exists()


def test_a_signal_during_a_bake_lets_the_bake_clean_up(shell: Shell) -> None:
    body = 'trap "echo mended >mended; exit 1" TERM; echo $$ >pid; while true; do sleep 0.05; done'
    shell.stand_in("dayfly", f'[ "$2" != bake ] || {{ {body}; }}')
    with shell.start(f"{ALL_STAND_IN} main --image bare", sources=SOURCES) as process:
        pid = shell.pid("pid")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "interrupted by SIGINT during: image bare" in said
    assert (shell.folder / "mended").exists()
    assert not is_alive(pid)
