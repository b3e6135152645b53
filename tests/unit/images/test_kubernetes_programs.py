"""The programs that the roles put on a node and into a bake, run in a folder with stand-ins for what they call."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from dayfly.images.recipe import Recipe, load_recipe
from tests.support.rendered_roles import ROLES, render

ENVIRONMENT = """\
DAYFLY_NODE_INDEX=1
DAYFLY_NODE_COUNT=1
DAYFLY_NODE_NAME=node01
DAYFLY_CONTROL_PLANE=192.168.66.101:6443
DAYFLY_TOKEN=abcdef.0123456789abcdef
"""


class Node:
    """A folder as the root of a node. Each stand-in writes its arguments into `calls`."""

    def __init__(self, folder: Path) -> None:
        self.root, self.programs = folder / "root", folder / "programs"
        for path in ("etc/dayfly", "etc/kubernetes/manifests", "run/dayfly-bake", "var/lib", "usr/lib/dayfly"):
            (self.root / path).mkdir(parents=True)
        self.programs.mkdir()
        for name in ("systemctl", "kubeadm", "kubectl", "flock", "sync", "sleep", "containerd", "crictl"):
            self.program(name)
        self.program("curl", "printf ok")
        self.program("ctr")

    def program(self, name: str, script: str = "") -> None:
        path = self.programs / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.root}/calls\n{script}\n')
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, text: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the program `text` with its absolute paths below the folder."""
        for top in ("/etc/", "/var/", "/usr/lib/dayfly", "/run/"):
            text = text.replace(top, f"{self.root}{top}")
        path = self.root / "program"
        path.write_text(text)
        environment = {"PATH": f"{self.programs}:{os.environ['PATH']}"}
        return subprocess.run(
            ["sh", str(path), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=120,
        )


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    recipe = load_recipe("k8s-1.36")
    return recipe.model_copy(update={"vars": {**recipe.vars, "kubernetes_network": "flannel"}})


@pytest.fixture(scope="module")
def programs(recipe: Recipe) -> dict[str, str]:
    names = ("control-plane", "join", "make-profile")
    return render(recipe, {name: f"kubernetes_node/templates/{name}.j2" for name in names})


def given(node: Node, *, emulated: bool = False) -> None:
    """The files of a bake and of the service."""
    (node.root / "etc/dayfly/cluster.env").write_text(f"{ENVIRONMENT}DAYFLY_EMULATED={int(emulated)}\n")
    for profile in ("normal", "emulated"):
        source = node.root / "usr/lib/dayfly/kubernetes" / profile
        (source / "manifests").mkdir(parents=True)
        (source / "kubelet").mkdir()
        (source / "kubelet/config.yaml").write_text(profile)
        (source / "kubeadm.yaml").write_text('token: "@TOKEN@"\n')
        for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"):
            (source / "manifests" / f"{name}.yaml").write_text(f"{profile} {name}")


def test_a_control_plane_is_made_of_what_the_bake_prepared(node: Node, programs: dict[str, str]) -> None:
    given(node)
    node.program("kubeadm", 'cat "$3" >> ' + str(node.root / "config"))
    done = node.run(programs["control-plane"])
    assert done.returncode == 0, done.stderr
    manifests = node.root / "etc/kubernetes/manifests"
    assert {path.name for path in manifests.iterdir()} == {
        *("etcd.yaml", "kube-apiserver.yaml", "kube-controller-manager.yaml", "kube-scheduler.yaml")
    }
    assert (node.root / "var/lib/kubelet/config.yaml").read_text() == "normal"
    order = [call.split()[0] for call in node.calls if call.split()[0] in {"systemctl", "kubectl", "kubeadm"}]
    assert order == ["systemctl", "kubectl", "kubeadm"], "kubelet, then the network, then the add-ons"
    (network,) = [call for call in node.calls if call.startswith("kubectl")]
    assert "apply --server-side" in network
    (init,) = [call for call in node.calls if call.startswith("kubeadm")]
    assert "--skip-phases=preflight,certs,kubeconfig,kubelet-start,control-plane,etcd,kubelet-finalize," in init
    assert "addon" not in init, "CoreDNS and kube-proxy are kubeadm's"
    assert (node.root / "config").read_text() == 'token: "abcdef.0123456789abcdef"\n'
    assert "dayfly: the control plane is initialised" in done.stdout
    assert node.run(programs["control-plane"], "--done").returncode == 0


def test_an_emulated_control_plane_has_one_dns_server(node: Node, programs: dict[str, str]) -> None:
    given(node, emulated=True)
    assert node.run(programs["control-plane"], "--done").returncode != 0
    assert node.run(programs["control-plane"]).returncode == 0
    assert (node.root / "var/lib/kubelet/config.yaml").read_text() == "emulated"
    assert node.calls.count("kubectl --namespace kube-system scale deployment coredns --replicas=1") == 1


def test_kubeadm_is_tried_five_times(node: Node, programs: dict[str, str]) -> None:
    given(node)
    node.program("kubeadm", "exit 1")
    done = node.run(programs["control-plane"])
    assert done.returncode == 1
    assert "kubeadm failed five times" in done.stderr
    assert len([call for call in node.calls if call.startswith("kubeadm")]) == 5
    assert node.run(programs["control-plane"], "--done").returncode != 0


def test_a_worker_joins_without_a_token(node: Node, programs: dict[str, str]) -> None:
    given(node)
    done = node.run(programs["join"])
    assert done.returncode == 0, done.stderr
    assert [call for call in node.calls if call.startswith(("kubeadm", "kubectl"))] == []
    assert "systemctl start kubelet" in node.calls
    assert node.run(programs["join"], "--done").returncode == 0


def test_a_profile_has_what_kubeadm_writes_without_the_build_machine(node: Node, programs: dict[str, str]) -> None:
    given(node)
    root = node.root
    node.program(
        "kubeadm",
        f"""case "$3" in
        list) echo registry.k8s.io/a:1 ;;
        kubelet-start)
            mkdir -p {root}/var/lib/kubelet
            echo 'rotateCertificates: true' > {root}/var/lib/kubelet/config.yaml
            echo 'KUBELET_KUBEADM_ARGS="--a=b --hostname-override=node01"' > {root}/var/lib/kubelet/kubeadm-flags.env
            echo socket > {root}/var/lib/kubelet/instance-config.yaml ;;
        control-plane) grep -q aaaaaa.aaaaaaaaaaaaaaaa "$6" || exit 9
            echo new > {root}/etc/kubernetes/manifests/kube-apiserver.yaml ;;
        etcd) echo new > {root}/etc/kubernetes/manifests/etcd.yaml; mkdir -p {root}/var/lib/etcd ;;
        esac""",
    )
    (root / "usr/lib/dayfly/kubernetes/normal/manifests").rename(root / "old")
    done = node.run(programs["make-profile"], "normal")
    assert done.returncode == 0, done.stderr
    profile = root / "usr/lib/dayfly/kubernetes/normal"
    assert (profile / "kubelet/config.yaml").read_text() == "rotateCertificates: false\n"
    assert (profile / "kubelet/kubeadm-flags.env").read_text() == 'KUBELET_KUBEADM_ARGS="--a=b"\n'
    assert (profile / "kubelet/instance-config.yaml").read_text() == "socket\n"
    assert {path.name for path in (profile / "manifests").iterdir()} == {"kube-apiserver.yaml", "etcd.yaml"}
    assert (profile / "images").read_text() == "registry.k8s.io/a:1\n"
    assert not (root / "var/lib/etcd").exists()
    assert list((root / "etc/kubernetes/manifests").iterdir()) == []


PULL = (ROLES / "kubernetes_images/files/pull-images").read_text()


def test_images_are_pulled_by_a_runtime_that_ends_afterwards(node: Node) -> None:
    # In a root file system: no systemd.
    node.program("containerd", "exec tail -f /dev/null")
    (node.root / "run/containerd").mkdir()
    done = node.run(PULL, "containerd", stdin="registry.k8s.io/a:1\nquay.io/b:2")
    assert done.returncode == 0, done.stderr
    pulls = [call for call in node.calls if " pull " in call]
    folder = f"{node.root}/run/dayfly-bake/certs.d"
    assert pulls == [
        f"ctr --namespace k8s.io images pull --hosts-dir {folder} {name}"
        for name in ("registry.k8s.io/a:1", "quay.io/b:2")
    ]
    assert done.stdout.splitlines() == ["pulled registry.k8s.io/a:1", "pulled quay.io/b:2"]
    assert not (node.root / "run/containerd").exists()


def test_on_a_booted_machine_the_service_of_the_runtime_pulls(node: Node) -> None:
    (node.root / "run/systemd/system").mkdir(parents=True)
    assert node.run(PULL, "cri-o", stdin="a:1\n").returncode == 0
    wanted = ["systemctl restart crio", "crictl pull a:1", "systemctl stop crio"]
    assert [call for call in node.calls if call in wanted] == wanted


def test_an_image_that_cannot_be_pulled_is_named_with_the_reason(node: Node) -> None:
    (node.root / "run/systemd/system").mkdir(parents=True)
    node.program("crictl", '[ "$1" = version ] || { echo "unauthorized" >&2; exit 1; }')
    done = node.run(PULL, "cri-o", stdin="a:1\nb:2\n")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["a:1 cannot be pulled:", "unauthorized"]
    assert len([call for call in node.calls if call == "crictl pull a:1"]) == 3


def test_a_runtime_that_ends_is_an_error_and_no_wait(node: Node) -> None:
    node.program("ctr", "exit 1")
    node.program("containerd", "echo broken >&2; exit 3")
    done = node.run(PULL, "containerd", stdin="a:1\n")
    assert done.returncode == 1
    assert "containerd has ended" in done.stderr
    assert "broken" in done.stderr


def test_the_images_of_a_node_are_listed_by_name(node: Node) -> None:
    names = ["registry.k8s.io/pause:3.10.2", "mirror.example:5000/a/b:1"]
    image = {"id": "sha256:aa", "repoTags": names, "repoDigests": ["registry.k8s.io/pause@sha256:bb"], "size": "1"}
    (node.root / "images").write_text(json.dumps({"images": [image]}, indent=2))
    node.program("crictl", f"cat {node.root}/images")
    listed = node.run((ROLES / "kubernetes_images/files/list-images-cri-o").read_text())
    assert listed.stdout.splitlines() == names
    node.run((ROLES / "kubernetes_images/files/list-images-containerd").read_text())
    assert "ctr --namespace k8s.io images list --quiet" in node.calls
