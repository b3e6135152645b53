"""The objects of the add-on ingress match each other, the recipe, and the program."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

from dayfly.domain.addon import identity
from dayfly.domain.cluster.network import LOAD_BALANCERS
from dayfly.images.recipe import load_recipe
from tests.e2e.lab import INGRESS, INGRESS_TLS
from tests.support.program_objects import ADDONS, PROGRAMS, PROVISIONING, addon, addon_objects

PROGRAM = PROGRAMS / "ingress"
ADDON = "ingress"
MAIN = (PROGRAM / "main.go").read_text()
CLUSTER = (PROGRAM / "cluster.go").read_text()


def test_every_file_of_the_folder_is_an_object_of_the_addon(objects: dict[tuple[str, str], Any]) -> None:
    description = addon(ADDON)
    assert {path.name for path in (ADDONS / ADDON).iterdir()} == {"addon.yaml", *description["objects"]}
    assert len(objects) == len(description["objects"])
    for one in objects.values():
        labels = one["metadata"]["labels"]
        assert (labels["dayfly.addon"], labels["k8s-app"]) == (ADDON, ADDON)


def test_the_service_is_created_last_and_so_removed_first(objects: dict[tuple[str, str], Any]) -> None:
    """The program takes its address from Ingresses when the Service is gone; it must still run then."""
    last = addon_objects(ADDON)[-1]
    assert identity(last) == identity(objects["Service", ADDON])
    assert f'"service", "{last["metadata"]["namespace"]}/{last["metadata"]["name"]}"' in MAIN


def test_the_class_is_the_programs_and_the_default(objects: dict[tuple[str, str], Any]) -> None:
    found = objects["IngressClass", "nginx"]
    assert f'controllerName = "{found["spec"]["controller"]}"' in CLUSTER
    assert f'annotatedClass  = "{found["metadata"]["name"]}"' in CLUSTER
    assert found["metadata"]["annotations"] == {"ingressclass.kubernetes.io/is-default-class": "true"}


def test_the_role_has_no_more_than_the_program_needs(objects: dict[tuple[str, str], Any], pod: dict[str, Any]) -> None:
    network, core = ["networking.k8s.io"], [""]
    assert objects["ClusterRole", "dayfly:ingress"]["rules"] == [
        {"apiGroups": network, "resources": ["ingresses", "ingressclasses"], "verbs": ["list", "watch"]},
        {"apiGroups": network, "resources": ["ingresses/status"], "verbs": ["patch"]},
        {"apiGroups": core, "resources": ["services", "endpoints", "secrets"], "verbs": ["list", "watch"]},
        {"apiGroups": core, "resources": ["events"], "verbs": ["create"]},
    ]
    followed = set(re.findall(r'(?:one\(\w+|ListWatch\(core), "(\w+)"', CLUSTER))
    assert followed == {"ingresses", "ingressclasses", "services", "endpoints", "secrets"}
    assert "onlyTLS(secrets)" in CLUSTER
    binding = objects["ClusterRoleBinding", "dayfly:ingress"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": pod["spec"]["serviceAccountName"], "namespace": "kube-system"}
    ]
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("ClusterRole", "dayfly:ingress")


def test_the_services_lead_to_the_ports_of_nginx_and_the_program(
    objects: dict[tuple[str, str], Any], pod: dict[str, Any], container: dict[str, Any]
) -> None:
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    outside, status = objects["Service", "ingress"]["spec"], objects["Service", "ingress-status"]["spec"]
    assert [(one["port"], one["targetPort"]) for one in outside["ports"]] == [(80, "http"), (443, "https")]
    assert [one["targetPort"] for one in status["ports"]] == ["status"]
    for spec in (outside, status):
        assert spec["selector"].items() <= pod["metadata"]["labels"].items()
    assert objects["Deployment", ADDON]["spec"]["selector"]["matchLabels"] == outside["selector"]
    assert f"HTTP: {ports['http']}, HTTPS: {ports['https']}," in MAIN
    assert f'"status", ":{ports["status"]}"' in MAIN
    # What a Service shows to the outside is what nginx tells in X-Forwarded-Port.
    assert "map $https $forwarded_port { default 80; on 443; }" in (PROGRAM / "configuration.go").read_text()


def test_the_address_is_the_same_in_every_cluster(objects: dict[tuple[str, str], Any]) -> None:
    spec = objects["Service", "ingress"]["spec"]
    assert spec["type"] == "LoadBalancer"
    assert ip_address(spec["loadBalancerIP"]) in LOAD_BALANCERS
    # The balancer chooses others by itself.
    assert int(spec["loadBalancerIP"].rpartition(".")[2]) < 100
    assert {INGRESS.address, INGRESS_TLS.address} == {spec["loadBalancerIP"]}
    assert spec["loadBalancerIP"] in addon(ADDON)["description"]


def test_one_unprivileged_pod_with_a_folder_in_memory(
    objects: dict[tuple[str, str], Any], pod: dict[str, Any], container: dict[str, Any]
) -> None:
    assert objects["Deployment", ADDON]["spec"]["replicas"] == 1
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
    assert pod["spec"]["volumes"] == [{"name": "files", "emptyDir": {"medium": "Memory", "sizeLimit": "32Mi"}}]
    (mount,) = container["volumeMounts"]
    assert mount["name"] == "files"
    assert f'"folder", "{mount["mountPath"]}"' in MAIN


def test_the_pod_has_time_to_end(pod: dict[str, Any]) -> None:
    seconds = re.findall(r"(?:leave|drain)Time = (\d+) \* time\.Second", MAIN)
    assert len(seconds) == 2
    assert sum(map(int, seconds)) < pod["spec"]["terminationGracePeriodSeconds"]


def test_the_image_is_baked_by_the_recipes_that_can_run_it(container: dict[str, Any]) -> None:
    description = addon(ADDON)
    assert description["images"] == [container["image"]]
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert description["recipes"] == ["k8s-debian", "k8s-debian-conformance"]
    for name in description["recipes"]:
        recipe = load_recipe(name)
        images = recipe.artifacts["images"]
        assert images.environment["INGRESS_IMAGE"] == container["image"]
        assert "nginx" in images.packages
        # The program's tests run a real nginx.
        assert "nginx" in recipe.artifacts["programs"].packages
        assert any(command.endswith(f" {container['image']}") for command in recipe.verify)
    script = (PROVISIONING / "kubernetes/images-debian.sh").read_text()
    assert 'add_program "$root" /usr/sbin/nginx\n    archive "$INGRESS_IMAGE" "$root" /dayfly-ingress\n' in script
    assert '"nginx", "/usr/sbin/nginx"' in MAIN


def test_the_addon_is_ready_when_nginx_serves_and_has_its_address(
    objects: dict[tuple[str, str], Any], container: dict[str, Any]
) -> None:
    (port,) = objects["Service", "ingress-status"]["spec"]["ports"]
    base = f"/api/v1/namespaces/kube-system/services/ingress-status:{port['name']}/proxy"
    assert addon(ADDON)["ready_paths"] == [f"{base}/healthz", f"{base}/address"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "status"}
    for path in ("/healthz", "/address", "/health"):
        assert f'HandleFunc("{path}"' in MAIN


def test_the_control_plane_does_not_apply_it() -> None:
    assert "ingress" not in (PROVISIONING / "ansible/roles/kubernetes/files/control-plane").read_text()
