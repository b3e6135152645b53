"""JUnit reports of ginkgo 1.11, which Kubernetes 1.20 vendors. Not here: running a spec (e2e.py)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal
from xml.etree import ElementTree

Outcome = Literal["passed", "failed", "skipped"]

_CODE_LOCATION: Final = re.compile(r"^\S+\.go:\d+$")
_TIME: Final = re.compile(r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d\.\d{3}: ")
_ADDRESS: Final = re.compile(r"0xc?[0-9a-f]{6,}")
_REASON_CHARACTERS: Final = 200


@dataclass(frozen=True)
class Case:
    """A spec, or a step of the whole suite, such as BeforeSuite, which is reported only if it failed."""

    name: str
    outcome: Outcome
    seconds: float
    message: str = ""


def parse(report: str) -> tuple[Case, ...]:
    """All cases of a report. A spec outside the focus is skipped. Raises ParseError."""
    return tuple(_case(element) for element in _cases(report))


def merge(reports: Iterable[str]) -> str:
    """One report of all cases that ran in `reports`."""
    suite = ElementTree.Element("testsuite")
    ran = [element for report in reports for element in _cases(report) if element.find("skipped") is None]
    for element in ran:
        element.tail = "\n"
    suite.extend(ran)
    suite.attrib = {
        "name": "Kubernetes e2e suite",
        "tests": str(len(ran)),
        "failures": str(sum(element.find("failure") is not None for element in ran)),
        "errors": "0",
        "time": f"{sum(float(element.get('time', '0')) for element in ran):.3f}",
    }
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def failure_report(name: str, seconds: float, message: str) -> str:
    """A report of one failed case, for a run that wrote none."""
    case = ElementTree.Element("testcase", name=name, classname="Kubernetes e2e suite", time=f"{seconds:.3f}")
    ElementTree.SubElement(case, "failure", type="Failure").text = message
    suite = ElementTree.Element("testsuite")
    suite.append(case)
    return merge([ElementTree.tostring(suite, encoding="unicode")])


def reason(message: str) -> str:
    """The line of a failure's message that says most, without what differs from run to run."""
    lines = [line.strip() for line in message.splitlines()]
    lines = [line for line in lines if line and not _CODE_LOCATION.fullmatch(line)]
    if not lines:
        return "no message"
    # Gomega: `Unexpected error: <the value in Go's syntax> the error's text occurred`.
    line = lines[lines.index("occurred") - 1] if "occurred" in lines[1:] else lines[0]
    line = _ADDRESS.sub("0x…", _TIME.sub("", line))
    return line if len(line) <= _REASON_CHARACTERS else f"{line[: _REASON_CHARACTERS - 1]}…"


def _cases(report: str) -> list[ElementTree.Element]:
    # A report of our own program. Its Go encoder replaces characters that XML does not allow.
    return ElementTree.fromstring(report).findall("testcase")  # noqa: S314


def _case(element: ElementTree.Element) -> Case:
    failure = element.find("failure")
    outcome: Outcome = "passed"
    if failure is not None:
        outcome = "failed"
    elif element.find("skipped") is not None:
        outcome = "skipped"
    message = (failure.text or "") if failure is not None else ""
    return Case(element.get("name", ""), outcome, float(element.get("time", "0")), message)
