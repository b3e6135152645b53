"""The objects of k8s-debian's volumes match the provisioner's program."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.program_objects import container, followed, objects_of, source

RESOURCES = {
    "PersistentVolumes": "persistentvolumes",
    "PersistentVolumeClaims": "persistentvolumeclaims",
    "Events": "events",
    "classes": "storageclasses",
}
"""As the program calls them → as the API does."""


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """The objects by kind."""
    return objects_of("volumes")


@pytest.fixture(scope="module")
def program() -> str:
    return source("volumes")


def test_the_class_is_the_default_and_the_programs(objects: dict[str, Any], program: str) -> None:
    standard = objects["StorageClass"]
    assert standard["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}
    assert f'diskDriver = "{standard["provisioner"]}"' in program
    assert standard["volumeBindingMode"] == "WaitForFirstConsumer"
    assert standard["reclaimPolicy"] == "Delete"
    assert standard["allowVolumeExpansion"] is False
    assert "parameters" not in standard


def test_the_role_is_what_the_program_does_and_no_more(objects: dict[str, Any], program: str) -> None:
    calls = re.findall(r"\b[pr]\.(?:core\.(\w+)\([^()]*\)|(classes))\.([A-Z]\w+)\(ctx", program)
    done = {(RESOURCES[core or other], verb.lower()) for core, other, verb in calls}
    done |= {(resource, verb) for resource in followed("volumes") for verb in ("list", "watch")}
    rules = objects["ClusterRole"]["rules"]
    assert done == {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}


def test_the_pod_has_the_folder_and_two_capabilities(objects: dict[str, Any], program: str) -> None:
    pod = objects["DaemonSet"]["spec"]["template"]["spec"]
    security = container(objects)["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["DAC_OVERRIDE", "FOWNER"]}
    assert security["allowPrivilegeEscalation"] is False
    assert "privileged" not in security
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    (volume,), (mount,) = pod["volumes"], container(objects)["volumeMounts"]
    # A PersistentVolume has the path that the program sees.
    assert volume["hostPath"]["path"] == mount["mountPath"]
    assert f'"root", "{mount["mountPath"]}"' in program
    assert pod["tolerations"] == [{"operator": "Exists"}]


def test_the_port_is_the_programs(objects: dict[str, Any], program: str) -> None:
    (port,) = container(objects)["ports"]
    assert f'"status", ":{port["containerPort"]}"' in program
