"""The readiness `conformance`, with `--long` only: two quick specs pass on a fork before it is ready.

The image is that of the recipe k8s-debian-conformance, with a template of its own. Not here: whether all specs pass
(test_conformance.py, tests/conformance).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from dayfly.client import Client, Template
from tests.e2e.lab import PATIENCE_SECONDS, others_hibernate
from tests.support.guest import ready_template
from tests.support.host import Host
from tests.support.service import Service

pytestmark = [pytest.mark.kubernetes, pytest.mark.long]

IMAGE: Final = "k8s-debian-conformance"
SPECS: Final = (
    "[sig-api-machinery] Watchers should observe add, update, and delete watch notifications on configmaps "
    "[Conformance]",
    r"^\[sig-storage\] ConfigMap should be consumable from pods in volume \[NodeConformance\]",
)


@pytest.fixture
def tested(host: Host, service: Service) -> Iterator[Template]:
    """A template of the readiness `usable`: its builder runs no spec."""
    # tests/run.sh has baked the image.
    host.load(f"dayfly/{IMAGE}:latest")
    with others_hibernate(service), Client(service.url) as client:
        asked = client.create_template(image=IMAGE, workers=1)
        try:
            yield ready_template(client, asked.id, seconds=2 * PATIENCE_SECONDS)
        finally:
            client.delete_template(asked.id)


@pytest.mark.timeout(5400)
def test_a_fork_is_ready_when_its_specs_have_passed(service: Service, tested: Template) -> None:
    with Client(service.url) as client:
        asked = client.create(image=IMAGE, workers=1, readiness="conformance", conformance=SPECS)
        try:
            made = client.wait_ready(asked.id, timeout_seconds=2 * PATIENCE_SECONDS)
            assert (made.template, made.readiness, made.conformance) == (tested.id, "conformance", SPECS)
            assert [(step.name, step.state) for step in made.steps][-1] == ("conformance", "done")
            said = [one.message for one in client.events(made.id).events if one.step == "conformance"]
            assert any("spec 2 of 2 passed after" in message for message in said), said
        finally:
            client.delete(asked.id)
            client.wait_deleted(asked.id, timeout_seconds=PATIENCE_SECONDS)
