"""The Kubernetes objects of Dayfly's programs in a cluster, as the image has them. Not here: assertions about them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from dayfly import assets
from dayfly.images.recipe import load_recipe

PROVISIONING: Final = assets.provisioning()
ROLE: Final = PROVISIONING / "ansible/roles/kubernetes"
PROGRAMS: Final = PROVISIONING / "kubernetes/programs"
ADDONS: Final = PROVISIONING / "addons"
FOLDERS: Final = ("balancer", "dns", "policies", "volumes")
ADDON_PROGRAMS: Final = {"ingress": "ingress", "metrics": "metrics-server", "targets": "prometheus"}
"""Programs whose objects are an add-on's: program → add-on."""
COLLECTIONS: Final = {
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "DaemonSet": "/apis/apps/v1/namespaces/kube-system/daemonsets",
    "Deployment": "/apis/apps/v1/namespaces/kube-system/deployments",
    "Service": "/api/v1/namespaces/kube-system/services",
    "ServiceAccount": "/api/v1/namespaces/kube-system/serviceaccounts",
    "StorageClass": "/apis/storage.k8s.io/v1/storageclasses",
}


def templates(folder: str) -> list[Path]:
    return sorted((ROLE / "templates" / folder).iterdir())


def render(path: Path) -> str:
    variables = load_recipe("k8s-debian").vars
    return re.sub(r"{{ (\w+) }}", lambda name: str(variables[name[1]]), path.read_text())


def objects_of(folder: str) -> dict[str, Any]:
    """The objects of a program by kind."""
    found = [yaml.safe_load(render(path)) for path in templates(folder)]
    assert len(found) == len({one["kind"] for one in found})
    return {one["kind"]: one for one in found}


def workload(objects: dict[str, Any]) -> dict[str, Any]:
    """The spec of the program's DaemonSet or Deployment."""
    (one,) = (objects[kind] for kind in ("DaemonSet", "Deployment") if kind in objects)
    assert isinstance(one["spec"], dict)
    return one["spec"]


def container(objects: dict[str, Any]) -> dict[str, Any]:
    (one,) = workload(objects)["template"]["spec"]["containers"]
    assert isinstance(one, dict)
    return one


def source(folder: str) -> str:
    """The text of a program, without its tests."""
    return "".join(path.read_text() for path in (PROGRAMS / folder).glob("*.go") if not path.name.endswith("_test.go"))


def followed(folder: str) -> list[str]:
    """The resources that a program lists and watches."""
    return re.findall(r'shared\.ListWatch\(\w+, "(\w+)"', source(folder))


def addon(name: str) -> dict[str, Any]:
    """The description of an add-on."""
    description = yaml.safe_load((ADDONS / name / "addon.yaml").read_text())
    assert isinstance(description, dict)
    return description


def addon_objects(name: str) -> list[dict[str, Any]]:
    """The objects of an add-on, in the order of their creation."""
    return [yaml.safe_load((ADDONS / name / file).read_text()) for file in addon(name)["objects"]]
