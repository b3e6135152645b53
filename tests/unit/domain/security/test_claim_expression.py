"""Expressions on claims: what holds, what is undecided, and where an error is."""

from __future__ import annotations

import fnmatch
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dayfly.domain.security.claim_expression import claims_of, evaluate, fits, holds
from dayfly.domain.security.claim_expression_parser import MAX_CHARACTERS, MAX_DEPTH, ExpressionError, parse

CLAIMS: dict[str, Any] = {
    "repository": "org/app",
    "ref": "refs/heads/main",
    "run_number": 5,
    "ratio": 0.5,
    "protected": True,
    "draft": False,
    "groups": ["dev", 7, "ops"],
    "nothing": None,
    "kubernetes.io": {"namespace": "ci", "pod": {"name": "runner-1"}},
    "https://lab/team": "red",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('repository == "org/app" && ref == "refs/heads/main"', True),
        ("repository == 'org/app' && ref == 'refs/heads/dev'", False),
        ('repository != "org/app"', False),
        ('repository != "org/other"', True),
        ('ref == "refs/heads/dev" || protected', True),
        # && binds more tightly than ||.
        ('protected || draft && ref == "x"', True),
        ('(protected || draft) && ref == "x"', False),
        ("!draft", True),
        ("!!protected", True),
        ("!(protected && !draft)", False),
        ("run_number == 5", True),
        ("run_number == 5.0", True),
        ("run_number == -5", False),
        ("ratio == 0.5", True),
        ("protected == true", True),
        ('ref in ["refs/heads/dev", "refs/heads/main"]', True),
        ('ref in ["refs/heads/dev"]', False),
        ('"dev" in groups', True),
        ("7 in groups", True),
        ('"7" in groups', False),
        ("ref in groups", False),
        ('ref matches "refs/heads/*"', True),
        ('ref matches "refs/*/ma*n"', True),
        ('ref matches "heads/*"', False),
        ('ref matches "refs/heads/MAIN"', False),
        ('claims["kubernetes.io"].namespace == "ci"', True),
        ('claims["kubernetes.io"].pod["name"] == "runner-1"', True),
        ('claims["https://lab/team"] == "red"', True),
        ("claims.protected", True),
        ("has(ref) && !has(other) && !has(nothing)", True),
        ("true", True),
        ("false", False),
        (r'repository == "org\\app" || ref == "\"" || ref == "\'"', False),
        ("ref ==\n  'refs/heads/main'\n  && protected", True),
    ],
)
def test_what_holds(text: str, expected: bool) -> None:
    assert evaluate(parse(text), CLAIMS) is expected


