"""The objects of the add-on prometheus match each other, the recipe, and the program that finds targets.

Not here: whether Prometheus accepts its configuration, and finds targets by it (tests/e2e/addons/test_prometheus.py).
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from dayfly.images.recipe import load_recipe
from tests.support.program_objects import ADDONS, PROGRAMS, PROVISIONING, addon

PROGRAM = PROGRAMS / "targets"
ADDON = "prometheus"
EXPORTER = "node-exporter"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
OWN_JOBS = {"prometheus", "apiserver", "kubelet", "cadvisor", "node-exporter"}
ANNOTATED_JOBS = {"kubernetes-service-endpoints", "kubernetes-pods"}


@pytest.fixture(scope="module")
def containers(pod: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for one in pod["spec"]["containers"]}


@pytest.fixture(scope="module")
def exporter(objects: dict[tuple[str, str], Any]) -> dict[str, Any]:
    template = objects["DaemonSet", EXPORTER]["spec"]["template"]
    assert isinstance(template, dict)
    return template


@pytest.fixture(scope="module")
def config(objects: dict[tuple[str, str], Any]) -> dict[str, Any]:
    found = yaml.safe_load(objects["ConfigMap", ADDON]["data"]["prometheus.yml"])
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def jobs(config: dict[str, Any]) -> dict[str, Any]:
    found = {one["job_name"]: one for one in config["scrape_configs"]}
    assert len(found) == len(config["scrape_configs"])
    return found


def test_every_file_of_the_folder_is_an_object_of_the_addon() -> None:
    description = addon(ADDON)
    files = {path.name for path in (ADDONS / ADDON).iterdir()}
    assert files == {"addon.yaml", *description["objects"]}
    assert len(description["objects"]) == len(set(description["objects"]))
    assert description["name"] == ADDON
    assert description["needs"] == []


def test_all_objects_are_in_kube_system_or_have_no_namespace(objects: dict[tuple[str, str], Any]) -> None:
    assert set(objects) == {
        ("ServiceAccount", ADDON),
        ("ClusterRole", "dayfly:prometheus"),
        ("ClusterRoleBinding", "dayfly:prometheus"),
        ("ConfigMap", ADDON),
        ("Service", EXPORTER),
        ("DaemonSet", EXPORTER),
        ("Service", ADDON),
        ("Deployment", ADDON),
    }
    for (kind, name), one in objects.items():
        labels = one["metadata"]["labels"]
        assert (labels["dayfly.addon"], labels["k8s-app"]) == (ADDON, EXPORTER if name == EXPORTER else ADDON)
        cluster_wide = kind in {"ClusterRole", "ClusterRoleBinding"}
        assert one["metadata"].get("namespace") == (None if cluster_wide else "kube-system")


def test_the_account_may_find_targets_and_read_their_metrics_only(
    objects: dict[tuple[str, str], Any], pod: dict[str, Any]
) -> None:
    account = {"kind": "ServiceAccount", "name": pod["spec"]["serviceAccountName"], "namespace": "kube-system"}
    assert ("ServiceAccount", account["name"]) in objects
    binding = objects["ClusterRoleBinding", "dayfly:prometheus"]
    assert binding["subjects"] == [account]
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("ClusterRole", "dayfly:prometheus")
    assert objects["ClusterRole", "dayfly:prometheus"]["rules"] == [
        {"apiGroups": [""], "resources": ["nodes", "services", "endpoints", "pods"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
        {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
    ]
    followed = re.findall(r'{"(\w+)", &v1\.', (PROGRAM / "cluster.go").read_text())
    assert sorted(followed) == ["endpoints", "nodes", "pods", "services"]


def test_every_list_of_targets_is_one_that_the_program_serves(
    jobs: dict[str, Any], pod: dict[str, Any], containers: dict[str, Any]
) -> None:
    main, server = (PROGRAM / "main.go").read_text(), (PROGRAM / "server.go").read_text()
    served = set(re.findall(r'"(/\w+)": \w+Groups', server))
    assert '"listen", "127.0.0.1:8185"' in main, "labels of all namespaces are for Prometheus only"
    urls = {one["url"] for job in jobs.values() for one in job.get("http_sd_configs", [])}
    assert urls == {f"http://127.0.0.1:8185{path}" for path in served}
    assert "hostNetwork" not in pod["spec"], "127.0.0.1 is the pod's own"
    (status,) = containers["targets"]["ports"]
    assert f'"status", ":{status["containerPort"]}"' in main
    assert containers["targets"]["readinessProbe"]["httpGet"] == {"path": "/ready", "port": status["name"]}


def test_every_label_that_is_read_is_one_that_the_program_sets(jobs: dict[str, Any]) -> None:
    targets = (PROGRAM / "targets.go").read_text()
    known = {f"__meta_kubernetes_{name}" for name in re.findall(r'meta\s*\+\s*"(\w+)"', targets)}
    kinds = re.findall(r'addObject\("(\w+)"', targets)
    annotations = ("scrape", "scheme", "path", "port")
    known |= {f"__meta_kubernetes_{kind}_annotation_prometheus_io_{name}" for kind in kinds for name in annotations}
    read = {
        label
        for job in jobs.values()
        for rule in job.get("relabel_configs", [])
        for label in rule["source_labels"]
        if label != "__address__"
    }
    assert read
    assert read <= known


def test_the_token_goes_only_to_the_api_server_and_to_kubelets_that_are_verified(jobs: dict[str, Any]) -> None:
    assert set(jobs) == OWN_JOBS | ANNOTATED_JOBS
    with_token = {name for name, job in jobs.items() if "authorization" in job}
    assert with_token == {"apiserver", "kubelet", "cadvisor"}
    for name in with_token:
        assert jobs[name]["scheme"] == "https"
        assert jobs[name]["authorization"] == {"credentials_file": f"{ACCOUNT}/token"}
    for name in with_token | ANNOTATED_JOBS:
        assert jobs[name]["tls_config"] == {"ca_file": f"{ACCOUNT}/ca.crt"}, "verified"
    assert jobs["cadvisor"]["metrics_path"] == "/metrics/cadvisor"


def test_the_fixed_targets_are_the_endpoints_of_two_services(
    objects: dict[tuple[str, str], Any], jobs: dict[str, Any]
) -> None:
    kept = {}
    for name in ("apiserver", "node-exporter"):
        rule = jobs[name]["relabel_configs"][0]
        assert rule["action"] == "keep"
        assert [one.removeprefix("__meta_kubernetes_") for one in rule["source_labels"]] == [
            "namespace",
            "endpoints_name",
            "endpoint_port_name",
        ]
        kept[name] = rule["regex"]
    (port,) = objects["Service", EXPORTER]["spec"]["ports"]
    assert kept == {"apiserver": "default;kubernetes;https", "node-exporter": f"kube-system;{EXPORTER};{port['name']}"}


@pytest.mark.parametrize(
    ("address", "port", "found"),
    [
        ("10.244.0.2:80", "8080", "10.244.0.2:8080"),
        ("10.244.0.2", "8080", "10.244.0.2:8080"),
        ("10.244.0.2:80", "", None),
        ("10.244.0.2:80", "evil.example:80", None),
    ],
)
def test_an_annotation_changes_the_port_only(jobs: dict[str, Any], address: str, port: str, found: str | None) -> None:
    for name, kind in (("kubernetes-service-endpoints", "service"), ("kubernetes-pods", "pod")):
        (rule,) = (one for one in jobs[name]["relabel_configs"] if one.get("target_label") == "__address__")
        assert rule["source_labels"] == ["__address__", f"__meta_kubernetes_{kind}_annotation_prometheus_io_port"]
        match = re.fullmatch(rule["regex"], f"{address};{port}")
        assert (None if match is None else match.expand(rule["replacement"].replace("$", "\\"))) == found


def test_annotated_targets_cannot_fill_the_memory(jobs: dict[str, Any]) -> None:
    for name in ANNOTATED_JOBS:
        assert (jobs[name]["sample_limit"], jobs[name]["body_size_limit"]) == (20000, "16MB")
        keep = jobs[name]["relabel_configs"][0]
        assert (keep["action"], keep["regex"]) == ("keep", "true")


def test_nothing_is_sent_outside(config: dict[str, Any]) -> None:
    assert set(config) == {"global", "scrape_configs"}, "no alertmanager, no remote storage"
    assert set(config["global"]) == {"scrape_interval", "scrape_timeout"}


def test_the_data_have_a_bound_of_time_and_size(pod: dict[str, Any], containers: dict[str, Any]) -> None:
    arguments = dict(one.removeprefix("--").split("=", 1) for one in containers[ADDON]["args"])
    assert (arguments["storage.tsdb.retention.time"], arguments["storage.tsdb.retention.size"]) == ("1d", "512MB")
    mounts = {one["mountPath"]: one["name"] for one in containers[ADDON]["volumeMounts"]}
    volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
    assert volumes[mounts[arguments["storage.tsdb.path"]]]["emptyDir"] == {"sizeLimit": "1Gi"}
    assert "web.enable-admin-api" not in arguments
    assert "web.enable-lifecycle" not in arguments


def test_the_configuration_is_where_prometheus_reads_it(
    objects: dict[tuple[str, str], Any], pod: dict[str, Any], containers: dict[str, Any]
) -> None:
    arguments = dict(one.removeprefix("--").split("=", 1) for one in containers[ADDON]["args"])
    mounts = {one["mountPath"]: one["name"] for one in containers[ADDON]["volumeMounts"]}
    (volume,) = (one["configMap"] for one in pod["spec"]["volumes"] if one["name"] == mounts["/etc/prometheus"])
    files = {f"/etc/prometheus/{one['path']}": one["key"] for one in volume["items"]}
    assert files == {
        arguments["config.file"]: "prometheus.yml",
        f"{arguments['web.console.templates']}/ready.html": "ready.html",
    }
    assert set(objects["ConfigMap", volume["name"]]["data"]) == set(files.values())


def test_the_addon_is_ready_when_a_target_of_each_job_was_scraped(
    objects: dict[tuple[str, str], Any], containers: dict[str, Any]
) -> None:
    service = objects["Service", ADDON]
    (port,) = service["spec"]["ports"]
    (path,) = addon(ADDON)["ready_paths"]
    base = f"/api/v1/namespaces/kube-system/services/{ADDON}:{port['name']}/proxy"
    assert path == f"{base}/consoles/ready.html"
    assert {one["name"] for one in containers[ADDON]["ports"]} == {port["targetPort"]}
    page = objects["ConfigMap", ADDON]["data"]["ready.html"]
    (asked,) = re.findall(r"job=~'([^']+)'", page)
    assert set(asked.split("|")) == OWN_JOBS
    assert f"== {len(OWN_JOBS)}" in page
    # Answers 500 without a result.
    assert "| first |" in page


def test_unprivileged_pods_that_nobody_evicts(
    objects: dict[tuple[str, str], Any], pod: dict[str, Any], exporter: dict[str, Any]
) -> None:
    deployment = objects["Deployment", ADDON]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert pod["spec"]["priorityClassName"] == "system-cluster-critical"
    assert exporter["spec"]["priorityClassName"] == "system-node-critical"
    assert exporter["spec"]["tolerations"] == [{"operator": "Exists"}]
    for one in (pod, exporter):
        assert one["spec"]["securityContext"]["runAsNonRoot"]
        assert one["spec"]["securityContext"]["runAsUser"] > 0
        assert not {"hostPID", "hostIPC"} & set(one["spec"])
        for container in one["spec"]["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert "memory" in container["resources"]["limits"]


def test_the_exporter_reads_its_node_and_nothing_else(exporter: dict[str, Any]) -> None:
    (container,) = exporter["spec"]["containers"]
    paths = {one["name"]: one["hostPath"]["path"] for one in exporter["spec"]["volumes"]}
    assert all(one["readOnly"] for one in container["volumeMounts"])
    mounted = {one["mountPath"]: paths[one["name"]] for one in container["volumeMounts"]}
    assert mounted == {"/host/proc": "/proc", "/host/sys": "/sys", "/host/root": "/"}
    read = [one.split("=", 1)[1] for one in container["args"] if one.startswith("--path.")]
    assert set(mounted) <= set(read)
    assert all(one.startswith("/host/") for one in read)
    assert exporter["spec"]["hostNetwork"]
    assert exporter["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("mount", "left_out"),
    [
        ("/", False),
        ("/boot", False),
        ("/var/lib/dayfly", False),
        ("/proc", True),
        ("/var/lib/kubelet/pods/1/volumes/x", True),
        ("/var/lib/containerd/io.containerd.y/x", True),
    ],
)
def test_file_systems_of_pods_are_no_figures_of_the_node(exporter: dict[str, Any], mount: str, left_out: bool) -> None:
    (container,) = exporter["spec"]["containers"]
    arguments = dict(one.split("=", 1) for one in container["args"] if "=" in one)
    assert bool(re.search(arguments["--collector.filesystem.mount-points-exclude"], mount)) is left_out


def test_services_select_the_pods(
    objects: dict[tuple[str, str], Any], pod: dict[str, Any], exporter: dict[str, Any]
) -> None:
    for name, kind, template in ((ADDON, "Deployment", pod), (EXPORTER, "DaemonSet", exporter)):
        selector = objects["Service", name]["spec"]["selector"]
        assert selector.items() <= template["metadata"]["labels"].items()
        assert objects[kind, name]["spec"]["selector"]["matchLabels"] == selector
    (port,) = objects["Service", EXPORTER]["spec"]["ports"]
    (container,) = exporter["spec"]["containers"]
    assert {one["name"]: one["containerPort"] for one in container["ports"]} == {port["targetPort"]: port["port"]}


def test_the_images_are_baked_by_the_recipes_that_can_run_them(
    containers: dict[str, Any], exporter: dict[str, Any]
) -> None:
    description = addon(ADDON)
    (exports,) = exporter["spec"]["containers"]
    every = [containers[ADDON], containers["targets"], exports]
    assert description["images"] == [one["image"] for one in every]
    assert all(one["imagePullPolicy"] == "IfNotPresent" for one in every)
    assert description["recipes"] == ["k8s-debian", "k8s-debian-conformance"]
    variables = dict(
        zip(("PROMETHEUS_IMAGE", "TARGETS_IMAGE", "NODE_EXPORTER_IMAGE"), description["images"], strict=True)
    )
    for name in description["recipes"]:
        recipe = load_recipe(name)
        artifact = recipe.artifacts["images"]
        assert variables.items() <= artifact.environment.items()
        assert {"prometheus", "prometheus-node-exporter"} <= set(artifact.packages)
        for image in variables.values():
            assert any(command.endswith(f" {image}") for command in recipe.verify)
    script = (PROVISIONING / "kubernetes/images-debian.sh").read_text()
    for variable, program in (
        ("PROMETHEUS_IMAGE", "/usr/bin/prometheus"),
        ("TARGETS_IMAGE", "/dayfly-targets"),
        ("NODE_EXPORTER_IMAGE", "/usr/bin/prometheus-node-exporter"),
    ):
        assert f'archive "${variable}" "$root" {program}\n' in script


def test_the_control_plane_does_not_apply_it() -> None:
    control_plane = (PROVISIONING / "ansible/roles/kubernetes/files/control-plane").read_text()
    assert "prometheus" not in control_plane
