"""Metrics in Prometheus' text format."""

from __future__ import annotations

from dayfly.telemetry import Metric, exposition


def test_metrics_have_help_a_type_and_their_samples() -> None:
    members = Metric("dayfly_pool_members", "gauge", "Members.", [({"pool": "ci", "state": "ready"}, 2), ({}, 1234567)])
    assert exposition([members]) == (
        "# HELP dayfly_pool_members Members.\n"
        "# TYPE dayfly_pool_members gauge\n"
        'dayfly_pool_members{pool="ci",state="ready"} 2\n'
        "dayfly_pool_members 1234567\n"
    )


def test_label_values_cannot_break_a_line() -> None:
    text = exposition([Metric("m", "counter", "M.", [({"name": 'a"b\\c\nd'}, 1)])])
    assert text.splitlines()[-1] == 'm{name="a\\"b\\\\c\\nd"} 1'
    assert exposition([]) == ""
