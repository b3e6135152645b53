"""Progress of a push or pull: on a terminal one live line of bytes and layers; elsewhere lines."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from dayfly.cli.formatting import printable_line
from dayfly.cli.progress.live import Console, LiveView, draws
from dayfly.drivers.interfaces import TransferProgress

_MOVING: Final = frozenset({"Downloading", "Pushing"})
"""The states of a layer whose bytes are under way; Docker also counts the bytes of an extraction."""


class TransferView(LiveView):
    """Shows the progress of a push or pull."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._layers: dict[str, TransferProgress] = {}
        self._bytes: dict[str, tuple[int, int]] = {}
        """Layer → its transferred bytes and its size. The engine reports no size of a complete layer."""

    def show(self, progress: TransferProgress) -> None:
        """The callback of a push or pull."""
        before = self._layers.get(progress.layer)
        self._layers[progress.layer] = progress
        size = progress.total_bytes or self._bytes.get(progress.layer, (0, 0))[1]
        # The archive that is pushed is a little larger than its files.
        done = min(progress.current_bytes, size) if progress.status in _MOVING else size
        self._bytes[progress.layer] = (done, size)
        if not draws(self.console) and (before is None or before.status != progress.status):
            self.console.print(Text(printable_line(f"{progress.layer} {progress.status}".strip())), soft_wrap=True)

    def render(self) -> Text:
        transferred = sum(done for done, _ in self._bytes.values())
        total = sum(size for _, size in self._bytes.values())
        states = ", ".join(sorted({layer.status for layer in self._layers.values()}))
        # Podman reports no sizes of a push.
        sizes = f"{transferred / 1e6:.0f} of {total / 1e6:.0f} MB  " if total else ""
        return Text(printable_line(f"{sizes}{states}"), no_wrap=True, overflow="ellipsis")
