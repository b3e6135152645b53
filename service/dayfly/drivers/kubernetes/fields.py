"""Fields of what an API server sends: a field of another type counts as missing, and a text is one printable line."""

from __future__ import annotations

from typing import Final

from dayfly.drivers.kubernetes.http import Object

_NAME_CHARACTERS: Final = 120
_MESSAGE_CHARACTERS: Final = 1000


def mapping(item: Object, *path: str) -> Object:
    for key in path:
        found = item.get(key)
        item = found if isinstance(found, dict) else {}
    return item


def mappings(item: Object, key: str, limit: int) -> list[Object]:
    found = item.get(key)
    return [one for one in found[:limit] if isinstance(one, dict)] if isinstance(found, list) else []


def text(item: Object, *keys: str) -> str:
    """The first of these fields that there is, or `-`."""
    found = (clean(value, _NAME_CHARACTERS) for key in keys if isinstance(value := item.get(key), str))
    return next(filter(None, found), "-")


def number(item: Object, key: str) -> int:
    value = item.get(key)
    return value if type(value) is int and abs(value) < 1 << 32 else 0


def reason(item: Object) -> str:
    """`REASON: MESSAGE`, as far as there are both."""
    parts = (item.get("reason"), item.get("message"))
    return ": ".join(clean(part) for part in parts if isinstance(part, str) and part)


def clean(value: str, limit: int = _MESSAGE_CHARACTERS) -> str:
    """One line of printable characters, cut to `limit`."""
    line = " ".join(value[: limit + 1].split())
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return line if len(value) <= limit else f"{line[: limit - 1]}…"


def head(lines: list[str], limit: int) -> str:
    """The first lines within `limit` bytes, and how many are left out."""
    kept = _within(lines, limit)
    left_out = [f"({len(lines) - len(kept)} more lines are left out)"] if len(kept) < len(lines) else []
    return "\n".join([*kept, *left_out]) + "\n"


def tail(lines: list[str], limit: int) -> str:
    """The last lines within `limit` bytes, and how many are left out."""
    kept = _within(lines[::-1], limit)[::-1]
    left_out = [f"({len(lines) - len(kept)} earlier lines are left out)"] if len(kept) < len(lines) else []
    return "\n".join([*left_out, *kept]) + "\n"


def _within(lines: list[str], limit: int) -> list[str]:
    kept: list[str] = []
    for line in lines:
        limit -= len(line.encode()) + 1
        if limit < 0:
            break
        kept.append(line)
    return kept
