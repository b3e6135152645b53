"""HTTP to one cluster's API server: mutual TLS, single requests, and watches that reconnect.

Not here: what the objects mean (client.py).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import MAXYEAR, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, Self

import httpx

from dayfly.clock import Clock
from dayfly.drivers.bounds import ANSWER_BYTES, Lines, MalformedAnswer, parse_json
from dayfly.drivers.interfaces import KubeAccess

_RETRY_SECONDS: Final = 0.5
_WATCH_SECONDS: Final = 30
"""The length of a watch. The list that begins the next watch makes up for lost events."""
_SILENCE_SECONDS: Final = 60.0
MAX_OBJECTS: Final = 10_000
"""How many objects a watch remembers: what runs in a guest may make them as fast as it can."""
_APPLY: Final = {"Content-Type": "application/apply-patch+yaml"}
"""JSON is YAML."""

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """An object that exists, or was deleted."""

    kind: Literal["present", "gone"]
    object: Object

    @property
    def name(self) -> str:
        found: str = self.object["metadata"]["name"]
        return found


class KubeHttp:
    """A connection to one API server, as its administrator or, with `token`, as a service account."""

    def __init__(self, access: KubeAccess, clock: Clock, *, token: str | None = None) -> None:
        self._clock = clock
        self._date: tuple[datetime, float] | None = None
        self._extensions = {"sni_hostname": access.server_name}
        self._client = httpx.AsyncClient(
            base_url=f"https://{access.endpoint}",
            verify=_tls(access, with_certificate=token is None),
            # Not compressed: a small answer could become a very long one.
            headers={"Accept-Encoding": "identity"} | ({} if token is None else {"Authorization": f"Bearer {token}"}),
            # Published ports are reached directly, not through a proxy from the environment.
            trust_env=False,
            timeout=_SILENCE_SECONDS,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Object | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> httpx.Response:
        """The answer, whatever its status. Raises httpx.TransportError; so do more than `limit` bytes."""
        content, most = bytearray(), limit or ANSWER_BYTES
        sent = self._client.stream(method, path, params=params, json=body, headers=headers, extensions=self._extensions)
        async with sent as answer:
            self._note_date(answer)
            async for piece in answer.aiter_raw():
                content += piece
                if len(content) > most:
                    raise httpx.RemoteProtocolError(f"the answer to {method} {path} is longer than {most} bytes")
        return httpx.Response(answer.status_code, content=bytes(content), request=answer.request)

    async def apply(self, path: str, manifest: Object) -> httpx.Response:
        """The answer to a server-side apply, which creates or updates the object at `path`."""
        params = {"fieldManager": "dayfly", "force": "true"}
        return await self.request("PATCH", path, params=params, body=manifest, headers=_APPLY)

    def now(self) -> datetime:
        """The API server's time, at most a second ahead: its last answer's date, and what has passed since.

        Raises MalformedAnswer where no answer had a date.
        """
        if self._date is None:
            raise MalformedAnswer("the API server's answers have no date")
        date, noted = self._date
        return date + timedelta(seconds=1.0 + self._clock.monotonic() - noted)

    def _note_date(self, answer: httpx.Response) -> None:
        # A date has whole seconds, the fraction is cut off. OverflowError: its year is no year.
        with suppress(KeyError, TypeError, ValueError, OverflowError):
            date = parsedate_to_datetime(answer.headers["date"])
            if date.tzinfo is not None and date.year < MAXYEAR:
                self._date = (date, self._clock.monotonic())

    async def items(self, path: str, params: Mapping[str, str] | None = None) -> tuple[list[Object], str]:
        """All objects under `path`, and the resource version to watch from. Raises httpx.HTTPError, ValueError."""
        answer = await self.request("GET", path, params=params)
        listed = _mapping(parse_json(answer.raise_for_status().content))
        items = listed.get("items") or []
        if not isinstance(items, list):
            raise MalformedAnswer("the API server's list has no items")
        return [_object(item) for item in items], str(_mapping(listed.get("metadata")).get("resourceVersion", ""))

    async def watch(self, path: str, params: Mapping[str, str] | None = None) -> AsyncGenerator[Change, None]:
        """Every existing object, then each change, without end: the caller sets the limit. Reconnects after errors.

        The list after a reconnect reports the objects that were deleted meanwhile as gone, by their names only.
        """
        known: set[str] = set()
        while True:
            try:
                listed, version = await self.items(path, params)
                now = {item["metadata"]["name"] for item in listed}
                for name in known - now:
                    yield Change("gone", {"metadata": {"name": name}})
                known = now
                for item in listed:
                    yield Change("present", item)
                async for change in self._follow(path, {**(params or {}), "resourceVersion": version}):
                    if change.kind == "gone":
                        known.discard(change.name)
                    elif len(known) < MAX_OBJECTS:
                        known.add(change.name)
                    elif change.name not in known:
                        raise MalformedAnswer(f"the API server has more than {MAX_OBJECTS} objects under {path}")
                    yield change
            except (httpx.HTTPError, ValueError):
                # The API server starts, restarts, or broke off its answer: the caller's limit ends the retries.
                await self._clock.sleep(_RETRY_SECONDS)

    async def _follow(self, path: str, params: Mapping[str, str]) -> AsyncIterator[Change]:
        watching = {**params, "watch": "1", "timeoutSeconds": str(_WATCH_SECONDS)}
        async with self._client.stream("GET", path, params=watching, extensions=self._extensions) as answer:
            answer.raise_for_status()
            self._note_date(answer)
            lines = Lines(ANSWER_BYTES)
            async for piece in answer.aiter_raw():
                for line in lines.add(piece):
                    event = _mapping(parse_json(line))
                    kind = event.get("type")
                    if kind == "ERROR":
                        # Usually "too old resource version": list again.
                        return
                    if kind != "BOOKMARK":
                        yield Change("gone" if kind == "DELETED" else "present", _object(event.get("object")))


@asynccontextmanager
async def watched(
    access: KubeAccess, clock: Clock, path: str, name: str | None = None
) -> AsyncIterator[AsyncIterator[Change]]:
    """A watch of the objects under `path`, or of the one called `name`, on a connection of its own."""
    params = {"fieldSelector": f"metadata.name={name}"} if name else {}
    async with KubeHttp(access, clock) as http, aclosing(http.watch(path, params)) as changes:
        yield changes


def _mapping(value: object) -> Object:
    if isinstance(value, Mapping):
        return value
    raise MalformedAnswer("the API server's answer is not the expected JSON object")


def _object(value: object) -> Object:
    """An object with a name."""
    found = _mapping(value)
    if not isinstance(_mapping(found.get("metadata")).get("name"), str):
        raise MalformedAnswer("an object of the API server has no name")
    return found


def _tls(access: KubeAccess, *, with_certificate: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=access.ca)
    if not with_certificate:
        return context
    with _secret_file(f"{access.certificate}\n{access.key}") as path:
        context.load_cert_chain(path)
    return context


@contextmanager
def _secret_file(text: str) -> Iterator[str]:
    """A path of `text` in memory, never on disk: Python's ssl reads keys from files only."""
    descriptor = os.memfd_create("dayfly-client")
    try:
        with os.fdopen(os.dup(descriptor), "w") as file:
            file.write(text)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
