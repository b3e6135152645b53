"""The text of an expression on claims → its nodes. The syntax is a part of the Common Expression Language (CEL),
with globs in place of CEL's regular expressions:

    or       = and {"||" and}
    and      = not {"&&" not}
    not      = "!" (not | claim) | "(" or ")" | test
    test     = operand ("==" | "!=") operand | operand "in" (list | claim) | claim "matches" text
             | "has" "(" claim ")" | claim | "true" | "false"
    operand  = claim | text | number | "true" | "false"
    claim    = name {"." name | "[" text "]"}         claims["https://lab/groups"]: a name that is no identifier
    list     = "[" literal {"," literal} "]"

Not here: what an expression means (claim_expression.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NoReturn

from dayfly.domain.security.claim_expression import (
    AllOf,
    AnyOf,
    Claim,
    Contains,
    Equal,
    Expression,
    Has,
    IsTrue,
    Literal,
    Matches,
    Not,
    OneOf,
    Operand,
)

MAX_CHARACTERS: Final = 4000
MAX_DEPTH: Final = 32
"""Of parentheses and negations within each other."""

_ROOT: Final = "claims"
_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>-?[0-9]+(?:\.[0-9]+)?)(?![A-Za-z0-9_.])
      | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<symbol>==|!=|&&|\|\||[!().,\[\]])
      | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_COMPARISONS: Final = frozenset({"==", "!=", "in", "matches"})
_KEYWORDS: Final = frozenset({"true", "false", "null", "has", "in", "matches"})
_HINTS: Final = {
    "=": "write == to compare",
    "&": "write && for `and`",
    "|": "write || for `or`",
    '"': "this text has no end",
    "'": "this text has no end",
    "<": "only == and != compare",
    ">": "only == and != compare",
}


class ExpressionError(ValueError):
    """A text is no expression. `position`: the index of the first character that does not belong there."""

    def __init__(self, text: str, position: int, reason: str) -> None:
        before = text[:position]
        line, column = before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1
        where = f"column {column}" if "\n" not in text else f"line {line}, column {column}"
        super().__init__(f"{where}: {reason}")
        self.position = position


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int

    @property
    def shown(self) -> str:
        return "the end" if self.kind == "end" else f"`{self.text}`"


def parse(text: str) -> Expression:
    """Raises ExpressionError."""
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(text, MAX_CHARACTERS, f"an expression has at most {MAX_CHARACTERS} characters")
    parser = _Parser(text)
    expression = parser.parse_or(0)
    if (token := parser.token).kind != "end":
        chained = token.text in _COMPARISONS
        parser.fail("a comparison has two sides: connect two with &&" if chained else "expected && or ||")
    return expression


class _Parser:
    """One pass from left to right; `token` is the next one."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.token = self._scan(0)

    def fail(self, reason: str, at: _Token | None = None) -> NoReturn:
        token = at or self.token
        raise ExpressionError(self._text, token.position, f"{reason}, not {token.shown}")

    def parse_or(self, depth: int) -> Expression:
        parts = [self._parse_and(depth)]
        while self._takes("||"):
            parts.append(self._parse_and(depth))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _parse_and(self, depth: int) -> Expression:
        parts = [self._parse_not(depth)]
        while self._takes("&&"):
            parts.append(self._parse_not(depth))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _parse_not(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise ExpressionError(self._text, self.token.position, f"more than {MAX_DEPTH} levels of ( and !")
        if self._takes("!"):
            negated = self._parse_negated(depth + 1)
            if self.token.text in _COMPARISONS:
                self.fail("`!` negates a claim or what is in parentheses, as in !(a == b); expected && or ||")
            return Not(negated)
        if self._takes("("):
            inner = self.parse_or(depth + 1)
            self._expect(")")
            return inner
        return self._parse_test()

    def _parse_negated(self, depth: int) -> Expression:
        if self.token.text in {"!", "(", "has"}:
            return self._parse_not(depth)
        return IsTrue(self._parse_operand())

    def _parse_test(self) -> Expression:
        start = self.token
        if start.text == "has" and start.kind == "name":
            return self._parse_has()
        operand = self._parse_operand()
        if self._takes("=="):
            return Equal(operand, self._parse_operand())
        if self._takes("!="):
            return Not(Equal(operand, self._parse_operand()))
        if self._takes("in"):
            return self._parse_in(operand)
        if self._takes("matches"):
            if not isinstance(operand, Claim):
                self.fail("the left side of `matches` is a claim", start)
            return Matches(operand, self._take_text("a text with `*`"))
        if isinstance(operand, Literal) and not isinstance(operand.content, bool):
            self.fail("expected == or != or in after a value")
        return IsTrue(operand)

    def _parse_has(self) -> Has:
        self._advance()
        self._expect("(")
        claim = self._parse_claim()
        self._expect(")")
        return Has(claim)

    def _parse_in(self, needle: Operand) -> Expression:
        if not self._takes("["):
            if self.token.kind != "name":
                self.fail("expected a list `[…]` or a claim after `in`")
            return Contains(needle, self._parse_claim())
        choices = [self._parse_literal()]
        while self._takes(","):
            choices.append(self._parse_literal())
        self._expect("]")
        return OneOf(needle, tuple(choices))

    def _parse_operand(self) -> Operand:
        if self.token.kind == "name" and self.token.text not in {"true", "false"}:
            return self._parse_claim()
        return self._parse_literal()

    def _parse_literal(self) -> Literal:
        token = self.token
        if token.kind == "text":
            return Literal(self._take_text("a text"))
        if token.kind == "number":
            self._advance()
            return Literal(float(token.text) if "." in token.text else int(token.text))
        if token.kind != "name" or token.text not in {"true", "false"}:
            self.fail("expected a claim, a text, a number, true or false")
        self._advance()
        return Literal(token.text == "true")

    def _parse_claim(self) -> Claim:
        start = self.token
        if start.kind != "name":
            self.fail("expected a claim's name")
        if start.text in _KEYWORDS:
            self.fail(f'`{start.text}` is no claim; a claim of this name is claims["{start.text}"]; expected a name')
        path = [self._take_name()]
        while True:
            if self._takes("."):
                path.append(self._take_name())
            elif self._takes("["):
                path.append(self._take_text("the claim's name in quotes"))
                self._expect("]")
            else:
                break
        if path[0] == _ROOT:
            del path[0]
        if not path:
            self.fail('`claims` alone is no claim: write claims["NAME"]; expected a name', start)
        return Claim(tuple(path))

    def _take_name(self) -> str:
        token = self.token
        if token.kind != "name":
            self.fail("expected a name")
        self._advance()
        return token.text

    def _take_text(self, expected: str) -> str:
        token = self.token
        if token.kind != "text":
            self.fail(f"expected {expected}")
        inner = token.text[1:-1]
        for escape in _ESCAPE.finditer(inner):
            if escape[1] not in "\\\"'":
                position = token.position + 1 + escape.start()
                raise ExpressionError(self._text, position, f"`{escape[0]}` is unknown: \\ stands before \\, \" and '")
        self._advance()
        return _ESCAPE.sub(r"\1", inner)

    def _takes(self, text: str) -> bool:
        """Whether the next token is this symbol or keyword, which is taken then."""
        if self.token.text != text or self.token.kind not in {"symbol", "name"}:
            return False
        self._advance()
        return True

    def _expect(self, symbol: str) -> None:
        if not self._takes(symbol):
            self.fail(f"expected `{symbol}`")

    def _advance(self) -> None:
        self.token = self._scan(self.token.position + len(self.token.text))

    def _scan(self, position: int) -> _Token:
        found = _TOKEN.match(self._text, position)
        if found is None or found.lastgroup is None:
            start = position + len(self._text[position:]) - len(self._text[position:].lstrip())
            wrong = self._text[start]
            raise ExpressionError(self._text, start, _HINTS.get(wrong, f"`{wrong}` does not belong here"))
        kind = found.lastgroup
        return _Token(kind, found[kind], found.start(kind))
