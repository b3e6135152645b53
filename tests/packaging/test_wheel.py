"""The installed wheel, without a checkout."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.packaging.conftest import REPO, Environment


def test_the_wheel_holds_what_is_not_python_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for root in ("migrations", "provisioning"):
        written = {
            f"dayfly/_assets/{path.relative_to(REPO)}"
            for path in (REPO / root).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert written
        assert written <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"dayfly"}
    assert "dayfly/py.typed" in names
    assert not [name for name in names if name.startswith("dayfly/testing/")], "fakes are for tests alone"


def test_programs_that_go_into_machines_stay_executable(server_environment: Environment) -> None:
    programs = [p for p in (REPO / "provisioning").rglob("*") if p.is_file() and p.stat().st_mode & 0o111]
    found = server_environment.python("from dayfly import assets; print(assets.provisioning())")
    for program in programs:
        installed = Path(found) / program.relative_to(REPO / "provisioning")
        assert installed.read_bytes() == program.read_bytes()


def test_the_client_stands_alone(client_environment: Environment) -> None:
    installed = json.loads(client_environment.run("python", "-m", "pip", "list", "--format", "json").stdout)
    names = {entry["name"].lower() for entry in installed}
    assert {"httpx", "typer"} <= names
    assert names.isdisjoint({"fastapi", "sqlalchemy", "aiodocker", "asyncssh", "ansible-core", "uvicorn"})
    loaded = client_environment.python(
        "import sys, dayfly.client; print('\\n'.join(sorted(n for n in sys.modules if n.startswith('dayfly'))))"
    ).splitlines()
    assert "dayfly.client" in loaded
    assert {name.split(".")[1] for name in loaded if "." in name} == {"addresses", "client", "schemas", "vocabulary"}


def test_the_command_helps_without_the_server(client_environment: Environment) -> None:
    assert "cluster" in client_environment.run("dayfly", "--help").stdout
    assert "create" in client_environment.run("dayfly", "cluster", "--help").stdout


@pytest.mark.parametrize("command", [("serve",), ("doctor",), ("image", "list")])
def test_a_command_of_the_server_says_what_is_missing(
    client_environment: Environment, command: tuple[str, ...]
) -> None:
    done = client_environment.run("dayfly", *command, ok=False)
    assert "'.[server]'" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout


def test_the_server_finds_migrations_and_recipes_in_the_wheel(server_environment: Environment) -> None:
    code = "from dayfly import assets; print(assets.migrations()); print(assets.provisioning())"
    migrations, provisioning = map(Path, server_environment.python(code).splitlines())
    assert migrations.is_relative_to(server_environment.root)
    assert (migrations / "env.py").is_file()
    assert list((migrations / "versions").glob("*.py"))
    assert {"bare", "k8s-debian"} <= {path.stem for path in (provisioning / "recipes").glob("*.yaml")}


@pytest.fixture
def served(server_environment: Environment) -> Iterator[str]:
    """A service without an engine: it must start and answer all the same."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = server_environment.variables | {
        "DAYFLY_LISTEN_PORT": str(port),
        "DAYFLY_STATE_DIR": str(server_environment.home / "state"),
        "DAYFLY_DOCKER_HOST": f"unix://{server_environment.home}/no-engine.sock",
    }
    log = server_environment.home / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(server_environment.root / "bin/dayfly"), "serve"],
            cwd=server_environment.home,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_answers(url, process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
    assert process.returncode in {0, -15}, log.read_text()
    assert "Traceback" not in log.read_text()


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/healthz", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(f"no answer within a minute\n{log.read_text()}")


def test_an_installed_service_starts_and_answers(served: str, server_environment: Environment) -> None:
    version = server_environment.run("dayfly", "version").stdout
    told = httpx.get(f"{served}/v1/version", trust_env=False).json()
    assert told["version"] in version
    assert httpx.get(f"{served}/v1/clusters", trust_env=False).status_code == 401
    token = (server_environment.home / "state/operator-token").read_text().strip()
    answer = httpx.get(f"{served}/v1/clusters", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    assert answer.status_code == 200
    assert (server_environment.home / "state/dayfly.db").is_file()


def test_the_doctor_of_an_installed_server_names_the_engine_that_is_not_there(server_environment: Environment) -> None:
    done = subprocess.run(
        [str(server_environment.root / "bin/dayfly"), "doctor", "--json"],
        env=server_environment.variables | {"DAYFLY_DOCKER_HOST": f"unix://{server_environment.home}/no-engine.sock"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["engine"]["status"] == "fail"
    assert checks["engine"]["advice"]
