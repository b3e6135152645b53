"""Bounded reading of streams that others write."""

from __future__ import annotations

import pytest

from dayfly.drivers.bounds import Lines, MalformedAnswer, Tail, parse_json


def test_the_last_bytes_are_kept_however_they_come() -> None:
    for size in (1, 3, 7, 100):
        tail = Tail(10)
        data = bytes(range(100))
        for start in range(0, 100, size):
            tail.add(data[start : start + size])
        assert tail.content() == data[-10:]
        assert len(tail._kept) <= 2 * 10


def test_less_than_the_limit_is_kept_whole() -> None:
    tail = Tail(10)
    tail.add(b"abc")
    assert tail.content() == b"abc"


def test_a_tail_of_nothing() -> None:
    tail = Tail(0)
    tail.add(b"abc")
    assert tail.content() == b""


def test_lines_are_completed_by_later_pieces() -> None:
    lines = Lines(10)
    assert lines.add(b"one\ntw") == [b"one"]
    assert lines.add(b"o\n\nthr") == [b"two", b""]
    assert lines.end() == [b"thr"]


def test_a_long_line_loses_its_end_and_the_next_is_whole() -> None:
    lines = Lines(4, cut=True)
    assert lines.add(b"abcdef") == []
    assert lines.add(b"ghi\nnext\n") == [b"abcd", b"next"]


def test_a_line_that_is_too_long() -> None:
    lines = Lines(4)
    lines.add(b"abcd")
    with pytest.raises(MalformedAnswer, match="longer than 4 bytes"):
        lines.add(b"e")


@pytest.mark.parametrize("text", [b"{", b"[" * 100_000, b"\xff"])
def test_text_that_cannot_be_parsed_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_deep_nesting_is_named() -> None:
    with pytest.raises(MalformedAnswer, match="nested"):
        parse_json(b"[" * 100_000)
