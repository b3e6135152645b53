"""Rules for every file of the project."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import dayfly

REPO = Path(__file__).parents[2]
ROOTS = ("service", "migrations", "provisioning", "deploy", "tests", ".ci")
TEXT = {".py", ".sh", ".md", ".yaml", ".yml", ".toml", ".json", ".cfg", ".conf", ".j2", ".service", ".c", ".mako", ""}
MAXIMUM_LINES = 400
"""250 is what we aim at; at this length a file must be split."""


def files() -> Iterator[Path]:
    for root in ROOTS:
        for folder, folders, names in os.walk(REPO / root):
            folders[:] = [name for name in folders if name != "__pycache__"]
            yield from (Path(folder, name) for name in names)
    yield from (path for path in REPO.iterdir() if path.is_file())


def text_files() -> list[Path]:
    return sorted(path for path in files() if path.suffix in TEXT and not path.is_symlink())


def python_files() -> list[Path]:
    return [path for path in text_files() if path.suffix == ".py"]


def shown(path: Path) -> str:
    return str(path.relative_to(REPO))


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    written = [path for path in text_files() if path.suffix in {".py", ".sh"} or "provisioning" in path.parts]
    assert len(written) > 50
    long = {shown(path): count for path in written if (count := len(path.read_text().splitlines())) > MAXIMUM_LINES}
    assert long == {}


def test_every_module_of_the_service_says_why_it_exists() -> None:
    silent = [
        shown(path)
        for path in python_files()
        if "service" in path.parts and path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_annotations_are_never_evaluated_early() -> None:
    def lacks(path: Path) -> bool:
        body = ast.parse(path.read_text()).body
        plain = (ast.Import, ast.ImportFrom, ast.Expr, ast.Assign)
        return (
            not all(isinstance(node, plain) for node in body)
            and "from __future__ import annotations" not in path.read_text()
        )

    assert [shown(path) for path in python_files() if "service" in path.parts and lacks(path)] == []


def test_no_address_of_a_package_registry_or_of_one_machine_is_written_down() -> None:
    """Every machine has its own mirrors: they are read from its own configuration."""
    dot = re.escape(".")
    forbidden = re.compile(
        "|".join(
            (
                rf"(deb|security|ftp|archive|snapshot|httpredir){dot}(debian|ubuntu){dot}(org|com)",
                rf"(files{dot})?py(pi|thonhosted){dot}org",
                rf"registry{dot}npmjs",
                rf"proxy{dot}golang{dot}org",
                "/" + "tmp/lab",
                "/" + "work/",
            )
        )
    )
    assert forbidden.search("https://pypi" + ".org/simple")
    guilty = {
        shown(path): found[0] for path in text_files() if (found := forbidden.search(path.read_text(errors="replace")))
    }
    assert guilty == {}


def test_nothing_is_left_to_be_done_later() -> None:
    marks = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
    assert [shown(path) for path in text_files() if marks.search(path.read_text(errors="replace"))] == []


def test_nobody_but_settings_reads_the_environment() -> None:
    def reads(path: Path) -> bool:
        return any(
            isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
            for node in ast.walk(ast.parse(path.read_text()))
        )

    service = REPO / "service" / "dayfly"
    readers = {str(path.relative_to(service)) for path in service.rglob("*.py") if reads(path)}
    # The client and its command are installed without the server's settings; bakes hand their environment on.
    # The docker driver finds the engine by the docker command's own variables, as that command does.
    allowed = {"settings.py", "secrets_settings.py", "drivers/docker/engine_address.py"}
    assert {name for name in readers - allowed if not name.startswith(("client/", "cli/", "images/"))} == set()


def test_only_the_clock_knows_the_time() -> None:
    def calls(path: Path) -> set[str]:
        names = {"time.time", "time.monotonic", "time.sleep", "datetime.now", "datetime.utcnow"}
        return {ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)} & names

    service = REPO / "service" / "dayfly"
    users = {str(path.relative_to(service)): found for path in service.rglob("*.py") if (found := calls(path))}
    # The client and the command show a person how long something takes; they have no clock to be given.
    assert {name: found for name, found in users.items() if not name.startswith(("clock.py", "client/", "cli/"))} == {}


def test_every_folder_of_tests_is_a_stage_of_run_sh() -> None:
    script = (REPO / "tests" / "run.sh").read_text()
    stages = set(re.findall(r"\w+", " ".join(re.findall(r"(?:QUIET|VM)_STAGES=\(([^)]*)\)", script))))
    with_tests = {path.relative_to(REPO / "tests").parts[0] for path in (REPO / "tests").rglob("test_*.py")}
    assert with_tests <= stages
    assert stages - with_tests <= {"lint", "doctor", "serial"}, "serial runs a part of integration"


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert project["version"] == dayfly.__version__
    assert f"## {dayfly.__version__}" in (REPO / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("script", ["tests/run.sh", "deploy/quickstart.sh", ".ci/run"])
def test_scripts_can_be_run(script: str) -> None:
    assert os.access(REPO / script, os.X_OK)
