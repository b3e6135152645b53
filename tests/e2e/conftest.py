"""One template of a Kubernetes cluster for all end-to-end tests: under emulation, a cold boot takes minutes.

A command of README makes it. The template's builder is the cold cluster; every other cluster is a fork. All of them are
on a host for tests, because test_recovery.py kills the engine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from dayfly.client import Client, Template
from tests.e2e.lab import MANIFESTS, PROCESSES, Lab, engine_lists, living
from tests.e2e.reader import Reader, template_command
from tests.support.evidence import pytest_runtest_makereport, pytest_runtest_setup  # noqa: F401 (hooks)
from tests.support.guest import until
from tests.support.host import Host, own_host
from tests.support.module_times import pytest_runtest_logreport, pytest_terminal_summary  # noqa: F401 (hooks)
from tests.support.postgres import postgres_server
from tests.support.service import Service, running_service

REMOVAL_SECONDS = 120
NAMESPACE_SECONDS = 120
"""Until an emulated control plane has made the service account of a namespace, which pods need."""


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    with own_host("dayfly/k8s-debian:latest", "dayfly/bare:latest") as host:
        yield host


@pytest.fixture(scope="session")
def service(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An API and two workers on PostgreSQL; at the end nothing is left of what they made."""
    before = engine_lists(host.engine)
    # To the worker of another time (tests/support/later_worker.py) the template is older than a template may be.
    settings = {"template_max_age_seconds": "1e8", "template_unused_seconds": "1e8", "survey_seconds": "5"}
    with (
        postgres_server() as server,
        server.database() as url,
        running_service(
            tmp_path_factory.mktemp("e2e"), commands=PROCESSES, database_url=url, **settings, **host.settings
        ) as service,
    ):
        yield service
        host.revive()
        service.restart(*PROCESSES)
        with Client(service.url) as client:
            for template in client.templates():
                client.delete_template(template.id)
        deadline = time.monotonic() + REMOVAL_SECONDS
        while service.objects():
            assert time.monotonic() < deadline, service.objects()
            time.sleep(1)
        assert engine_lists(host.engine) == before


@pytest.fixture(scope="session")
def template(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Template:
    Reader(service, tmp_path_factory.mktemp("reader")).run(template_command())
    with Client(service.url) as client:
        (made,) = client.templates()
    assert made.phase == "ready"
    assert made.ready_at is not None
    print(f"template: {(made.ready_at - made.created_at).total_seconds():.0f} s, {made.size_bytes >> 20} MiB")
    return made


@pytest.fixture(scope="session")
def shared_lab(service: Service, template: Template) -> Iterator[Lab]:
    """A control plane and a worker: a fork."""
    with living(service, "lab") as lab:
        yield lab


@pytest.fixture
def lab(shared_lab: Lab) -> Lab:
    """The same fork for all tests, reset where its nodes have booted since it was made."""
    if shared_lab.booted_again():
        shared_lab.reset()
    return shared_lab


@pytest.fixture
def web(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A Deployment with a pod on each node: node → pod's address.

    Creates a missing Deployment together with the objects of names.yaml and guarded.yaml: five pods that start at once
    are ready sooner than five that start in turn.
    """
    if "web" in lab.kubectl("get", "deployments", "-o", "name"):
        return lab.web_pods()
    began = time.monotonic()
    lab.deploy_web(tmp_path_factory.mktemp("web"))
    lab.kubectl("apply", "-f", str(MANIFESTS / "names.yaml"))
    guarded = (MANIFESTS / "guarded.yaml").read_text()
    until("a new namespace takes pods", lambda: lab.applies(guarded) or None, seconds=NAMESPACE_SECONDS)
    web = lab.web_pods()
    print(f"the first of five new pods run {time.monotonic() - began:.0f} s after they were asked for")
    return web
