"""The doctor's check of the Debian packages for bakes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dayfly.doctor import packages
from dayfly.doctor.packages import FindSources, NeededSuite, check_packages, needed_suites
from dayfly.errors import BakeFailed
from dayfly.images.apt import Source, Sources
from dayfly.images.recipe import recipe_names

URI = "http://mirror.invalid/debian"
RECIPES = ("bare", "bare-writeboost", "k8s-debian", "k8s-debian-conformance", "k8s-debian-iscsi")
BOOKWORM = NeededSuite("bookworm", backports=True, recipes=RECIPES)


def finder(answers: Mapping[str, Sources | BakeFailed]) -> FindSources:
    async def find(need: NeededSuite) -> Sources:
        answer = answers[need.suite]
        if isinstance(answer, BakeFailed):
            raise answer
        return answer

    return find


def sources(*releases: str, missing: tuple[str, ...] = ()) -> Sources:
    found = tuple(Source(URI, release) for release in releases)
    return Sources(found, missing, "this machine's apt sources", Path("/keys.gpg"))


def test_every_recipe_is_counted_with_the_toolbox() -> None:
    versions = tuple(name for name in recipe_names() if name.startswith("k8s-1."))
    # Cloud images have sources of their own, but for those that name a suite.
    trixie = NeededSuite("trixie", backports=False, recipes=("debian-13", *versions))
    others = (*versions, *("centos-stream-10", "debian-13", "fedora-44", "ubuntu-26.04"))
    assert versions
    # The toolbox of every image is of bookworm.
    assert set(needed_suites()) == {replace(BOOKWORM, recipes=tuple(sorted((*BOOKWORM.recipes, *others)))), trixie}


async def test_a_suite_that_is_there_says_from_where_and_for_what() -> None:
    (check,) = await check_packages([BOOKWORM], finder({"bookworm": sources("bookworm", "bookworm-security")}))
    assert (check.name, check.status, check.advice) == ("packages of bookworm", "ok", "")
    assert check.found.startswith("bookworm, bookworm-security of this machine's apt sources")
    assert check.found.endswith("for " + ", ".join(RECIPES))


async def test_a_suite_that_cannot_be_had_is_a_warning_with_the_reason() -> None:
    trixie = NeededSuite("trixie", backports=False, recipes=("mine",))
    answers: dict[str, Sources | BakeFailed] = {"bookworm": sources("bookworm")}
    answers["trixie"] = BakeFailed("Could not resolve; set DAYFLY_DEBIAN_MIRROR")
    fine, broken = await check_packages([BOOKWORM, trixie], finder(answers))
    assert fine.status == "ok"
    assert (broken.name, broken.status, broken.found) == (
        *("packages of trixie", "warn"),
        "no usable mirror; needed for mine",
    )
    assert "DAYFLY_DEBIAN_MIRROR" in broken.advice


async def test_security_updates_that_no_mirror_has_are_a_warning() -> None:
    answer = sources("bookworm", missing=("bookworm-security",))
    (check,) = await check_packages([BOOKWORM], finder({"bookworm": answer}))
    assert check.status == "warn"
    assert "bookworm-security" in check.advice
    assert "DAYFLY_DEBIAN_SECURITY_MIRROR" in check.advice


async def test_a_mirror_that_never_answers_does_not_hold_the_doctor_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(need: NeededSuite) -> Sources:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(packages, "LIMIT_SECONDS", 0.0)
    (check,) = await check_packages([BOOKWORM], hangs)
    assert check.status == "warn"
    assert "apt-get update" in check.advice
