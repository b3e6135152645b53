"""The order of versions of kernels and of images."""

from __future__ import annotations


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key: numbers by value, a number before a word."""
    words = "".join(char if char.isalnum() else " " for char in version).split()
    return tuple((0, int(word), "") if word.isdecimal() else (1, 0, word) for word in words)
