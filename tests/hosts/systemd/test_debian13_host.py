"""Dayfly's systemd unit and lab stack on a Debian 13 host with systemd and control groups of version 2.

Its kernel is Debian 13's user-mode Linux, its nodes are emulated as on any host without KVM.
"""

from __future__ import annotations

import pytest

from tests.hosts import results
from tests.hosts.systemd.disk import KIND
from tests.hosts.systemd.machine import Trial

pytestmark = [pytest.mark.docker, pytest.mark.vm, pytest.mark.long]


def test_the_host_has_systemd_and_control_groups_of_version_2(trial: Trial) -> None:
    host = trial.facts["host"]
    assert host["system"].startswith("Debian GNU/Linux 13 ")
    assert host["systemd"].startswith("systemd 257 ")
    assert host["cgroup"] == "cgroup2fs"
    assert (host["engine"]["CgroupVersion"], host["engine"]["CgroupDriver"]) == ("2", "systemd")
    assert host["failed_units"] == []


def test_doctor_finds_nothing_that_fails(trial: Trial) -> None:
    report = trial.facts["doctor"]["report"]
    assert report["healthy"] is True, report


def test_the_service_runs_as_its_unit_says(trial: Trial) -> None:
    service = trial.facts["service"]
    assert service["verified"] == ""
    assert service["ready"]["status"] == "ready"
    unit, status = service["unit"], service["status"]
    assert (unit["ActiveState"], unit["NRestarts"]) == ("active", "0")
    assert unit["ControlGroup"] == "/system.slice/dayfly.service"
    assert "0" not in status["Uid"].split()
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_a_node_comes_up_in_a_control_group_that_systemd_made(trial: Trial) -> None:
    create = trial.facts["create"]
    assert create["cluster"]["phase"] == "ready"
    # Its own kernel: Debian 12's.
    assert create["kernel"].startswith("6.1.")
    assert create["kernel"] != trial.facts["host"]["kernel"]
    assert create["node"]["cgroup"].startswith("0::/system.slice/docker-")


def test_a_cluster_outlives_a_restart_of_the_service(trial: Trial) -> None:
    restart = trial.facts["restart"]
    assert restart["cluster"]["phase"] == "ready"
    assert restart["kernel"] == trial.facts["create"]["kernel"]
    assert restart["node"] == restart["before"] == trial.facts["create"]["node"]


def test_a_cluster_is_hibernated_and_resumed(trial: Trial) -> None:
    hibernate = trial.facts["hibernate"]
    assert hibernate["asleep"] == "hibernated"
    assert hibernate["cluster"]["phase"] == "ready"
    assert hibernate["kernel"] == trial.facts["create"]["kernel"]


def test_nothing_of_a_deleted_cluster_is_left(trial: Trial) -> None:
    assert trial.facts["delete"]["objects"] == trial.facts["host"]["objects"]


def test_the_service_ends_in_order(trial: Trial) -> None:
    unit = trial.facts["stop"]["unit"]
    assert unit == {"Result": "success", "ExecMainStatus": "0", "ActiveState": "inactive"}


def test_the_lab_stack_makes_a_cluster_and_leaves_nothing(trial: Trial) -> None:
    up = trial.facts["compose_up"]
    assert up["ready"]["status"] == "ready"
    assert up["services"] == ["api running", "postgres running", "worker running", "worker running"]
    made = trial.facts["compose_cluster"]["made"]
    assert made["cluster"]["phase"] == "ready"
    assert made["kernel"] == trial.facts["create"]["kernel"]
    assert made["node"]["cgroup"].startswith("0::/system.slice/docker-")
    assert trial.facts["compose_down"]["objects"] == trial.facts["host"]["objects"]


def test_what_ran_is_recorded(trial: Trial) -> None:
    """Last: only where all of it went well."""
    host = trial.facts["host"]
    engine = host["engine"]
    results.record(
        KIND.name,
        {
            "host": {"system": f"{host['system']}, {host['systemd'].split(' (')[0]}", "python": host["python"]},
            "engine": {
                "name": "Docker",
                "version": engine["ServerVersion"],
                "api_version": host["api"],
                "image_store": engine["Driver"],
            },
            "trials": [{"name": step} for step in trial.seconds],
            "seconds": trial.total,
        },
    )
