"""Reports of ginkgo 1.11 are read and merged."""

from __future__ import annotations

import pytest

from tests.conformance.junit import Case, failure_report, merge, parse, reason

# As e2e.test 1.20 writes them.
REPORT = """\
<?xml version="1.0" encoding="UTF-8"?>
  <testsuite name="Kubernetes e2e suite" tests="2" failures="1" errors="0" time="52.1">
      <testcase name="[sig-a] runs  [Conformance]" classname="Kubernetes e2e suite" time="31.25"></testcase>
      <testcase name="[sig-b] is not in the focus" classname="Kubernetes e2e suite" time="0">
          <skipped></skipped>
      </testcase>
      <testcase name="[sig-c] breaks" classname="Kubernetes e2e suite" time="20.5">
          <failure type="Failure">k8s.io/kubernetes/test/e2e/network/dns.go:43&#xA;Nov 30 01:05:14.123: dig &lt;failed&gt;&#xA;k8s.io/x.go:1</failure>
          <system-out>a log</system-out>
      </testcase>
  </testsuite>
"""  # noqa: E501
MESSAGE = """\
k8s.io/kubernetes/test/e2e/apps/deployment.go:99
Unexpected error:
    <*errors.errorString | 0xc0002380a0>: {
        s: "timed out waiting for the condition",
    }
    timed out waiting for the condition
occurred
k8s.io/kubernetes/test/e2e/framework/util.go:1
"""


def test_each_case_has_its_outcome_and_message() -> None:
    passed, skipped, failed = parse(REPORT)
    assert passed == Case("[sig-a] runs  [Conformance]", "passed", 31.25)
    assert skipped.outcome == "skipped"
    assert failed.outcome == "failed"
    assert "dig <failed>" in failed.message


def test_a_merged_report_has_the_cases_that_ran() -> None:
    merged = merge([REPORT, failure_report("[sig-d] <hangs>", 1200, "not finished within 1200 s")])
    assert [case.name for case in parse(merged)] == ["[sig-a] runs  [Conformance]", "[sig-c] breaks", "[sig-d] <hangs>"]
    assert 'tests="3" failures="2" errors="0"' in merged
    assert "a log" in merged


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (MESSAGE, "timed out waiting for the condition"),
        ("k8s.io/a.go:1\nNov  3 01:05:14.123: dig <failed>\nk8s.io/b.go:2", "dig <failed>"),
        ("k8s.io/a.go:1\nvalue at 0xc0002380a0\nis not\nk8s.io/b.go:2", "value at 0x…"),
        ("k8s.io/a.go:1\noccurred", "occurred"),
        ("", "no message"),
    ],
)
def test_the_reason_is_the_line_that_says_most(message: str, line: str) -> None:
    assert reason(message) == line


def test_a_long_reason_is_cut() -> None:
    assert len(reason("x" * 1000)) == 200
