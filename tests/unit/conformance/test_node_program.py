"""The node's program of conformance tests, with stand-ins for e2e.test and systemd."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dayfly import assets
from tests.conformance.e2e import EndToEnd
from tests.unit.conformance.conftest import Ends

PROGRAM = assets.provisioning() / "ansible" / "roles" / "conformance" / "files" / "conformance"
ONE, TWO, OTHER = "[sig-a] one (a+b)  [Conformance]", "[sig-a] two [Conformance]", '[sig-b] "other" [Conformance]'
SYSTEMD_RUN = """#!/bin/sh
echo "$@" >> {folder}/units
while [ "${{1#--}}" != "$1" ]; do shift; done
exec "$@" > /dev/null
"""
SYSTEMCTL = "#!/bin/sh\n[ $1 = stop ] || test -e {folder}/active\n"


class Node:
    """A control plane whose units end before systemd-run does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tools = folder, folder / "tools"
        shutil.copy(PROGRAM, folder / "conformance")
        self.tools.mkdir()
        for name, text in (("systemd-run", SYSTEMD_RUN), ("systemctl", SYSTEMCTL)):
            (self.tools / name).write_text(text.format(folder=folder))
            (self.tools / name).chmod(0o755)

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        path = f"{self.tools}:/usr/local/bin:/usr/bin:/bin"
        return subprocess.run(
            [str(self.folder / "conformance"), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": path, "DAYFLY_CONFORMANCE_RUNS": str(self.folder / "runs")},
        )

    def status(self, run: str) -> list[list[str]]:
        return [line.split("\t") for line in self("status", run).stdout.splitlines()]

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def make_node(make_end_to_end: Callable[[Ends], EndToEnd], tmp_path: Path) -> Callable[[Ends], Node]:
    def make(ends: Ends) -> Node:
        make_end_to_end(ends)
        node = Node(tmp_path)
        listed = node("list")
        assert listed.returncode == 0, listed.stderr
        (tmp_path / "specs.txt").write_text(listed.stdout)
        return node

    return make


def test_all_specs_are_listed(make_node: Callable[[Ends], Node], tmp_path: Path) -> None:
    make_node({TWO: "pass", ONE: "pass", OTHER: "pass"})
    assert (tmp_path / "specs.txt").read_text().splitlines() == sorted([ONE, TWO, OTHER])


def test_a_list_of_names_and_patterns_runs_each_spec_once(make_node: Callable[[Ends], Node]) -> None:
    node = make_node({ONE: "pass", TWO: "skip", OTHER: "pass"})
    assert node.status("r.1") == [["state", "none"]]
    started = node("start", "r.1", "30", stdin=f'{ONE}\nsig-[ab]. ("other|two|one)\n')
    assert (started.returncode, started.stderr) == (0, "")
    assert node.calls == [ONE, TWO, OTHER]
    state, total, *results = node.status("r.1")
    assert (state, total) == (["state", "ended"], ["total", "3"])
    assert [(one[0], one[1], one[3]) for one in results] == [
        ("result", "passed", ONE),
        ("result", "skipped", TWO),
        ("result", "passed", OTHER),
    ]
    assert node("start", "r.1", "30", stdin=ONE).returncode == 0
    assert len(node.calls) == 3, "a run that has passed is left alone"
    report = ElementTree.fromstring(node("report", "r.1").stdout)  # noqa: S314 - of the program under test
    assert (report.get("tests"), report.get("failures")) == ("2", "0")
    assert [case.get("name") for case in report] == [ONE, OTHER]


@pytest.mark.parametrize(
    ("end", "limit", "reason"),
    [
        ("fail", "30", "it broke"),
        ("crash", "30", "e2e.test ended with 2 and no report: panic: no report"),
        ("unfit", "30", "the cluster is not fit for specs: nodes are not ready"),
        ("hang", "5", "not finished within 5 s"),
    ],
)
def test_a_failure_has_a_reason_and_a_report_and_runs_again_when_asked(
    make_node: Callable[[Ends], Node], end: str, limit: str, reason: str
) -> None:
    node = make_node({ONE: end})
    node("start", "r.1", limit, stdin=ONE)
    *_, result = node.status("r.1")
    assert (result[1], result[4]) == ("failed", reason)
    report = ElementTree.fromstring(node("report", "r.1").stdout)  # noqa: S314 - of the program under test
    [failure] = report.iter("failure")
    assert reason.rpartition(": ")[2] in (failure.text or "")
    (node.folder / "ends.json").write_text(f'{{"{ONE}": "pass"}}')
    node("start", "r.1", "30", stdin=ONE)
    assert node.status("r.1")[2][1] == "passed"


def test_a_run_that_goes_on_is_left_alone_and_a_lost_one_begins_anew(make_node: Callable[[Ends], Node]) -> None:
    node = make_node({ONE: "pass"})
    (node.folder / "runs" / "r.1").mkdir(parents=True)
    (node.folder / "runs" / "r.1" / "specs").write_text(f"{ONE}\n")
    (node.folder / "runs" / "r.1" / "current").write_text(f"1\t{ONE}\n")
    (node.folder / "active").touch()
    assert node("start", "r.1", "30", stdin=ONE).returncode == 0
    assert node.status("r.1") == [["state", "running"], ["total", "1"], ["current", "1", ONE]]
    assert node.calls == []
    (node.folder / "active").unlink()
    assert node.status("r.1") == [["state", "lost"], ["total", "1"]]
    node("start", "r.1", "30", stdin=ONE)
    assert node.calls == [ONE]
    node("start", "r.2", "30", stdin=ONE)
    assert (node.calls, node.status("r.1")) == ([ONE, ONE], [["state", "none"]])
    units = (node.folder / "units").read_text()
    assert "--unit=dayfly-conformance.service" in units


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("three", "no conformance spec is called or matches 'three'"),
        ("[", "'[' is no spec's name, and no regular expression"),
        ("", "no spec is named"),
        ("(?{ print 1 })", "is no spec's name, and no regular expression"),
    ],
)
def test_what_is_no_spec_is_refused(make_node: Callable[[Ends], Node], wanted: str, words: str) -> None:
    node = make_node({ONE: "pass"})
    refused = node("start", "r.1", "30", stdin=wanted)
    assert refused.returncode == 3
    assert words in refused.stderr.splitlines()[-1]
    assert node.status("r.1") == [["state", "none"]]
