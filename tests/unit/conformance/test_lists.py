"""The lists fit their form, and name specs exactly."""

from __future__ import annotations

import re

import pytest

from tests.conformance.lists import ListError, choose, excluded, focus, read_exclusions, read_short

KNOWN = (
    "[sig-a] one [Conformance]",
    "[sig-a] one [Conformance] more [Conformance]",
    "[sig-b] two (a+b)  [Conformance]",
)


def test_the_short_list_has_conformance_specs_of_each_area_that_can_run_here() -> None:
    short = read_short()
    assert 10 <= len(short) <= 15
    assert all("[Conformance]" in spec for spec in short)
    assert not [spec for spec in short if re.search(r"\[(Serial|Slow|Disruptive)\]", spec)]
    assert excluded(short, read_exclusions()) == {}
    for area in ("[sig-apps]", "[sig-network] Services", "[sig-network] DNS", "[sig-storage]", "[sig-api-machinery]"):
        assert any(area in spec for spec in short), area
    assert any("[NodeConformance]" in spec for spec in short)


def test_a_spec_that_is_listed_twice_is_an_error() -> None:
    with pytest.raises(ListError, match="twice"):
        read_short(["a b", "c", "a b"])


def test_an_exclusion_has_a_pattern_and_a_reason() -> None:
    (rule,) = read_exclusions("# comment\n\\[sig-b\\] => needs three nodes\n")
    assert excluded(KNOWN, [rule]) == {KNOWN[2]: "needs three nodes"}
    with pytest.raises(ListError, match="a reason"):
        read_exclusions("\\[sig-b\\]\n")


def test_the_long_list_is_everything_but_what_cannot_run() -> None:
    assert choose("long", KNOWN, read_exclusions("two => no")) == KNOWN[:2]


def test_a_line_of_the_short_list_is_a_spec_of_the_programs() -> None:
    with pytest.raises(ListError, match="exactly one"):
        choose("short", KNOWN, ())
    assert choose("short", (*KNOWN, *read_short()), ()) == read_short()


@pytest.mark.parametrize("spec", KNOWN)
def test_the_focus_on_a_spec_finds_no_other(spec: str) -> None:
    texts = {name: f"Kubernetes e2e suite [Top Level] {name}" for name in KNOWN}
    assert [name for name, text in texts.items() if re.search(focus(spec), text)] == [spec]
