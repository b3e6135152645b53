"""Generates the synchronous client from the asynchronous client: `python -m tests.support.unasync`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

CLIENT: Final = Path(__file__).parents[2] / "service" / "dayfly" / "client"

_RULES: Final = (
    (r"\b(async|await) ", ""),
    (r"\basync_", "sync_"),
    (r"\basynchronous\b", "synchronous"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\ba(close|read|iter_sse|iter_text)\b", r"\1"),
    (r"\bimport asyncio\b", "import time"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\basyncio\.to_thread\(([\w.]+)\)", r"\1()"),
    (r"\bAwaitable, ", ""),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
)


def synchronous() -> dict[Path, str]:
    """The modules of the synchronous client, as they have to be."""
    return {
        source.with_name(source.name.removeprefix("a")): _translate(source)
        for source in sorted(CLIENT.glob("async_*.py"))
    }


def _translate(source: Path) -> str:
    text = f"# Generated from {source.name} by `python -m tests.support.unasync`: do not edit.\n{source.read_text()}"
    header, _, rest = text.partition("\n")
    for pattern, replacement in _RULES:
        rest = re.sub(pattern, replacement, rest)
    text = f"{header}\n{rest}"
    ruff = Path(sys.executable).parent / "ruff"
    for command in (("check", "--select", "I", "--fix"), ("format",)):
        text = subprocess.run(
            [ruff, *command, "--quiet", "--stdin-filename", source.with_name(source.name.removeprefix("a")), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
    return text


if __name__ == "__main__":
    for target, content in synchronous().items():
        target.write_text(content)
