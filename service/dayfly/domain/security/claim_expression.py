"""Expressions on the claims of a token: their nodes, and what an expression says of some claims.

    repository == "org/app" && (ref == "refs/heads/main" || ref matches "refs/tags/v*")

Whatever an expression says about a missing claim is false, and so is its negation: a rule grants rights, and must not
grant them because an issuer leaves a claim out. The same holds of a claim of another type, as the text "5" beside the
number 5. Hence an expression holds, does not hold, or is undecided; an undecided one matches nothing.

Not here: how a text becomes an expression (claim_expression_parser.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Claims = Mapping[str, Any]
"""The claims of a token: JSON values by their names."""
Scalar = str | bool | int | float

_MISSING: Final = object()


@dataclass(frozen=True)
class Claim:
    """A claim's name: `ref`, or `kubernetes.namespace` for a claim within a claim."""

    path: tuple[str, ...]

    @property
    def name(self) -> str:
        return ".".join(self.path)

    def value(self, claims: Claims) -> Any:
        """The claim's value; _MISSING for none and for JSON's null."""
        found: Any = claims
        for part in self.path:
            found = found.get(part) if isinstance(found, Mapping) else None
        return _MISSING if found is None else found

    def is_missing(self, claims: Claims) -> bool:
        return self.value(claims) is _MISSING


@dataclass(frozen=True)
class Literal:
    """A text, number or truth value as the expression has it."""

    content: Scalar

    def value(self, _claims: Claims) -> Any:
        return self.content


Operand = Claim | Literal


@dataclass(frozen=True)
class Equal:
    """`left == right`."""

    left: Operand
    right: Operand


@dataclass(frozen=True)
class OneOf:
    """`needle in ["a", "b"]`."""

    needle: Operand
    choices: tuple[Literal, ...]


@dataclass(frozen=True)
class Contains:
    """`needle in groups`: the claim is a list."""

    needle: Operand
    haystack: Claim


@dataclass(frozen=True)
class Matches:
    """`claim matches "refs/heads/*"`: each `*` stands for any characters, `/` included; all else for itself."""

    claim: Claim
    glob: str


@dataclass(frozen=True)
class Has:
    """`has(claim)`: whether the claim is there. Always decided."""

    claim: Claim


@dataclass(frozen=True)
class IsTrue:
    """A truth value by itself: `true`, or a claim that is one."""

    operand: Operand


@dataclass(frozen=True)
class Not:
    negated: Expression


@dataclass(frozen=True)
class AllOf:
    """`a && b && …`."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class AnyOf:
    """`a || b || …`."""

    parts: tuple[Expression, ...]


Expression = Equal | OneOf | Contains | Matches | Has | IsTrue | Not | AllOf | AnyOf


def holds(expression: Expression, claims: Claims) -> bool:
    """Whether the expression is true of these claims; an undecided one is not. Never raises."""
    return evaluate(expression, claims) is True


def evaluate(expression: Expression, claims: Claims) -> bool | None:
    """Whether the expression is true of these claims; None if that is undecided. Never raises."""
    found: bool | None
    match expression:
        case Equal(left, right):
            found = _equal(left.value(claims), right.value(claims))
        case OneOf(needle, choices):
            value = needle.value(claims)
            found = _any([_equal(value, choice.content) for choice in choices])
        case Contains(needle, haystack):
            found = _contains(haystack.value(claims), needle.value(claims))
        case Matches(claim, glob):
            value = claim.value(claims)
            found = fits(glob, value) if isinstance(value, str) else None
        case Has(claim):
            found = not claim.is_missing(claims)
        case IsTrue(operand):
            value = operand.value(claims)
            found = value if isinstance(value, bool) else None
        case Not(negated):
            inner = evaluate(negated, claims)
            found = None if inner is None else not inner
        case AllOf(parts):
            found = _all([evaluate(part, claims) for part in parts])
        case AnyOf(parts):
            found = _any([evaluate(part, claims) for part in parts])
    return found


def claims_of(expression: Expression) -> Iterator[Claim]:
    """The claims that the expression names, in its order, repeated as often as it names them."""
    match expression:
        case Equal(left, right):
            yield from (operand for operand in (left, right) if isinstance(operand, Claim))
        case OneOf(operand) | IsTrue(operand):
            yield from (one for one in (operand,) if isinstance(one, Claim))
        case Contains(needle, haystack):
            yield from (operand for operand in (needle, haystack) if isinstance(operand, Claim))
        case Matches(claim) | Has(claim):
            yield claim
        case Not(negated):
            yield from claims_of(negated)
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from claims_of(part)


def fits(glob: str, text: str) -> bool:
    """Whether `text` is `glob` with any characters in place of each `*`. In linear time for each `*`."""
    first, *rest = glob.split("*")
    if not rest:
        return text == glob
    *middle, last = rest
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    position, end = len(first), len(text) - len(last)
    for piece in middle:
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True


def _equal(left: Any, right: Any) -> bool | None:
    kind = _kind(left)
    return bool(left == right) if kind is not None and kind is _kind(right) else None


def _contains(haystack: Any, needle: Any) -> bool | None:
    if not isinstance(haystack, list) or _kind(needle) is None:
        return None
    # An item of another type is another item: a list may mix types.
    return any(_equal(item, needle) is True for item in haystack)


def _kind(value: Any) -> type | None:
    """What a value can be compared with: its own kind; None for lists, objects and missing claims."""
    if isinstance(value, bool):
        return bool
    if isinstance(value, (int, float)):
        return float
    return str if isinstance(value, str) else None


def _all(parts: Sequence[bool | None]) -> bool | None:
    if False in parts:
        return False
    return None if None in parts else True


def _any(parts: Sequence[bool | None]) -> bool | None:
    if True in parts:
        return True
    return None if None in parts else False
