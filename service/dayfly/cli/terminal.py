"""The way of all text to the terminal: here control characters are escaped, whoever wrote them.

`say` prints a text, `log_to_terminal` the client's log; progress/live.py has the Console of what rich draws. A test
allows no other way in cli/.
Not here: what is printed (emit.py, *_output.py, progress/).
"""

from __future__ import annotations

import logging
import sys

import typer

from dayfly.cli.formatting import printable


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print to standard output, or with `err` to standard error."""
    typer.echo(printable(text), err=err, nl=nl)


def pass_on(text: str, *, nl: bool = True) -> None:
    """Print output of a guest: as it is for files and pipes, and without control characters on a terminal."""
    if sys.stdout.isatty():
        say(text.replace("\r\n", "\n"), nl=nl)
    else:
        typer.echo(text, nl=nl)


class _Terminal(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record), err=True)


def log_to_terminal() -> None:
    """Print the client's warnings and errors: what it repeats, and which heartbeats failed."""
    logger = logging.getLogger("dayfly.client")
    if not any(isinstance(handler, _Terminal) for handler in logger.handlers):
        logger.addHandler(_Terminal(logging.WARNING))
