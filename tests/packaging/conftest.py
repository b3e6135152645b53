"""A wheel, built as for a release, and environments with that wheel only."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


@dataclass(frozen=True)
class Environment:
    """A virtual environment outside the checkout. `home` is where its commands run and keep their state."""

    root: Path
    home: Path

    @property
    def variables(self) -> dict[str, str]:
        """Nothing of the caller's Python or Dayfly reaches a command."""
        return {
            "PATH": f"{self.root}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "120",
        }

    def run(self, *argv: str, timeout: float = 60, ok: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            argv, cwd=self.home, env=self.variables, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert (done.returncode == 0) is ok, f"{argv} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def python(self, code: str) -> str:
        return self.run("python", "-I", "-c", code).stdout.strip()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    _call([sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(REPO)], timeout=300)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def client_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """`pip install dayfly`."""
    return _environment(tmp_path_factory.mktemp("client"), str(wheel))


@pytest.fixture(scope="session")
def server_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """`pip install dayfly[server]`."""
    return _environment(tmp_path_factory.mktemp("server"), f"{wheel}[server]")


def _environment(folder: Path, requirement: str) -> Environment:
    root, home = folder / "venv", folder / "home"
    home.mkdir()
    venv.create(root, with_pip=True)
    # pip keeps the machine's own configuration, so that its index and mirrors are found.
    _call([str(root / "bin/python"), "-m", "pip", "install", "--quiet", requirement], timeout=900)
    return Environment(root, home)


def _call(argv: Sequence[str], *, timeout: float) -> None:
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
