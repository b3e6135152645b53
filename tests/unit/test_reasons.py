"""The reasons of failed tests: what the plugin keeps, and what the end of tests/run.sh prints of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.print_reasons import WIDTH, Failure, cut, message_lines, read, report
from tests.support.reasons import FOLDER_VARIABLE
from tests.support.shell import REPO

pytest_plugins = ["pytester"]
FAILS = """
import asyncio
import pytest

@pytest.fixture(scope="module")
def machine():
    raise RuntimeError("no machine 0123abcd4567\\nnode01 does not boot")

@pytest.mark.parametrize("number", range(3))
def test_on_it(machine, number):
    pass

def test_of_a_sum():
    assert 1 + 1 == 3, "the sum is wrong"

def test_that_passes():
    pass

def test_that_is_skipped():
    pytest.skip("not today")

def test_of_a_group():
    raise ExceptionGroup("both", [ValueError("left"), ExceptionGroup("in", [KeyError("right")])])
"""
EVIDENCE = """
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    report = yield
    if report.failed:
        report.sections += [("what the service knows", "cluster lab: failed"), ("Captured log", "noise")]
    return report
"""


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with this project's conftest.py; without most plugins, which take long to load."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(pytester.path / "reasons" / "unit"))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPO), str(REPO / "service")]))
    pytester.makeconftest("from tests.conftest import *\n")
    return pytester.path


@pytest.mark.parametrize("arguments", [(), ("-p", "xdist.plugin", "-n", "1")], ids=["one process", "xdist"])
def test_each_failure_is_kept_once(pytester: pytest.Pytester, folder: Path, arguments: tuple[str, ...]) -> None:
    pytester.makepyfile(FAILS)
    inner = folder / "inner"
    inner.mkdir()
    (inner / "conftest.py").write_text(EVIDENCE)
    (inner / "test_inner.py").write_text("def test_with_evidence():\n    raise LookupError('no cluster')\n")
    pytester.runpytest_inprocess(*arguments)
    found = read(folder / "reasons")
    assert len(list((folder / "reasons" / "unit").iterdir())) == 1
    kept = {one.test.partition("::")[2]: (one.phase, one.message, one.evidence) for one in found}
    assert len(found) == len(kept) == 7
    no_machine = ("setup", "RuntimeError: no machine 0123abcd4567\nnode01 does not boot", "")
    assert {kept[f"test_on_it[{number}]"] for number in range(3)} == {no_machine}
    assert kept["test_of_a_sum"] == ("call", "AssertionError: the sum is wrong\nassert (1 + 1) == 3", "")
    assert kept["test_of_a_group"][1].splitlines()[1:] == ["ValueError: left", "KeyError: 'right'"]
    assert kept["test_that_is_skipped"][1].endswith("tests are never skipped")
    assert kept["test_with_evidence"] == ("call", "LookupError: no cluster", "cluster lab: failed")


def test_a_module_that_cannot_be_imported_is_kept(pytester: pytest.Pytester, folder: Path) -> None:
    pytester.makepyfile(test_it="import no_such_module\n")
    pytester.runpytest_inprocess()
    (found,) = read(folder / "reasons")
    assert (found.test, found.phase) == ("test_it.py", "collection")
    assert found.message == "ModuleNotFoundError: No module named 'no_such_module'"


def test_the_interrupted_test_is_kept(pytester: pytest.Pytester, folder: Path) -> None:
    pytester.makepyfile(test_it="def test_before():\n    pass\n\ndef test_it():\n    raise KeyboardInterrupt\n")
    pytester.inline_run(no_reraise_ctrlc=True)
    (found,) = read(folder / "reasons")
    assert (found.test, found.phase) == ("test_it.py::test_it", "interrupted")
    assert found.message == f"KeyboardInterrupt at {folder}/test_it.py:5"


def test_pytest_that_a_test_starts_writes_nothing(pytester: pytest.Pytester, folder: Path) -> None:
    pytester.makepyfile(test_it=f"import os\n\ndef test_it():\n    assert {FOLDER_VARIABLE!r} in os.environ, 'gone'\n")
    pytester.runpytest_inprocess()
    (found,) = read(folder / "reasons")
    assert "gone" in found.message


def failure(number: int, *, stage: str = "e2e", phase: str = "call", message: str = "", evidence: str = "") -> Failure:
    test = f"tests/{stage}/test_a.py::test_{number}"
    return Failure(stage, 60.0 * number, test, phase, message or f"AssertionError: {number}", evidence)


def test_failures_are_told_in_order_of_time_with_their_evidence() -> None:
    found = list(report([failure(1, evidence="cluster lab: failed\n09:00 boot"), failure(2)], 36))
    assert found == [
        "00:01:00 e2e: tests/e2e/test_a.py::test_1 (call)",
        "    AssertionError: 1",
        "  | cluster lab: failed",
        "  | 09:00 boot",
        "00:02:00 e2e: tests/e2e/test_a.py::test_2 (call)",
        "    AssertionError: 2",
    ]


def test_failures_of_one_fixture_are_told_once_with_their_count() -> None:
    alike = [failure(n, phase="setup", message=f"template 12ab{n}cde failed after {n}.5 s") for n in range(1, 21)]
    found = list(report([*alike, failure(30)], 36))
    assert found[0] == "00:01:00 e2e: tests/e2e/test_a.py::test_1 (setup; 19 more alike)"
    assert len(found) == 4


def test_different_numbers_in_a_tests_own_assertion_are_different_failures() -> None:
    assert len(list(report([failure(1), failure(2)], 36))) == 4


def test_at_most_six_failures_are_told_and_the_others_counted() -> None:
    early = [failure(number, stage="unit") for number in range(1, 9)]
    late = [failure(number, stage="e2e") for number in range(10, 12)]
    found = list(report([*early, *late], 36))
    titles = [line.split(" ")[1] for line in found if "::" in line]
    assert titles == ["unit:"] * 4 + ["e2e:"] * 2
    assert found[-1] == "4 more failed: 4 of unit"


def test_few_lines_are_shared_out_evidence_of_the_first_failure_before_the_rest_of_messages() -> None:
    long = "\n".join(f"line {number}" for number in range(40))
    found = list(report([failure(n, message=f"{n}\n{long}", evidence=long) for n in range(1, 9)], 36))
    assert len(found) == 36
    assert [line.count("::") for line in found].count(1) == 6
    first = found[: next(n for n, line in enumerate(found[1:], 1) if "::" in line)]
    assert sum(line.startswith("    ") for line in first) == 6
    assert sum(line.startswith("  | ") for line in first) == 8
    assert found[-1] == "2 more failed: 2 of e2e"


def test_a_long_message_is_folded_and_cut_in_the_middle() -> None:
    found = message_lines('{"first": 1, ' + '"a": 1, ' * 1000 + '"last": 1}')
    assert max(map(len, found)) <= WIDTH
    assert len("\n".join(found)) <= 900
    assert "first" in found[0]
    assert "last" in found[-1]
    many = message_lines("\n".join(map(str, range(100))))
    assert (len(many), many[0], many[-1]) == (12, "0", "99")
    assert "… 89 lines …" in many


@pytest.mark.parametrize("count", range(6))
def test_a_cut_takes_no_more_lines_than_it_may(count: int) -> None:
    assert len(cut(["a", "b", "c", "d", "e", "f", "g"], count)) == count


def test_an_incomplete_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "unit").mkdir()
    line = '{"at": 1, "test": "a", "phase": "call", "message": "b", "evidence": ""}\n'
    (tmp_path / "unit" / "1.jsonl").write_text(line + line[:20])
    assert [one.test for one in read(tmp_path)] == ["a"]
