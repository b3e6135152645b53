"""The objects of the add-on metrics-server match each other, the recipe, and the program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dayfly.images.recipe import load_recipe
from tests.support.program_objects import ADDONS, PROGRAMS, PROVISIONING, addon, addon_objects

PROGRAM = PROGRAMS / "metrics"
ADDON = "metrics-server"
API_SERVICE = "v1beta1.metrics.k8s.io"


def test_every_file_of_the_folder_is_an_object_of_the_addon() -> None:
    description = addon(ADDON)
    files = {path.name for path in (ADDONS / ADDON).iterdir()}
    assert files == {"addon.yaml", *description["objects"]}
    assert len(description["objects"]) == len(set(description["objects"]))
    assert description["name"] == ADDON
    assert description["needs"] == []


def test_the_api_service_is_created_last_and_so_removed_first() -> None:
    assert [one["kind"] for one in addon_objects(ADDON)][-1] == "APIService"


def test_names_are_those_of_the_kubernetes_project(objects: dict[tuple[str, str], Any]) -> None:
    assert set(objects) == {
        ("ServiceAccount", ADDON),
        ("ClusterRole", "system:metrics-server"),
        ("ClusterRoleBinding", "system:metrics-server"),
        ("RoleBinding", "metrics-server-auth-reader"),
        ("ClusterRole", "system:aggregated-metrics-reader"),
        ("Service", ADDON),
        ("Deployment", ADDON),
        ("APIService", API_SERVICE),
    }
    for (kind, _), one in objects.items():
        labels = one["metadata"]["labels"]
        assert (labels["dayfly.addon"], labels["k8s-app"]) == (ADDON, ADDON)
        cluster_wide = kind in {"APIService", "ClusterRole", "ClusterRoleBinding"}
        assert one["metadata"].get("namespace") == (None if cluster_wide else "kube-system")


def test_the_bindings_are_of_the_pods_account(objects: dict[tuple[str, str], Any], pod: dict[str, Any]) -> None:
    account = {"kind": "ServiceAccount", "name": pod["spec"]["serviceAccountName"], "namespace": "kube-system"}
    assert ("ServiceAccount", account["name"]) in objects
    bindings = [
        objects["ClusterRoleBinding", "system:metrics-server"],
        objects["RoleBinding", "metrics-server-auth-reader"],
    ]
    assert [one["subjects"] for one in bindings] == [[account], [account]]
    assert [(one["roleRef"]["kind"], one["roleRef"]["name"]) for one in bindings] == [
        ("ClusterRole", "system:metrics-server"),
        ("Role", "extension-apiserver-authentication-reader"),
    ]
    trust = (PROGRAM / "trust.go").read_text()
    assert '"extension-apiserver-authentication"' in trust, "Kubernetes names its role after the ConfigMap"


def test_the_role_has_no_more_than_the_program_needs(objects: dict[tuple[str, str], Any]) -> None:
    rules = objects["ClusterRole", "system:metrics-server"]["rules"]
    assert rules == [
        {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["nodes/stats"], "verbs": ["get"]},
        {
            "apiGroups": ["apiregistration.k8s.io"],
            "resources": ["apiservices"],
            "resourceNames": [API_SERVICE],
            "verbs": ["list", "watch", "patch"],
        },
    ]
    assert '"/stats/summary"' in (PROGRAM / "kubelets.go").read_text()


def test_users_who_may_view_may_read_metrics(objects: dict[tuple[str, str], Any]) -> None:
    role = objects["ClusterRole", "system:aggregated-metrics-reader"]
    for name in ("view", "edit", "admin"):
        assert role["metadata"]["labels"][f"rbac.authorization.k8s.io/aggregate-to-{name}"] == "true"
    (rule,) = role["rules"]
    assert rule["apiGroups"] == ["metrics.k8s.io"]
    assert not set(rule["verbs"]) - {"get", "list", "watch"}
    served = re.findall(r'\{Name: "(\w+)", Kind: "\w+Metrics"', (PROGRAM / "api.go").read_text())
    assert sorted(rule["resources"]) == sorted(served)


def test_the_api_service_the_service_and_the_pods_belong_together(
    objects: dict[tuple[str, str], Any], pod: dict[str, Any], container: dict[str, Any]
) -> None:
    spec = objects["APIService", API_SERVICE]["spec"]
    assert f"{spec['version']}.{spec['group']}" == API_SERVICE
    # The API server trusts only the authority that the program announces.
    assert "insecureSkipTLSVerify" not in spec
    assert "caBundle" not in spec
    service = objects["Service", spec["service"]["name"]]
    assert spec["service"]["namespace"] == service["metadata"]["namespace"]
    (port,) = service["spec"]["ports"]
    assert port["port"] == spec["service"]["port"]
    labels = pod["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert objects["Deployment", ADDON]["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    main = (PROGRAM / "main.go").read_text()
    assert f'"listen", ":{ports[port["targetPort"]]}"' in main
    assert f'"status", ":{ports["status"]}"' in main
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "status"}
    assert container["args"] == [f"-host={ADDON}.kube-system.svc"]


def test_one_unprivileged_pod_that_nobody_evicts(
    objects: dict[tuple[str, str], Any], pod: dict[str, Any], container: dict[str, Any]
) -> None:
    deployment = objects["Deployment", ADDON]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert pod["spec"]["priorityClassName"] == "system-cluster-critical"
    assert {"key": "node-role.kubernetes.io/master", "effect": "NoSchedule"} in pod["spec"]["tolerations"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert pod["spec"]["securityContext"]["runAsUser"] > 0
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert "hostNetwork" not in pod["spec"]
    assert "volumes" not in pod["spec"]


def test_the_image_is_baked_by_the_recipes_that_can_run_it(container: dict[str, Any]) -> None:
    description = addon(ADDON)
    assert description["images"] == [container["image"]]
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert description["recipes"] == ["k8s-debian", "k8s-debian-conformance"]
    for name in description["recipes"]:
        recipe = load_recipe(name)
        assert recipe.artifacts["images"].environment["METRICS_IMAGE"] == container["image"]
        assert any(command.endswith(f" {container['image']}") for command in recipe.verify)
    script = (PROVISIONING / "kubernetes/images-debian.sh").read_text()
    assert 'archive "$METRICS_IMAGE" "$root" /dayfly-metrics\n' in script


def test_the_addon_is_ready_when_the_api_server_has_its_answer(objects: dict[tuple[str, str], Any]) -> None:
    spec = objects["APIService", API_SERVICE]["spec"]
    (path,) = addon(ADDON)["ready_paths"]
    assert path == f"/apis/{spec['group']}/{spec['version']}/nodes"


def test_the_control_plane_does_not_apply_it() -> None:
    control_plane = Path(PROVISIONING / "ansible/roles/kubernetes/files/control-plane").read_text()
    assert "metrics" not in control_plane


def test_the_api_server_has_an_aggregator() -> None:
    """kubeadm gives the API server the front proxy's certificates; Dayfly signs them at kubeadm's paths."""
    kubeadm = (PROVISIONING / "ansible/roles/kubernetes/templates/kubeadm.yaml.j2").read_text()
    assert "proxy-client-cert-file" not in kubeadm, "kubeadm's defaults are not overridden"
    assert "kubelet-certificate-authority: /etc/kubernetes/pki/ca.crt" in kubeadm
