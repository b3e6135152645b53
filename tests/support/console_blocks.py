"""Reads the console blocks of a Markdown document: commands, each with the expected output."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_BLOCK: Final = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT: Final = "$ "
# Values that differ between runs. The order matters: the first matching alternative is used.
_VARYING: Final = (
    (re.compile(r"\s*…\s*"), r".*"),
    (re.compile(r"\b[0-9a-f]{12}\b"), r"[0-9a-f]{12}"),
    (re.compile(r"\b\d+\.\d+\.\d+\.\d+(:\d+)?\b"), r"\d+\.\d+\.\d+\.\d+(:\d+)?"),
    (re.compile(r"\b\d+[smh]\b"), r"[\dsmhd]+"),
    (re.compile(r"(?<=\":)\d+(\.\d+)?\b"), r"\d+(\.\d+)?"),
    (re.compile(r"\s+"), r"\s+"),
)


@dataclass(frozen=True)
class Command:
    """A command for a shell, with its continuation lines, and what the document shows of its output."""

    text: str
    output: str

    def shows(self, output: str) -> bool:
        """Whether `output` is what the document shows, but for ids, numbers, ages and addresses; `…` is anything."""
        return re.fullmatch(_pattern(self.output.strip()), output.strip(), re.DOTALL) is not None


def console_blocks(document: str) -> tuple[tuple[Command, ...], ...]:
    """The commands of each block, in their order.

    In a block with prompts, lines without one are output; in a block without, every line is a command.
    """
    return tuple(_commands(block) for block in _BLOCK.findall(document))


def _commands(block: str) -> tuple[Command, ...]:
    prompts = _PROMPT in block
    commands: list[Command] = []
    continued = False
    for line in block.splitlines():
        if continued:
            commands[-1] = Command(f"{commands[-1].text}\n{line}", "")
        elif line.startswith(_PROMPT) or (line and not prompts):
            commands.append(Command(line.removeprefix(_PROMPT), ""))
        elif commands:
            commands[-1] = Command(commands[-1].text, f"{commands[-1].output}{line}\n")
        continued = bool(commands) and not commands[-1].output and line.endswith("\\")
    return tuple(commands)


def _pattern(output: str) -> str:
    pattern, at = "", 0
    while at < len(output):
        for varying, replacement in _VARYING:
            if found := varying.match(output, at):
                pattern += replacement
                at = found.end()
                break
        else:
            pattern += re.escape(output[at])
            at += 1
    return pattern
