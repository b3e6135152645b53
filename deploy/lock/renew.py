"""Writes the lock files beside this file: versions and hashes of all that pip installs, without download addresses.

    python deploy/lock/renew.py               after a change of pyproject.toml or a merge: keeps what still fits
    python deploy/lock/renew.py --upgrade     the newest versions of all
    python deploy/lock/renew.py --check       whether the files fit pyproject.toml; without network

A file serves Python 3.11 and newer on all platforms: lines have markers, and hashes of all wheels and of the source.
It needs `uv`, which the group dev has, and asks the index that uv is configured for.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

HERE: Final = Path(__file__).resolve().parent
REPO: Final = HERE.parents[1]
_TITLE: Final = "# Written by `python deploy/lock/renew.py`, for `pip install --require-hashes`: do not edit.\n"
_PIN: Final = re.compile(r"([a-z0-9][a-z0-9._-]*)==([^\s;]+)( ; [^\\]+)? \\")
_HASH: Final = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


@dataclass(frozen=True)
class Lock:
    """A lock file: the project with these extras and dependency groups."""

    name: str
    extras: tuple[str, ...]
    groups: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        return f"{self.name}.txt"


LOCKS: Final = (
    Lock("dev", ("server", "bake"), ("build", "dev")),
    Lock("host", ("server", "bake"), ("build",)),
    Lock("service", ("server",)),
)
"""`dev`: tests/run.sh; `host`: an installation from a clone; `service`: its image. Versions are equal."""


def renew(*, upgrade: bool) -> None:
    """Write all files. Raises CalledProcessError."""
    for lock in LOCKS:
        # The first has all packages: the others take its versions.
        constraints: list[str | Path] = [] if lock is LOCKS[0] else ["--constraint", HERE / LOCKS[0].file]
        command: list[str | Path] = [
            *("uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"),
            *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
            *(part for extra in lock.extras for part in ("--extra", extra)),
            *(part for group in lock.groups for part in ("--group", group)),
            *(["--upgrade"] if upgrade else []),
            *constraints,
            *("--output-file", HERE / lock.file, "pyproject.toml"),
        ]
        subprocess.run(command, cwd=REPO, check=True, stdout=subprocess.DEVNULL)
        path = HERE / lock.file
        path.write_text(_TITLE + path.read_text().removeprefix(_TITLE))


def problems(project: Mapping[str, Any], texts: Mapping[str, str]) -> list[str]:
    """What is wrong with the lock files, by name, for this pyproject.toml: a sentence each."""
    found = []
    pins = {}
    for lock in LOCKS:
        text = texts[lock.name]
        found += [f"{lock.file}: {problem}" for problem in _malformed(text)]
        pins[lock.name] = _pins(text)
        found += [f"{lock.file}: {problem}" for problem in _unmet(_wanted(project, lock), pins[lock.name])]
    for lock in LOCKS[1:]:
        differing = sorted(name for name, versions in pins[lock.name].items() if versions != pins["dev"].get(name))
        found += [f"{lock.file}: {name} has another version than in {LOCKS[0].file}" for name in differing]
    return found


def _malformed(text: str) -> Iterator[str]:
    """Lines that are neither a pin, a hash nor a comment, and pins without a hash."""
    if "://" in text:
        yield "it has a download address"
    pinned = None
    for line in text.splitlines():
        if _HASH.fullmatch(line):
            pinned = None
        elif _PIN.fullmatch(line):
            if pinned is not None:
                yield f"{pinned} has no hash"
            pinned = line.partition("==")[0]
        elif not line.startswith("#"):
            yield f"a line is no pin with hashes: {line.strip()[:60]}"
    if pinned is not None:
        yield f"{pinned} has no hash"


def _pins(text: str) -> dict[str, set[str]]:
    """Name → its versions; several where they depend on the Python."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if (pin := _PIN.fullmatch(line)) is not None:
            found.setdefault(canonicalize_name(pin[1]), set()).add(pin[2])
    return found


def _wanted(project: Mapping[str, Any], lock: Lock) -> list[Requirement]:
    lines = [*project["project"]["dependencies"]]
    for extra in lock.extras:
        lines += project["project"]["optional-dependencies"][extra]
    for group in lock.groups:
        lines += project["dependency-groups"][group]
    if "build" in lock.groups:
        lines += project["build-system"]["requires"]
    return [Requirement(line) for line in lines]


def _unmet(wanted: Sequence[Requirement], pins: Mapping[str, set[str]]) -> Iterator[str]:
    for requirement in wanted:
        versions = pins.get(canonicalize_name(requirement.name))
        if versions is None:
            yield f"{requirement.name} is missing"
        elif not all(requirement.specifier.contains(Version(version), prereleases=True) for version in versions):
            locked = ", ".join(sorted(versions))
            yield f"{requirement.name} is {locked}, but pyproject.toml wants {requirement.specifier}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Renew or check the lock files of deploy/lock.")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--upgrade", action="store_true", help="take the newest versions")
    chosen.add_argument("--check", action="store_true", help="only check whether the files fit pyproject.toml")
    given = parser.parse_args()
    if not given.check:
        try:
            renew(upgrade=given.upgrade)
        except FileNotFoundError:
            print("uv is missing: it is in the group dev (tests/run.sh makes .venv with it)", file=sys.stderr)
            return 1
        except subprocess.CalledProcessError as error:
            return int(error.returncode)
    project = tomllib.loads((REPO / "pyproject.toml").read_text())
    found = problems(project, {lock.name: (HERE / lock.file).read_text() for lock in LOCKS})
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        print("renew them: python deploy/lock/renew.py", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
