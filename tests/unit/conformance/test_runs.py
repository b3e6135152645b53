"""Lists run in pieces, and continue after an interruption; e2e.test is a stand-in."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.conformance import junit
from tests.conformance.e2e import EndToEnd, Unfit
from tests.conformance.records import OtherRecord, Record, RecordFile, Subject
from tests.conformance.runner import Runner
from tests.unit.conformance.conftest import Ends

SUBJECT = Subject(kind="fork", image="sha256:1", kubernetes="v1.20.2", programs="abc")
MakeEndToEnd = Callable[[Ends], EndToEnd]
ALL = tuple(f"[sig-a] spec {letter} [Conformance]" for letter in "abcde")


@dataclass
class Run:
    """A run of a list on one folder of results. `prepared`: how many specs had run at each preparation."""

    end_to_end: EndToEnd
    again: str | None = None
    prepared: list[int] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    file: RecordFile = field(init=False)

    @property
    def place(self) -> Path:
        return self.end_to_end.program.parent

    @property
    def record(self) -> Record:
        return Record.model_validate_json((self.place / "fork.json").read_text())

    def calls(self) -> list[str]:
        path = self.place / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def __call__(self, specs: tuple[str, ...] = ALL, piece: int = 20, jobs: int = 1) -> bool:
        def prepare() -> None:
            self.prepared.append(len(self.calls()))
            if len(self.prepared) > 1:
                (self.place / "prepared").touch()

        self.file = RecordFile.open(self.place / "fork.json", SUBJECT, ALL, again=self.again)
        return Runner(self.end_to_end, self.place / "kubeconfig", prepare, self.file, self.said.append, jobs).run(
            specs, piece
        )


def test_all_specs_run_in_pieces_each_on_a_prepared_cluster(make_end_to_end: MakeEndToEnd) -> None:
    run = Run(make_end_to_end(dict.fromkeys(ALL, "pass")))
    assert run(piece=2)
    assert run.calls() == list(ALL)
    assert run.prepared == [0, 2, 4]
    assert {name: result.outcome for name, result in run.record.results.items()} == dict.fromkeys(ALL, "passed")


def test_outcomes_and_reasons_are_recorded(make_end_to_end: MakeEndToEnd) -> None:
    ends = dict(zip(ALL, ("pass", "fail", "skip", "crash", "pass"), strict=True))
    run = Run(make_end_to_end(ends))
    assert not run()
    results = [run.record.results[spec] for spec in ALL]
    assert [result.outcome for result in results] == ["passed", "failed", "skipped", "failed", "passed"]
    assert [result.reason for result in results] == [
        "",
        "it broke",
        "skips itself here",
        "e2e.test ended with 2 and no report: panic: no report",
        "",
    ]
    run.end_to_end.write_merged(ALL, run.place / "all.xml")
    cases = junit.parse((run.place / "all.xml").read_text())
    assert [(case.name, case.outcome) for case in cases] == [
        (ALL[0], "passed"),
        (ALL[1], "failed"),
        (ALL[3], "failed"),
        (ALL[4], "passed"),
    ]


def test_a_spec_that_hangs_is_ended_and_the_next_one_runs(make_end_to_end: MakeEndToEnd) -> None:
    end_to_end = replace(make_end_to_end({ALL[0]: "hang", ALL[1]: "pass"}), spec_seconds=1)
    run = Run(end_to_end)
    assert not run(ALL[:2])
    assert run.record.results[ALL[0]].reason == "not finished within 1 s"
    assert run.record.results[ALL[1]].outcome == "passed"


def test_a_finished_spec_does_not_run_again(make_end_to_end: MakeEndToEnd) -> None:
    run = Run(make_end_to_end(dict.fromkeys(ALL, "pass")))
    run(ALL[:3])
    assert run(ALL)
    assert run.calls() == list(ALL)
    assert run.prepared == [0, 3]


def test_specs_run_side_by_side_and_serial_ones_alone(make_end_to_end: MakeEndToEnd) -> None:
    serial = "[sig-a] alone [Serial] [Conformance]"
    run = Run(make_end_to_end({serial: "alone", ALL[0]: "meet", ALL[1]: "meet"}))
    assert run((serial, *ALL[:2]), jobs=2)
    assert run.calls()[-1] == serial


def test_a_spec_that_fails_beside_others_runs_again_alone(make_end_to_end: MakeEndToEnd) -> None:
    run = Run(make_end_to_end({ALL[0]: "fail once", ALL[1]: "pass", ALL[2]: "fail"}))
    assert not run(ALL[:3], jobs=2)
    assert sorted(run.calls()[:3]) == list(ALL[:3])
    assert sorted(run.calls()[3:]) == [ALL[0], ALL[2]]
    outcomes = [run.record.results[spec].outcome for spec in ALL[:3]]
    assert outcomes == ["passed", "passed", "failed"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_spec_has_no_result(make_end_to_end: MakeEndToEnd, jobs: int) -> None:
    run = Run(make_end_to_end({ALL[0]: "pass", ALL[1]: "hang", ALL[2]: "hang"}))

    main = threading.get_ident()

    def interrupt() -> None:
        while not (run.place / "hangs").exists():
            time.sleep(0.01)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(ALL[:3], jobs=jobs)
    thread.join()
    if jobs == 1:
        assert set(run.record.results) == {ALL[0]}
    assert not {ALL[1], ALL[2]} & set(run.file.record.results)


def test_failed_specs_run_again_on_request(make_end_to_end: MakeEndToEnd) -> None:
    run = Run(make_end_to_end({ALL[0]: "pass", ALL[1]: "fail"}))
    assert not run(ALL[:2])
    assert not run(ALL[:2])
    assert run.calls() == list(ALL[:2])
    run = Run(make_end_to_end({ALL[0]: "pass", ALL[1]: "pass"}), again="failed")
    assert run(ALL[:2])
    assert run.calls() == [ALL[0], ALL[1], ALL[1]]


def test_a_cluster_that_is_not_fit_is_prepared_again_once(make_end_to_end: MakeEndToEnd) -> None:
    run = Run(make_end_to_end({ALL[0]: "pass", ALL[1]: "unfit once"}))
    assert run(ALL[:2])
    assert len(run.prepared) == 2
    run = Run(make_end_to_end({ALL[0]: "pass", ALL[1]: "pass", ALL[2]: "unfit"}))
    with pytest.raises(Unfit, match="nodes are not ready"):
        run(ALL[:3])
    assert ALL[2] not in run.record.results


@pytest.mark.parametrize("jobs", [1, 2])
def test_specs_that_wait_behind_an_unfit_cluster_run_on_the_prepared_one(
    make_end_to_end: MakeEndToEnd, jobs: int
) -> None:
    run = Run(make_end_to_end({**dict.fromkeys(ALL, "pass"), ALL[0]: "unfit once"}))
    assert run(jobs=jobs)
    assert len(run.prepared) == 2


def test_failures_beside_others_are_no_reason_to_give_a_cluster_up(make_end_to_end: MakeEndToEnd) -> None:
    run = Run(make_end_to_end({ALL[0]: "fail once", ALL[1]: "unfit once"}))
    assert run(ALL[:2], jobs=2)
    assert len(run.prepared) == 2


def test_results_of_another_image_are_not_mixed(make_end_to_end: MakeEndToEnd) -> None:
    run = Run(make_end_to_end(dict.fromkeys(ALL, "pass")))
    run()
    path = run.place / "fork.json"
    other = SUBJECT.model_copy(update={"image": "sha256:2"})
    with pytest.raises(OtherRecord, match="sha256:2"):
        RecordFile.open(path, other, ALL)
    assert RecordFile.open(path, other, ALL, again="all").record.results == {}


def test_a_spec_gets_the_clusters_registry_and_neither_proxy_nor_home(
    make_end_to_end: MakeEndToEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    run = Run(make_end_to_end({ALL[0]: "pass"}))
    run(ALL[:1])
    environment = json.loads((run.place / "environment.json").read_text())
    assert "registry:5000" in Path(environment["KUBE_TEST_REPO_LIST"]).read_text()
    assert environment["NO_PROXY"] == environment["no_proxy"] == "*"
    assert not Path(environment["HOME"]).exists()


def test_a_dry_run_lists_the_conformance_specs(make_end_to_end: MakeEndToEnd) -> None:
    known = make_end_to_end({**dict.fromkeys(reversed(ALL), "pass"), "[sig-a] another": "pass"}).specs()
    assert known == ALL
