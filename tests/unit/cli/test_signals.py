"""A command cleans up after SIGTERM."""

from __future__ import annotations

import signal
import subprocess
import sys

_COMMAND = """
import asyncio
import typer
from dayfly.cli.signals import run_interruptible

async def work():
    try:
        print("working", flush=True)
        await asyncio.Event().wait()
    finally:
        print("cleaned up", flush=True)

app = typer.Typer()
app.command()(lambda: run_interruptible(work(), "stopped"))
app()
"""


def test_sigterm_lets_a_command_clean_up() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _COMMAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (130, "cleaned up\n", "stopped\n")
