"""Bakes of the server as text, and the progress of one. Not here: bakes on this machine (progress/bake.py)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.formatting import format_age, format_duration, format_facts, format_table, printable, printable_line
from dayfly.client import Bake, BakeEvent, BakeEventList, BakeSummary


def bakes(found: Sequence[BakeSummary]) -> str:
    return format_table(
        ("ID", "RECIPE", "OWNER", "PHASE", "TOOK", "AGE", "IMAGE"),
        [
            (one.id, one.recipe, one.owner, one.phase, _took(one), format_age(one.created_at), one.image or "-")
            for one in found
        ],
    )


def bake(one: Bake) -> str:
    variables = ", ".join(f"{name}={value}" for name, value in sorted(one.variables.items()))
    facts = {
        "id": one.id,
        "recipe": one.recipe if one.definition is None else f"{one.recipe} (defined in its request)",
        "rebuild": "scheduled: its first event says why" if one.rebuild else None,
        "variables": variables or None,
        "conformance": None if one.conformance is None else ", ".join(one.conformance) or "the image's short list",
        "owner": one.owner,
        "phase": one.phase if one.cancel_requested_at is None or one.ended_at else f"{one.phase}, being cancelled",
        "age": format_age(one.created_at),
        "took": _took(one),
        "attempts": str(one.attempts),
        "image": one.image and f"{one.image} ({one.image_id}{_state(one)})",
    }
    return format_facts(facts) + (f"\n\n{_error(one)}" if one.error else "")


def sentence(one: Bake) -> str:
    if one.phase == "succeeded":
        return f"bake {one.id} succeeded: {one.image} is {one.image_id}{_state(one)}"
    if one.cancel_requested_at is not None and one.ended_at is None:
        return f"bake {one.id} is being cancelled"
    return f"bake {one.id} of {one.recipe} is {one.phase}" if one.phase != "failed" else f"bake {one.id} failed"


def event(one: BakeEvent, since: datetime) -> str:
    at = format_duration(max(0.0, (one.at - since).total_seconds()))
    words = [one.type if one.type != "line" else "", one.step or "", printable_line(one.message)]
    took = f"({format_duration(one.seconds)})" if one.seconds is not None else ""
    return f"[{at:>12}] {' '.join(filter(None, [*words, took]))}"


def failure(one: Bake) -> CommandError:
    """The error of a command that waited for a bake that did not succeed."""
    hint = f"dayfly bake show {one.id}"
    if one.error is None:
        return CommandError("cancelled", f"bake {one.id} is {one.phase}", hint, exit_code=ExitCode.FAILED)
    detail = f"bake {one.id} of {one.recipe} failed: {one.error.message}"
    return CommandError(one.error.code, detail, hint, exit_code=ExitCode.FAILED)


class Progress:
    """The steps of a bake that run or wait, from its events."""

    def __init__(self) -> None:
        self.after = 0
        self._steps: dict[str, str] = {}

    def read(self, part: BakeEventList) -> None:
        self.after = part.next_after
        for one in part.events:
            if one.type in {"started", "queued"}:
                self._steps.clear()
            if one.step is None:
                continue
            if one.type == "step.running":
                self._steps[one.step] = one.step
            elif one.type == "step.waiting":
                self._steps[one.step] = f"{one.step} waits: {printable_line(one.message)}"
            elif one.type != "line":
                self._steps.pop(one.step, None)

    def state(self, one: Bake) -> str:
        """The phase, and the steps while the bake runs."""
        return self.describe(one.phase)

    def describe(self, phase: str) -> str:
        return f"{phase}: {', '.join(self._steps.values())}" if phase == "running" and self._steps else str(phase)


def _state(one: BakeSummary) -> str:
    if one.image_state == "retired":
        return ", which is retired: `dayfly image promote` takes it into use again"
    return "" if one.image_state in {None, "present"} else f", which is {one.image_state}"


def _took(one: BakeSummary) -> str:
    if one.started_at is None:
        return "-"
    if one.ended_at is None:
        return format_age(one.started_at)
    return format_duration((one.ended_at - one.started_at).total_seconds())


def _error(one: Bake) -> str:
    assert one.error is not None  # noqa: S101 - the caller looked
    lines = [f"error [{one.error.code}]: {printable_line(one.error.message)}"]
    lines += [f"--- {printable_line(name)}\n{printable(text)}" for name, text in one.error.evidence.items()]
    return "\n".join(lines)
