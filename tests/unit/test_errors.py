"""The error tree: codes are unique, well-formed and documented, because callers rely on them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from dayfly import errors
from dayfly.errors import DayflyError


def tree(root: type[DayflyError] = DayflyError) -> Iterator[type[DayflyError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__.startswith(errors.__name__):
            yield from tree(child)


CLASSES = list(tree())
BRANCHES = (DayflyError, errors.InfrastructureError, errors.Failure)
"""Base classes for `except`. Without their own code, they have that of a defect, and are never raised."""


def drawn() -> dict[str, str]:
    """The docstring's drawing: class name → the rest of its line."""
    pattern = re.compile(r"^\s*[│ ]*(?:├── |└── )?([A-Z]\w+)\b(.*)$", re.MULTILINE)
    return {match[1]: match[2] for match in pattern.finditer((errors.__doc__ or "").partition("\n\n")[2])}


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_is_drawn_with_its_code_and_explained(error: type[DayflyError]) -> None:
    lines = drawn()
    assert error.__name__ in lines
    own_code = "code" in vars(error) and not error.__subclasses__()
    if own_code and error.code != "not_found":
        assert re.search(rf"\b{error.code}\b", lines[error.__name__])
    assert error.__doc__
    assert error.__doc__.rstrip().endswith(".")


def test_codes_are_unique() -> None:
    counts = Counter(error.code for error in CLASSES if error not in BRANCHES)
    assert [code for code, count in counts.items() if count > 1] == []
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in counts)


def test_no_class_inherits_the_code_of_another() -> None:
    """Two classes with one code would be one failure with two names."""
    assert [error.__name__ for error in CLASSES if "code" not in vars(error)] == [
        "InfrastructureError",
        "Failure",
    ]


def test_no_layer_grows_errors_of_its_own_with_a_code_already_taken() -> None:
    def everything(root: type[DayflyError]) -> Iterator[type[DayflyError]]:
        yield root
        for child in root.__subclasses__():
            yield from everything(child)

    elsewhere = [error for error in everything(DayflyError) if not error.__module__.startswith(errors.__name__)]
    codes = {error.code for error in CLASSES}
    assert [e for e in elsewhere if e.__module__.startswith("dayfly.") and "code" in vars(e) and e.code in codes] == []


def test_evidence_is_the_errors_own() -> None:
    given = {"console": "panic"}
    error = errors.VmExited("QEMU ended", evidence=given)
    given["console"] = "changed"
    assert error.evidence == {"console": "panic"}
    assert str(error) == error.message == "QEMU ended"


def test_a_message_has_a_bounded_length() -> None:
    """Guests and other servers write parts of messages, which events, problems and the log repeat."""
    whole = "x" * errors.MESSAGE_CHARACTERS
    assert errors.CommandFailed(whole).message == whole
    error = errors.CommandFailed(f"{whole}{'y' * 2**24}", operator_detail=whole * 9)
    assert str(error) == error.message == f"{whole[:-1]}…"
    assert len(error.operator_detail) == errors.MESSAGE_CHARACTERS
