"""deploy/lock: the lock files fit pyproject.toml, and the check finds those that do not."""

from __future__ import annotations

import copy
import importlib.util
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPO = Path(__file__).parents[2]


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("renew", REPO / "deploy" / "lock" / "renew.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["renew"] = module
    spec.loader.exec_module(module)
    return module


RENEW = _load()
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())
TEXTS = {lock.name: (REPO / "deploy" / "lock" / lock.file).read_text() for lock in RENEW.LOCKS}


def problems(project: Any = PROJECT, **texts: str) -> list[str]:
    found: list[str] = RENEW.problems(project, {**TEXTS, **texts})
    return found


def test_the_lock_files_fit() -> None:
    assert problems() == []


def test_every_extra_and_group_of_the_project_is_locked() -> None:
    assert {extra for lock in RENEW.LOCKS for extra in lock.extras} == set(PROJECT["project"]["optional-dependencies"])
    assert {group for lock in RENEW.LOCKS for group in lock.groups} == set(PROJECT["dependency-groups"])
    assert {path.name for path in (REPO / "deploy" / "lock").glob("*.txt")} == {lock.file for lock in RENEW.LOCKS}


def test_several_files_of_each_package_have_hashes() -> None:
    """The wheels of other platforms and the source: one hash alone would be of the machine that wrote the file."""
    for text in TEXTS.values():
        pins = text.split("==")[1:]
        assert sum(pin.count("--hash=") for pin in pins) > 5 * len(pins)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace("httpx==0.", "httpx==0.1+", 1), "service.txt: httpx is"),
        (lambda text: text.replace("httpx==", "httpy==", 1), "service.txt: httpx is missing"),
        (lambda text: f"--index-url https://mirror.example/simple\n{text}", "service.txt: it has a download address"),
        (lambda text: f"{text}extra==1.0\n", "service.txt: a line is no pin with hashes: extra==1.0"),
        (lambda text: f"{text}extra==1.0 \\\n", "service.txt: extra has no hash"),
        (lambda text: f"first==1.0 \\\n{text}", "service.txt: first has no hash"),
        (lambda text: f"{text}-e .\n", "service.txt: a line is no pin"),
        (lambda text: f"{text}h11==0.99 \\\n    --hash=sha256:{'0' * 64}\n", "service.txt: h11 has another version"),
    ],
)
def test_a_wrong_file_is_found(change: Callable[[str], str], problem: str) -> None:
    changed = change(TEXTS["service"])
    assert changed != TEXTS["service"]
    assert any(found.startswith(problem) for found in problems(service=changed)), problems(service=changed)


def test_a_new_bound_or_dependency_of_the_project_is_found() -> None:
    project = copy.deepcopy(PROJECT)
    project["project"]["dependencies"] += ["pydantic>=999", "another>=1"]
    for name in TEXTS:
        assert any(found.startswith(f"{name}.txt: pydantic is ") for found in problems(project))
        assert f"{name}.txt: another is missing" in problems(project)
