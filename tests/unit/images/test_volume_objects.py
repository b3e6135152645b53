"""The objects of k8s-debian's volumes match each other, the recipe, and the provisioner's program."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dayfly.images.recipe import load_recipe
from tests.support.program_objects import PROGRAMS, objects_of

PROGRAM = PROGRAMS / "volumes"
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
    return "".join(path.read_text() for path in PROGRAM.glob("*.go") if not path.name.endswith("_test.go"))


def test_the_class_is_the_default_and_the_programs(objects: dict[str, Any], program: str) -> None:
    standard = objects["StorageClass"]
    assert standard["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}
    assert f'diskDriver = "{standard["provisioner"]}"' in program
    assert standard["volumeBindingMode"] == "WaitForFirstConsumer"
    assert standard["reclaimPolicy"] == "Delete"
    assert standard["allowVolumeExpansion"] is False
    assert "parameters" not in standard


def test_the_role_is_what_the_program_does_and_no_more(objects: dict[str, Any], program: str) -> None:
    pods = objects["DaemonSet"]["spec"]["template"]
    assert objects["DaemonSet"]["spec"]["selector"]["matchLabels"] == pods["metadata"]["labels"]
    assert pods["spec"]["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
    (subject,) = objects["ClusterRoleBinding"]["subjects"]
    assert (subject["name"], subject["namespace"]) == (pods["spec"]["serviceAccountName"], "kube-system")
    assert objects["ClusterRoleBinding"]["roleRef"]["name"] == objects["ClusterRole"]["metadata"]["name"]

    calls = re.findall(r"\b[pr]\.(?:core\.(\w+)\([^()]*\)|(classes))\.([A-Z]\w+)\(ctx", program)
    done = {(RESOURCES[core or other], verb.lower()) for core, other, verb in calls}
    for followed in re.findall(r'shared\.ListWatch\(client, "(\w+)"', program):
        done |= {(followed, "list"), (followed, "watch")}
    allowed = {
        (resource, verb)
        for rule in objects["ClusterRole"]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert done == allowed


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


def test_the_image_the_flags_and_the_port_are_known(objects: dict[str, Any], program: str) -> None:
    recipe = load_recipe("k8s-debian")
    image = container(objects)["image"]
    assert recipe.artifacts["images"].environment["VOLUMES_IMAGE"] == image
    assert any(image in command for command in recipe.verify)
    for flag in container(objects)["args"]:
        assert f'("{flag.removeprefix("-").partition("=")[0]}", ' in program
    (port,) = container(objects)["ports"]
    assert f'"status", ":{port["containerPort"]}"' in program


def container(objects: dict[str, Any]) -> dict[str, Any]:
    (one,) = objects["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(one, dict)
    return one
