"""How much is kept of what guests, containers and API servers send: none of them may fill this process's memory."""

from __future__ import annotations

import json
from typing import Final

OUTPUT_BYTES: Final = 1 << 20
"""Of a command's output, each stream."""
ANSWER_BYTES: Final = 16 << 20
"""Of one answer that is parsed. A list of some hundred pods takes two MiB."""
LINE_BYTES: Final = 4096
"""Of one line that is shown to a person."""


class MalformedAnswer(ValueError):
    """An answer does not have the expected form."""


class Tail:
    """The last `limit` bytes of a stream."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        self._kept += data
        # Not at each call: every cut moves the rest.
        if len(self._kept) > 2 * self._limit:
            del self._kept[: -self._limit]

    def content(self) -> bytes:
        return bytes(self._kept[-self._limit :]) if self._limit else b""


class Lines:
    """Splits a stream into lines of at most `limit` bytes, without their ends."""

    def __init__(self, limit: int, *, cut: bool = False) -> None:
        """`cut`: a longer line loses its end. Otherwise add() raises MalformedAnswer."""
        self._limit, self._cut = limit, cut
        self._rest = bytearray()

    def add(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        *ended, rest = data.split(b"\n")
        lines = []
        for part in ended:
            self._extend(part)
            lines.append(bytes(self._rest))
            self._rest.clear()
        self._extend(rest)
        return lines

    def end(self) -> list[bytes]:
        """The last line, where it has no end."""
        return [bytes(self._rest)] if self._rest else []

    def _extend(self, part: bytes) -> None:
        room = self._limit - len(self._rest)
        if len(part) > room and not self._cut:
            raise MalformedAnswer(f"a line is longer than {self._limit} bytes")
        self._rest += part[: max(0, room)]


def parse_json(text: bytes) -> object:
    """Raises ValueError, for deeply nested text as well."""
    try:
        parsed: object = json.loads(text)
    except RecursionError as error:
        raise MalformedAnswer("JSON is nested too deeply") from error
    return parsed
