"""What all fakes share: counted calls, failures on demand, and gates at which a call waits."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque


class Gate:
    """Where calls wait until `open()`; `reached` is set once one does."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    async def pass_through(self) -> None:
        self.reached.set()
        await self._opened.wait()


class Faults:
    """Base of the fakes."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        """How often each method was called."""
        self._failures: defaultdict[str, deque[Exception]] = defaultdict(deque)
        self._gates: dict[str, Gate] = {}

    def fail_next(self, method: str, error: Exception, *, times: int = 1) -> None:
        """The next `times` calls of `method` raise `error` and do nothing."""
        self._failures[method].extend([error] * times)

    def fail_always(self, error: Exception, *methods: str) -> None:
        """Every call of `methods` raises `error`, until `heal`."""
        for method in methods:
            self._failures[method] = _Endless([error])

    def heal(self) -> None:
        """No more failures."""
        self._failures.clear()

    def block(self, method: str) -> Gate:
        """Calls of `method` wait at the gate that is returned, before they do anything."""
        return self._gates.setdefault(method, Gate())

    async def _enter(self, method: str) -> None:
        """Begin a call: count, wait, fail, as told."""
        self.calls[method] += 1
        if (gate := self._gates.get(method)) is not None:
            await gate.pass_through()
        else:
            # As in the real world, every call is a point where others may run.
            await asyncio.sleep(0)
        if failures := self._failures[method]:
            raise failures.popleft()


class _Endless(deque[Exception]):
    """A queue whose first is never used up."""

    def popleft(self) -> Exception:
        return self[0]
