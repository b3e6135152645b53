"""A ToolRunner in memory, with scripted output."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from dayfly.drivers.interfaces import OutputLine, ToolContainer
from dayfly.testing.fake_images import FakeImages


class FakeRun:
    """A ToolRun that prints `output` and ends with `code`."""

    def __init__(self, output: Sequence[OutputLine], code: int | None, images: FakeImages) -> None:
        self._output = output
        self._code = code
        self._images = images

    async def lines(self) -> AsyncIterator[OutputLine]:
        for line in self._output:
            yield line

    async def exit_code(self) -> int | None:
        return self._code

    async def commit(self, reference: str, *, labels: Mapping[str, str]) -> str:
        return self._images.add(reference, labels).id


class FakeTools:
    """Runs every container alike, and keeps what it was given."""

    def __init__(self, images: FakeImages, output: Sequence[OutputLine] = (), code: int | None = 0) -> None:
        self.images = images
        self.output = output
        self.code = code
        self.ran: list[ToolContainer] = []
        self.running = 0

    @asynccontextmanager
    async def run(self, tool: ToolContainer) -> AsyncIterator[FakeRun]:
        self.ran.append(tool)
        self.running += 1
        try:
            yield FakeRun(self.output, self.code, self.images)
        finally:
            self.running -= 1


def printed(*lines: str) -> tuple[OutputLine, ...]:
    return tuple(OutputLine("stdout", line) for line in lines)
