"""Which recipes are rebuilt when their base or packages have news. Values; no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_RULE: Final = re.compile(r"(?P<recipe>[a-z][a-z0-9]*([.-][a-z0-9]+)*)(?P<promote>:promote)?")


@dataclass(frozen=True)
class RebuildRule:
    """`promote`: the recipe's name moves to the new image, once that is verified."""

    recipe: str
    promote: bool = False


def read_rules(entries: Iterable[str]) -> tuple[RebuildRule, ...]:
    """The rules of `bare`, `k8s-debian:promote`, …. Raises ValueError."""
    found: dict[str, RebuildRule] = {}
    for entry in entries:
        rule = _RULE.fullmatch(entry)
        if rule is None:
            raise ValueError(f"{entry!r} is no rule: write RECIPE, or RECIPE:promote to let the name follow")
        if rule["recipe"] in found:
            raise ValueError(f"{rule['recipe']} is listed twice")
        found[rule["recipe"]] = RebuildRule(rule["recipe"], promote=rule["promote"] is not None)
    return tuple(found.values())
