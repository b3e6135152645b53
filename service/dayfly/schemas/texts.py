"""Texts for people in requests: labels, reasons, descriptions. They are printable, and on one line."""

from __future__ import annotations

import re
from typing import Final

UNPRINTABLE: Final = r"\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
"""Within brackets of a regular expression: control characters, ends of lines, and formats, which hide or turn text.

Spelled out, because regular expressions of JSON Schema's readers differ in the names of such classes.
"""
LINE: Final = rf"[^{UNPRINTABLE}]*"
NOT_BLANK: Final = rf" *[^ {UNPRINTABLE}]{LINE}"


def is_line(text: str) -> bool:
    """Whether it is printable, on one line."""
    return re.fullmatch(LINE, text) is not None and _can_be_encoded(text)


def is_not_blank(text: str) -> bool:
    """Whether it is a line with more than spaces."""
    return is_line(text) and re.fullmatch(NOT_BLANK, text) is not None


def _can_be_encoded(text: str) -> bool:
    """JSON may escape half of a character, which no database stores."""
    return not re.search(r"[\ud800-\udfff]", text)
