"""deploy/docker/pip_for.py: the wheels for the lab's Python do not depend on the running Python."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PIP_FOR = Path(__file__).parents[2] / "deploy/docker/pip_for.py"


def wheel(folder: Path, name: str, *requires: str) -> None:
    with zipfile.ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as archive:
        needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
        archive.writestr(f"{name}-1.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{needs}")
        archive.writestr(f"{name}-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{name}-1.dist-info/RECORD", "")


@pytest.mark.parametrize(("version", "fetched"), [("3.8.1", {"main", "early"}), ("3.99.0", {"main", "late"})])
def test_dependencies_are_those_of_the_other_python(tmp_path: Path, version: str, fetched: set[str]) -> None:
    index, target = tmp_path / "index", tmp_path / "target"
    index.mkdir()
    wheel(index, "main", 'early; python_version < "3.9"', 'late; python_full_version >= "3.99.0"')
    wheel(index, "early")
    wheel(index, "late")
    subprocess.run(
        [
            *(sys.executable, PIP_FOR, version, "download", "--quiet", "--disable-pip-version-check", "--no-index"),
            *("--find-links", index, "--only-binary", ":all:", "--python-version", version, "--dest", target, "main"),
        ],
        check=True,
        timeout=60,
    )
    assert {path.name.partition("-")[0] for path in target.iterdir()} == fetched
