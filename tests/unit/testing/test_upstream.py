"""The table of upstream's refusals and application.yaml agree with themselves. Not here: a cluster."""

from __future__ import annotations

from collections import Counter

from tests.e2e import upstream
from tests.e2e.lab import MANIFESTS
from tests.e2e.manifests import SUFFIXES, objects_of

KINDS = Counter(
    {
        "namespace": 1,
        "configmap": 2,
        "secret": 1,
        "service": 2,
        "statefulset.apps": 1,
        "poddisruptionbudget.policy": 1,
        "networkpolicy.networking.k8s.io": 1,
        "deployment.apps": 1,
        "ingress.networking.k8s.io": 1,
        "horizontalpodautoscaler.autoscaling": 1,
        "job.batch": 1,
        "cronjob.batch": 1,
    }
)


def test_the_application_has_all_ordinary_kinds() -> None:
    objects = objects_of(MANIFESTS / "application.yaml")
    assert Counter(name.partition("/")[0] for name in objects.elements()) == KINDS


def test_refused_files_are_manifests_of_the_folders_that_are_not_applied() -> None:
    for file in upstream.REFUSED:
        assert file.startswith(tuple(f"{folder}/" for folder in upstream.FOLDERS))
        assert file.endswith(tuple(SUFFIXES))
    assert not {*upstream.STATEFUL_SET, *upstream.INGRESS} & upstream.REFUSED.keys()
