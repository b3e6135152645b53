"""The entry point: lists the commands and prints errors.

A command's module is imported when the command is used: `dayfly cluster …` works where only the client is installed,
and starts quickly.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import typer
import typer.core

from dayfly.cli.errors import explain
from dayfly.cli.exit_codes import HELP, ExitCode
from dayfly.cli.on_use import import_on_use, unwrap_help
from dayfly.cli.terminal import log_to_terminal, say


@dataclass(frozen=True)
class _Lazy:
    """A command or a group of commands: an attribute of a module that is imported on use."""

    module: str
    attribute: str
    summary: str
    hidden: bool = False


_COMMANDS: Final = {
    "serve": _Lazy("dayfly.cli.serve", "serve", "Run the service: API and worker in one process."),
    "api": _Lazy("dayfly.cli.serve", "api", "Run the API alone, on PostgreSQL."),
    "worker": _Lazy("dayfly.cli.serve", "worker", "Run a worker alone, on PostgreSQL."),
    "builder": _Lazy("dayfly.cli.serve", "builder", "Run a builder of images alone, on PostgreSQL."),
    "gc": _Lazy("dayfly.cli.gc", "gc", "Remove containers, volumes and networks without a living owner."),
    "cluster": _Lazy("dayfly.cli.cluster", "app", "Create, show, use and delete clusters."),
    "template": _Lazy("dayfly.cli.template", "app", "Create, show and delete templates of clusters."),
    "pool": _Lazy("dayfly.cli.pool", "app", "Keep paused clusters ready for the next caller."),
    "addon": _Lazy("dayfly.cli.addon", "app", "List and fetch add-ons, and change those of a cluster."),
    "image": _Lazy("dayfly.cli.image_group", "app", "Bake, list, push and pull node images; promote and retire them."),
    "bake": _Lazy("dayfly.cli.bake", "app", "Have the server bake node images; show and cancel its bakes."),
    "login": _Lazy("dayfly.cli.login", "login", "Store a token for a server."),
    "logout": _Lazy("dayfly.cli.login", "logout", "Remove the stored token of a server."),
    "whoami": _Lazy("dayfly.cli.login", "whoami", "Show who the server takes this command's caller for."),
    "token": _Lazy("dayfly.cli.token", "app", "Create, list and revoke tokens."),
    "team": _Lazy("dayfly.cli.team", "app", "Create, list, change and delete teams."),
    "oidc": _Lazy("dayfly.cli.oidc", "app", "Check the file of OIDC issuers and rules."),
    "quota": _Lazy("dayfly.cli.quota", "app", "Show and set what teams may have."),
    "webhook": _Lazy("dayfly.cli.webhook", "app", "Have addresses called when clusters change."),
    "status": _Lazy("dayfly.cli.status", "status", "Show the host's capacity and who uses it, the queue, the engine."),
    "usage": _Lazy("dayfly.cli.accounting", "usage", "Show what teams, principals and labels used."),
    "audit": _Lazy("dayfly.cli.accounting", "audit", "Show who asked for what, and with which result."),
    "doctor": _Lazy("dayfly.cli.doctor", "doctor", "Check whether this host can run clusters."),
    "backup": _Lazy("dayfly.cli.backup", "backup", "Copy the service's SQLite database while it runs."),
    "restore": _Lazy("dayfly.cli.backup", "restore", "Put a backup in the place of the service's database."),
    "secrets": _Lazy("dayfly.cli.secrets", "app", "Show and rotate the keys of the database's secrets."),
    "tls": _Lazy("dayfly.cli.tls", "app", "Show the fingerprint that callers trust the server's certificate by."),
    "version": _Lazy("dayfly.cli.version", "version", "Show the versions of this command and of the server."),
    "openapi": _Lazy("dayfly.cli.serve", "openapi", "Print the API's OpenAPI document.", hidden=True),
}


class Commands(typer.core.TyperGroup):
    """Imports a command's module on use, and prints an expected error as one line."""

    _summaries_do = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        lazy = _COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        if self._summaries_do:
            return typer.core.TyperCommand(cmd_name, help=lazy.summary, hidden=lazy.hidden)
        return _load(cmd_name, lazy)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._summaries_do = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._summaries_do = False

    def make_context(self, *args: Any, **extra: Any) -> Any:
        # `--help` and `--show-completion` print while options are parsed.
        with _explained():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        log_to_terminal()
        with _explained():
            return super().invoke(ctx)


@contextmanager
def _explained() -> Iterator[None]:
    """Print an expected error of the block as one line, and exit with its code."""
    try:
        yield
    except KeyboardInterrupt:
        say("interrupted", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except Exception as error:
        explanation = explain(error)
        if explanation is None:
            raise
        if isinstance(error, OSError):
            # What is still buffered cannot be written at the exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]
        say(explanation.lines, err=True)
        raise typer.Exit(explanation.exit_code) from error


app = typer.Typer(cls=Commands, no_args_is_help=True, epilog=HELP, pretty_exceptions_enable=False)


@app.callback()
def _dayfly() -> None:
    """Ephemeral Kubernetes clusters of QEMU virtual machines in containers.

    The environment variable DAYFLY_URL is the service's URL (default: http://127.0.0.1:8700). An https:// server is
    verified by the machine's authorities, by those of the file DAYFLY_CA_FILE, or by the one with the SHA-256
    DAYFLY_CA_FINGERPRINT.
    """


def main() -> None:
    """The console script. SIGTERM ends a command as Ctrl-C does: temporary keys are removed, the cursor is shown."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may be latin-1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app(prog_name="dayfly")


def _load(name: str, lazy: _Lazy) -> Any:
    target = getattr(import_on_use(lazy.module, name), lazy.attribute)
    if not isinstance(target, typer.Typer):
        function, target = target, typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        target.command(hidden=lazy.hidden)(function)
    command = typer.main.get_command(target)
    command.name = name
    unwrap_help(command)
    return command


if __name__ == "__main__":
    main()
