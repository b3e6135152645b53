"""The lists of specs: `short` is the recipe's, `long` all conformance specs of the programs but those of cannot.txt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dayfly.images.recipe import Recipe, load_recipe

RECIPE: Final = "k8s-debian-conformance"
FOLDER: Final = Path(__file__).parent
CONFORMANCE: Final = r"\[Conformance\]"
_ARROW: Final = " => "


class ListError(Exception):
    """A list that does not fit the programs, or its own form."""


@dataclass(frozen=True)
class Exclusion:
    """Specs whose names have `pattern` cannot run here."""

    pattern: re.Pattern[str]
    reason: str


def read_recipe() -> Recipe:
    return load_recipe(RECIPE)


def read_short(names: Sequence[str] | None = None) -> tuple[str, ...]:
    """The names of the short list. Raises ListError for a name that is there twice."""
    kubernetes = read_recipe().kubernetes
    if names is None:
        names = kubernetes.conformance.specs if kubernetes and kubernetes.conformance else ()
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ListError(f"the short list has these specs twice: {twice}")
    return tuple(names)


def read_exclusions(text: str | None = None) -> tuple[Exclusion, ...]:
    """The lines of cannot.txt. Raises ListError for a line without a reason."""
    found = []
    for line in _lines(text if text is not None else (FOLDER / "cannot.txt").read_text()):
        pattern, arrow, reason = line.partition(_ARROW)
        if not arrow or not reason.strip():
            raise ListError(f"a line of cannot.txt is a pattern, {_ARROW!r} and a reason: {line}")
        found.append(Exclusion(re.compile(pattern), reason.strip()))
    return tuple(found)


def excluded(specs: Iterable[str], exclusions: Iterable[Exclusion]) -> dict[str, str]:
    """The specs that cannot run here, each with the reason of its first exclusion."""
    rules = tuple(exclusions)
    reasons = {spec: next((rule.reason for rule in rules if rule.pattern.search(spec)), None) for spec in specs}
    return {spec: reason for spec, reason in reasons.items() if reason is not None}


def choose(name: str, known: Sequence[str], exclusions: Iterable[Exclusion]) -> tuple[str, ...]:
    """The specs of the list `short` or `long`, of all that the programs know. Raises ListError for an unknown spec."""
    if name == "long":
        without = excluded(known, exclusions)
        return tuple(spec for spec in known if spec not in without)
    specs = read_short()
    if unknown := [spec for spec in specs if known.count(spec) != 1]:
        raise ListError(f"these lines of the short list are not the name of exactly one conformance spec: {unknown}")
    return specs


def focus(spec: str) -> str:
    """The regular expression, in Go's syntax, that ginkgo finds in the text of this spec only.

    ginkgo puts the names of the suite and of the top level before the spec's.
    """
    return f" {re.escape(spec)}$"


def _lines(text: str) -> Iterator[str]:
    return (line.rstrip() for line in text.splitlines() if line.strip() and not line.startswith("#"))
