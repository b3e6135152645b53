"""One request as a value, and a conversation of several: what both clients send."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

T = TypeVar("T")


M = TypeVar("M", bound=BaseModel)


Query = Mapping[str, str | int | float | bool | Sequence[str] | None]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request. `hold_seconds` is how long the server may hold the answer on purpose."""

    method: str
    path: str
    parse: Callable[[httpx.Response], T]
    query: Query = field(default_factory=dict)
    json: Mapping[str, object] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hold_seconds: float = 0.0


Flow = Generator[Call[Any], Any, T]


def path_of(cluster: str, *parts: str) -> str:
    """The path of a cluster, and of what is below it."""
    return "/".join(("/v1/clusters", *(quote(part, safe="") for part in (cluster, *parts))))


def _text(response: httpx.Response) -> str:
    return response.text


def model(answer: type[M]) -> Callable[[httpx.Response], M]:
    """How to read an answer that is one of `answer`."""
    return lambda response: answer.model_validate_json(response.content)
