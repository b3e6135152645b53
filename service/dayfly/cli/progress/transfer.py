"""Progress of a push or pull: on a terminal one live line of bytes and layers; elsewhere lines."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from dayfly.cli.progress.live import LiveView, draws
from dayfly.drivers.interfaces import TransferProgress


class TransferView(LiveView):
    """Shows the progress of a push or pull."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._layers: dict[str, TransferProgress] = {}

    def show(self, progress: TransferProgress) -> None:
        """The callback of a push or pull."""
        before = self._layers.get(progress.layer)
        self._layers[progress.layer] = progress
        if not draws(self.console) and (before is None or before.status != progress.status):
            self.console.print(Text(f"{progress.layer} {progress.status}".strip()), soft_wrap=True)

    def render(self) -> Text:
        current = sum(layer.current_bytes for layer in self._layers.values())
        total = sum(layer.total_bytes for layer in self._layers.values())
        states = ", ".join(sorted({layer.status for layer in self._layers.values()}))
        return Text(f"{current / 1e6:.0f} of {total / 1e6:.0f} MB  {states}", no_wrap=True, overflow="ellipsis")
