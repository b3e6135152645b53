"""Features of a Kubernetes cluster, on a fork."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from dayfly.client import Client, Template
from dayfly.domain.security.kubeconfig import client_identity
from dayfly.domain.security.pki import issue_pki
from tests.e2e.lab import NODES, Lab
from tests.support.service import Service
from tests.support.specs import make_spec

pytestmark = pytest.mark.kubernetes

API_VERSIONS = """\
admissionregistration.k8s.io/v1 admissionregistration.k8s.io/v1beta1 apiextensions.k8s.io/v1
apiextensions.k8s.io/v1beta1 apiregistration.k8s.io/v1 apiregistration.k8s.io/v1beta1 apps/v1
authentication.k8s.io/v1 authentication.k8s.io/v1beta1 authorization.k8s.io/v1 authorization.k8s.io/v1beta1
autoscaling/v1 autoscaling/v2beta1 autoscaling/v2beta2 batch/v1 batch/v1beta1 certificates.k8s.io/v1
certificates.k8s.io/v1beta1 coordination.k8s.io/v1 coordination.k8s.io/v1beta1 discovery.k8s.io/v1beta1
events.k8s.io/v1 events.k8s.io/v1beta1 extensions/v1beta1 flowcontrol.apiserver.k8s.io/v1beta1
networking.k8s.io/v1 networking.k8s.io/v1beta1 node.k8s.io/v1 node.k8s.io/v1beta1 policy/v1beta1
rbac.authorization.k8s.io/v1 rbac.authorization.k8s.io/v1beta1 scheduling.k8s.io/v1 scheduling.k8s.io/v1beta1
storage.k8s.io/v1 storage.k8s.io/v1beta1 v1"""
"""The API groups that Kubernetes 1.20 serves by default."""
CRON_JOB = """\
apiVersion: batch/v1beta1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: main, image: "dayfly.local/smoke:1", command: [/bin/sh, -c, ":"]}]
"""


def test_a_cold_cluster_says_what_took_how_long(service: Service, template: Template) -> None:
    with Client(service.url) as client:
        events = client.all_events(template.parents.builder)
    done = {(e.step, e.node): e.seconds for e in events if e.type == "step.done"}
    steps = {("boot", "node01"), ("boot", "node02"), ("control_plane", "node01"), ("join", "node02")}
    assert steps | {("sandbox", None), ("registry", None), ("ready", None), ("smoke_test", None)} <= done.keys()
    assert all(seconds is not None and seconds > 0 for seconds in done.values())


def test_every_node_is_ready_and_a_service_account_waits_for_pods(lab: Lab) -> None:
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    ready = {
        node["metadata"]["name"]
        for node in nodes
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready" and condition["status"] == "True"
    }
    assert ready == set(NODES)
    assert "default" in lab.kubectl("get", "serviceaccount", "default", "-o", "name")
    assert lab.kubectl("get", "pods", "-o", "name").count("dayfly-smoke") == 0


def test_the_api_is_that_of_its_version(lab: Lab) -> None:
    assert set(lab.kubectl("api-versions").split()) == set(API_VERSIONS.split())
    assert lab.applies(CRON_JOB)
    lab.kubectl("delete", "cronjob", "nightly")
    flags = lab.on_node("node01", "cat /etc/kubernetes/manifests/kube-*.yaml")
    assert "--enable-admission-plugins=NodeRestriction" in flags, "it is what kubeadm adds to the defaults"
    for switch in ("--feature-gates", "--runtime-config", "--disable-admission-plugins"):
        assert switch not in flags, "features, API groups and admission are as by default"


@pytest.mark.parametrize("node", NODES)
def test_containers_turn_no_switch_in_the_code_of_an_emulated_kernel(lab: Lab, node: str) -> None:
    groups = "/sys/fs/cgroup/freezer/dayfly/freezer.state /sys/fs/cgroup/cpu,cpuacct/dayfly/cpu.cfs_quota_us"
    is_emulated = "highres=off" in lab.on_node(node, "cat /proc/cmdline").split()
    found = lab.on_node(node, f"cat {groups} 2>/dev/null || true").split()
    assert found == (["FROZEN", "100000"] if is_emulated else [])


def test_an_image_pushed_by_the_host_runs_on_each_node(lab: Lab, web: dict[str, str]) -> None:
    assert web.keys() == set(NODES)
    for index, node in enumerate(NODES, start=1):
        assert web[node].startswith(f"10.244.{index}.")
        assert "served on" in lab.in_pod_on(node, "cat /tmp/index.html")


def test_a_pod_reaches_the_pod_on_the_other_node(lab: Lab, web: dict[str, str]) -> None:
    for here, there in (NODES, NODES[::-1]):
        assert lab.fetch(here, f"{web[there]}:8080") == f"served on {there}"


def test_a_pod_on_either_node_reaches_the_service(lab: Lab, web: dict[str, str]) -> None:
    address = lab.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    for node in NODES:
        assert lab.fetch(node, f"{address}:80") in {f"served on {name}" for name in NODES}


def test_logs_of_a_pod_come_through_a_verified_kubelet(lab: Lab, web: dict[str, str]) -> None:
    flags = lab.on_node("node01", "cat /etc/kubernetes/manifests/kube-apiserver.yaml")
    assert "--kubelet-certificate-authority=" in flags
    for node in NODES:
        proxies = ("-n", "kube-system", "-l", "k8s-app=kube-proxy", f"--field-selector=spec.nodeName={node}")
        pod = lab.kubectl("get", "pods", *proxies, "-o", "jsonpath={.items[0].metadata.name}")
        assert "iptables" in lab.kubectl("-n", "kube-system", "logs", pod, "--tail=-1")


def test_tls_is_verified_and_a_wrong_name_is_refused(lab: Lab) -> None:
    cluster = yaml.safe_load(lab.kubeconfig.read_text())["clusters"][0]["cluster"]
    assert cluster["certificate-authority-data"]
    assert "insecure-skip-tls-verify" not in cluster
    assert lab.kubectl("get", "--raw", "/healthz") == "ok"
    refused = lab.try_kubectl("--tls-server-name=somebody.else", "get", "--raw", "/healthz")
    assert refused.returncode != 0
    assert re.search(r"x509|certificate", refused.stderr)


def test_an_administrator_of_another_cluster_is_a_stranger(lab: Lab, tmp_path: Path) -> None:
    elsewhere = client_identity(issue_pki(make_spec(kubernetes=True), datetime.now(UTC)), "caller")
    document = yaml.safe_load(lab.kubeconfig.read_text())
    document["users"][0]["user"] = {
        "client-certificate-data": base64.b64encode(elsewhere.certificate.encode()).decode(),
        "client-key-data": base64.b64encode(elsewhere.key.encode()).decode(),
    }
    stranger = replace(lab, kubeconfig=tmp_path / "kubeconfig")
    stranger.kubeconfig.write_text(yaml.safe_dump(document))
    refused = stranger.try_kubectl("get", "--raw", "/api/v1/nodes")
    assert refused.returncode != 0
    assert "unauthorized" in refused.stderr.lower()


def test_a_worker_holds_no_key_that_is_not_its_own(lab: Lab) -> None:
    found = lab.on_node("node02", "cd /etc/kubernetes && find . -type f | sort").split()
    assert found == ["./kubelet.conf", "./pki/ca.crt", "./pki/kubelet.crt", "./pki/kubelet.key"]
    assert "/etc/kubernetes/pki/ca.key" in lab.on_node("node01", "ls /etc/kubernetes/pki/ca.key")


def test_no_container_is_privileged_and_a_nodes_can_do_nothing(lab: Lab) -> None:
    for part in ("net", "registry", *NODES):
        name = lab.container(part)
        privileged = lab.docker("inspect", "--format", "{{.HostConfig.Privileged}}", name).strip()
        assert privileged == "false", name
    for node in NODES:
        status = lab.docker("exec", lab.container(node), "cat", "/proc/1/status")
        effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
        assert effective is not None
        assert int(effective.group(1), 16) == 0
