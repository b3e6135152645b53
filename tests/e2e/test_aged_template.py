"""A template that was saved thirty days ago still serves; the test's worker has a clock thirty days ahead."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from dayfly.client import Template
from tests.e2e.lab import NODES, PROCESSES, assert_forked, assert_undisturbed, living, others_hibernate
from tests.support.service import Service

pytestmark = [pytest.mark.kubernetes, pytest.mark.long]

DAYS = 30


def test_a_template_of_thirty_days_serves(
    service: Service, template: Template, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with others_hibernate(service):
        for process in service.processes[1:]:
            process.end()
        later = service.start_module("tests.support.later_worker", f"--days={DAYS}", name="later")
        try:
            with living(service, "later") as lab:
                assert_forked(lab, template)
                for node in NODES:
                    guest = float(lab.on_node(node, "date +%s"))
                    assert abs(guest - time.time() - timedelta(days=DAYS).total_seconds()) < 60
                began = time.monotonic()
                lab.deploy_web(tmp_path_factory.mktemp("later"))
                web = lab.web_pods()
                print(f"two new pods run {time.monotonic() - began:.0f} s after they were asked for")
                for here, there in (NODES, NODES[::-1]):
                    assert lab.fetch(here, f"{web[there]}:8080") == f"served on {there}"
                assert_undisturbed(lab)
        finally:
            later.kill()
            service.restart(*PROCESSES)