@pytest.mark.parametrize(
    "test",
    [
        'other == "x"',
        'other != "x"',
        "other == other",
        'other in ["x"]',
        '"x" in other',
        'other matches "*"',
        "other",
        "nothing",
        "ref.part == 'x'",
        # Of another type: a rule that leaves out a number must not be passed by a text.
        'run_number != "5"',
        "protected == 1",
        "groups == 'dev'",
        "ref",
        '"main" in ref',
        'run_number matches "*"',
        'claims["kubernetes.io"] == "ci"',
    ],
)
def test_neither_a_missing_claim_nor_one_of_another_type_matches(test: str) -> None:
    assert evaluate(parse(test), CLAIMS) is None
    assert not holds(parse(test), CLAIMS)
    assert not holds(parse(f"!({test})"), CLAIMS)
    assert not holds(parse(f"!({test}) && true"), CLAIMS)
    # What is decided without it is decided.
    assert holds(parse(f"({test}) || true"), CLAIMS)
    assert holds(parse(f"!(({test}) && false)"), CLAIMS)


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        ("", 1, "expected a claim, a text, a number, true or false, not the end"),
        ('ref = "x"', 5, "write == to compare"),
        ('ref == "x" & a', 12, "write &&"),
        ('ref == "x" | a', 12, "write ||"),
        ('ref == "x', 8, "this text has no end"),
        ("ref == 'x\n'", 8, "this text has no end"),
        ('ref == "x" == "y"', 12, "a comparison has two sides"),
        ('!ref == "x"', 6, "`!` negates a claim or what is in parentheses"),
        ('(ref == "x"', 12, "expected `)`, not the end"),
        ('ref == "x")', 11, "expected && or ||, not `)`"),
        ("ref in []", 9, "expected a claim, a text"),
        ('ref in ["x" "y"]', 13, "expected `]`"),
        ('ref in "x"', 8, "expected a list"),
        ('"x" matches "x"', 1, "the left side of `matches` is a claim"),
        ("ref matches other", 13, "expected a text with `*`"),
        ('"x"', 4, "expected == or != or in after a value"),
        ("5", 2, "expected == or != or in after a value"),
        ("ref == null", 8, "`null` is no claim"),
        ("has ref", 5, "expected `(`"),
        ("has(5)", 5, "expected a claim's name"),
        ("claims == 5", 1, "`claims` alone is no claim"),
        ("ref.5 == 5", 5, "expected a name, not `5`"),
        ("ref. == 5", 6, "expected a name"),
        ("a == 1.2.3", 6, "`1` does not belong here"),
        ("a < 3", 3, "only == and != compare"),
        (r'ref == "a\n"', 10, r"`\n` is unknown"),
        ("a == b c", 8, "expected && or ||, not `c`"),
        ("a && ", 6, "expected a claim"),
        ("ref == \N{LEFT DOUBLE QUOTATION MARK}x", 8, "does not belong here"),
    ],
)
def test_an_error_says_where_and_why(text: str, column: int, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    position = caught.value.position
    assert (position - text.rfind("\n", 0, position)) == column
    assert reason in str(caught.value)


def test_an_error_of_several_lines_names_the_line() -> None:
    with pytest.raises(ExpressionError, match=r"^line 2, column 4: write == to compare$"):
        parse('ref == "x" &&\n  a= 3')


def test_expressions_have_a_bounded_length_and_depth() -> None:
    deepest = "(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH
    assert holds(parse(deepest), {"a": True})
    for deeper in (f"({deepest})", "!" * (MAX_DEPTH + 2) + "a", "(" * 3000):
        with pytest.raises(ExpressionError, match=f"more than {MAX_DEPTH} levels"):
            parse(deeper)
    with pytest.raises(ExpressionError, match=f"at most {MAX_CHARACTERS} characters"):
        parse("a || " * MAX_CHARACTERS + "a")


def test_the_claims_of_an_expression_are_known() -> None:
    text = 'a == b && !(c.d in ["x"]) || e matches "*" && has(f) && "g" in h && i'
    assert [claim.name for claim in claims_of(parse(text))] == ["a", "b", "c.d", "e", "f", "h", "i"]


@given(text=st.text(max_size=60) | st.lists(st.sampled_from(list("ab.()[]!=&|'\",* \n")), max_size=40).map("".join))
def test_any_text_is_an_expression_or_an_error_with_a_position(text: str) -> None:
    position = 0
    try:
        found = evaluate(parse(text), {"a": "b"})
    except ExpressionError as error:
        found, position = None, error.position
    assert found in {True, False, None}
    assert 0 <= position <= len(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
LITERALS = st.booleans().map(json.dumps) | st.integers(-99, 99).map(str) | st.sampled_from(['"x"', '"a*"', "''"])
NAMES = st.sampled_from(["a", "b", "c", "a.b", 'claims["c"]'])
OPERANDS = NAMES | LITERALS
TESTS = st.one_of(
    NAMES,
    NAMES.map("has({})".format),
    st.builds("{} {} {}".format, OPERANDS, st.sampled_from(["==", "!="]), OPERANDS),
    st.builds("{} in {}".format, OPERANDS, NAMES),
    st.builds("{} in [{}, {}]".format, OPERANDS, LITERALS, LITERALS),
    st.builds('{} matches "{}"'.format, NAMES, st.sampled_from(["*", "a*", "x"])),
)
EXPRESSIONS = st.recursive(
    TESTS,
    lambda inner: st.one_of(
        inner.map("!({})".format),
        st.builds("({}) && ({})".format, inner, inner),
        st.builds("({}) || ({})".format, inner, inner),
    ),
    max_leaves=5,
)


@given(one=EXPRESSIONS, other=EXPRESSIONS, claims=st.dictionaries(st.sampled_from("abc"), JSON))
def test_no_claims_break_an_expression_and_logic_is_logic(one: str, other: str, claims: dict[str, Any]) -> None:
    first, second = evaluate(parse(one), claims), evaluate(parse(other), claims)
    assert evaluate(parse(f"!({one})"), claims) is (None if first is None else not first)
    assert evaluate(parse(f"!(!({one}))"), claims) is first
    both, either = evaluate(parse(f"({one}) && ({other})"), claims), evaluate(parse(f"({one}) || ({other})"), claims)
    assert (both is True) == (first is True and second is True)
    assert (both is False) == (first is False or second is False)
    assert (either is True) == (first is True or second is True)
    assert evaluate(parse(f"!(!({one}) && !({other}))"), claims) is either


@given(expression=EXPRESSIONS, claims=st.dictionaries(st.sampled_from("abc"), JSON), left_out=st.sampled_from("abc"))
def test_a_claim_that_is_left_out_turns_no_test_into_a_match(
    expression: str, claims: dict[str, Any], left_out: str
) -> None:
    """But for `has`, which asks about that: rules cannot be passed by an issuer's omission."""
    fewer = {name: value for name, value in claims.items() if name != left_out}
    if "has(" not in expression and holds(parse(expression), fewer):
        assert holds(parse(expression), claims)


@given(glob=st.text("ab*", max_size=8), text=st.text("ab", max_size=12))
def test_globs_are_those_of_a_shell(glob: str, text: str) -> None:
    assert fits(glob, text) == fnmatch.fnmatchcase(text, glob)


def test_a_glob_has_no_other_special_characters() -> None:
    assert fits("a?[b].*", "a?[b].c")
    assert not fits("a?", "ab")
    assert not fits("ab*ba", "aba")


def test_a_glob_of_many_stars_takes_no_long_time() -> None:
    assert not fits("a*" * 1000 + "b", "a" * 16_000)
