"""Removes known secrets from a text, also in base64 and within JSON, in lines of any length.

A secret is looked for in the text without its white space and backslashes: so base64 that is cut into lines, and JSON
that escapes the ends of lines or slashes, are found as well. Not here: which secrets there are (secrets.py).
"""

from __future__ import annotations

import base64
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

MARK: Final = "[secret]"
SHORTEST: Final = 16
"""Shorter lines, such as a key's last line, reveal nothing and may occur in any text."""

_BETWEEN: Final = re.compile(r"\\+[nrt]?|\s+")
_HEAD: Final = 12
"""Characters that a secret is recognised by before it is compared; its forms in base64 lose some of SHORTEST."""
_JOINED: Final = 12
"""The most characters between two secrets that are the rest of a key's line: of base64, the ends of both lines."""


class Redactor:
    """`secrets` are looked for as they are and in base64; each line of them, too."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._by_head: dict[str, list[str]] = {}
        for needle in sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True):
            self._by_head.setdefault(needle[:_HEAD], []).append(needle)
        self._heads = re.compile("|".join(map(re.escape, self._by_head)) or "(?!)")

    def redact(self, text: str) -> str:
        """`text` with MARK in place of each secret, or of several that follow each other."""
        squeezed, starts, offsets = _squeeze(text)
        parts, end = [], 0
        for first, last in self._found(squeezed):
            begin = _place(first, starts, offsets)
            parts += [text[end:begin], MARK]
            end = _place(last, starts, offsets) + 1
        return "".join((*parts, text[end:]))

    def _found(self, squeezed: str) -> Iterator[tuple[int, int]]:
        """The first and the last character of each secret, joined where they belong to one text."""
        begin, end, position = -1, -1, 0
        while head := self._heads.search(squeezed, position):
            position = head.start()
            length = next((len(one) for one in self._by_head[head[0]] if squeezed.startswith(one, position)), 0)
            if not length:
                position += 1
                continue
            if begin >= 0 and position - end > _JOINED:
                yield begin, end
                begin = position
            begin = position if begin < 0 else begin
            position += length
            end = position - 1
        if begin >= 0:
            yield begin, end


def base64_forms(text: str) -> tuple[str, ...]:
    """What of `text` is the same in the base64 of any longer text that contains it: three forms, by its place there."""
    forms = []
    for before, changed in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(bytes(before) + text.encode()).decode()
        # The last group depends on what follows.
        forms.append(encoded[changed:-4])
    return tuple(forms)


def _forms(secret: str) -> Iterator[str]:
    lines = [line.strip() for line in secret.splitlines()]
    lines = [line for line in lines if len(line) >= SHORTEST and not line.startswith("-----")]
    yield from lines
    # Of the whole text for what is in no line, of each line for other ends of lines and for a part of the text.
    for text in (secret, *lines):
        for form in base64_forms(text):
            if len(form) >= _HEAD:
                yield form
                yield form.replace("+", "-").replace("/", "_")


def _squeeze(text: str) -> tuple[str, list[int], list[int]]:
    """`text` without what is _BETWEEN; where its pieces begin there, and in `text`."""
    pieces, starts, offsets, length, end = [], list[int](), list[int](), 0, 0
    for between in (*_BETWEEN.finditer(text), None):
        begin = len(text) if between is None else between.start()
        if begin > end:
            pieces.append(text[end:begin])
            starts.append(length)
            offsets.append(end)
            length += begin - end
        end = begin if between is None else between.end()
    return "".join(pieces), starts, offsets


def _place(position: int, starts: list[int], offsets: list[int]) -> int:
    """The place in the text of a character of the squeezed text."""
    piece = bisect_right(starts, position) - 1
    return offsets[piece] + position - starts[piece]
