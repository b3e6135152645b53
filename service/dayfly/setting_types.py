"""Parts of the types of settings: lists in one variable, and checks with one sentence. Not here: any setting."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pydantic import AfterValidator


def as_list(value: Any) -> Any:
    """A list is written as `a,b`, or in JSON as older releases required."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("write a list as lab.example,10.0.0.5") from None
    return [one.strip() for one in value.split(",") if one.strip()]


def must(hold: Callable[[str], object], sentence: str) -> AfterValidator:
    """A check of a text, with the sentence for other texts."""

    def checked(value: str) -> str:
        if not hold(value):
            raise ValueError(sentence)
        return value

    return AfterValidator(checked)
