"""The files that the roles of Kubernetes' own packages write, for each version, profile and family."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from dayfly import assets
from dayfly.domain.cluster.network import API_PORT, node_address
from dayfly.images.kubernetes_versions import load_versions
from dayfly.images.recipe import Recipe, load_recipe
from tests.support.rendered_roles import FAMILIES, ROLES, render

LINES = load_versions(assets.provisioning() / "kubernetes" / "versions.yaml").versions
PROFILES = ("normal", "emulated")
PLAYS = [
    *sorted((assets.provisioning() / "ansible").glob("*.yaml")),
    *(assets.provisioning() / "cloud" / f"{name}.yaml" for name in ("before", "after")),
]

GONE = (
    "--pod-infra-container-image",
    "--container-runtime",
    "--network-plugin",
    "--cni-",
    "--housekeeping",
    "--cgroup",
)
"""Flags of the kubelet that newer versions lack, or that only cAdvisor had."""


def programs(recipe: Recipe) -> dict[str, str]:
    api = recipe.vars["kubernetes_kubeadm_api"]
    names = ("control-plane", "join", "make-profile", "kubelet.service", "kubelet.env", "relaxed.yaml")
    return {
        "kubeadm": f"kubernetes_node/templates/kubeadm-{api}.yaml.j2",
        "images": "{{ kubernetes_images_needed | to_json }}",
        **{name: f"kubernetes_node/templates/{name}.j2" for name in names},
    }


@pytest.fixture(scope="module", params=LINES)
def rendered(request: pytest.FixtureRequest) -> tuple[Recipe, dict[str, str]]:
    """A version's recipe, and its files for both profiles."""
    recipe = load_recipe(f"k8s-{request.param}")
    return recipe, render(recipe, programs(recipe), items=PROFILES)


Rendered = tuple[Recipe, dict[str, str]]


def documents(text: str) -> dict[str, dict[str, Any]]:
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


@pytest.mark.parametrize("profile", PROFILES)
def test_kubeadm_gets_the_form_of_its_own_version(rendered: Rendered, profile: str) -> None:
    recipe, files = rendered
    line = LINES[str(recipe.vars["kubernetes_minor"])]
    found = documents(files[f"kubeadm:{profile}"])
    assert set(found) == {"InitConfiguration", "ClusterConfiguration", "KubeletConfiguration", "KubeProxyConfiguration"}
    first, cluster = found["InitConfiguration"], found["ClusterConfiguration"]
    assert {first["apiVersion"], cluster["apiVersion"]} == {f"kubeadm.k8s.io/{line.kubeadm}"}
    assert cluster["kubernetesVersion"] == f"v{recipe.vars['kubernetes_version']}"
    assert cluster["imageRepository"] == line.registry
    assert cluster["etcd"]["local"]["imageTag"] == line.etcd
    assert cluster["dns"]["imageTag"] == line.coredns
    assert cluster["controlPlaneEndpoint"] == f"{node_address(1)}:{API_PORT}"
    assert first["localAPIEndpoint"] == {"advertiseAddress": node_address(1), "bindPort": API_PORT}
    assert first["bootstrapTokens"][0]["token"] == "@TOKEN@"
    arguments = [cluster[part]["extraArgs"] for part in ("apiServer", "controllerManager", "scheduler")]
    if line.kubeadm == "v1beta4":
        # v1beta4: a list of names and values, durations in `timeouts`, the algorithm of keys as a field.
        assert all(set(one) == {"name", "value"} for part in arguments for one in part)
        assert all(isinstance(one["value"], str) for part in arguments for one in part)
        assert set(first["timeouts"]) <= {
            *("controlPlaneComponentHealthCheck", "kubeletHealthCheck", "kubernetesAPICall", "etcdAPICall"),
            *("tlsBootstrap", "discovery", "upgradeManifests"),
        }
        assert first["nodeRegistration"]["criSocket"] == "unix:///run/containerd/containerd.sock"
        assert cluster["encryptionAlgorithm"] == "ECDSA-P256"
        assert "featureGates" not in cluster
        assert "timeoutForControlPlane" not in cluster["apiServer"]
    else:
        assert all(isinstance(value, str) for part in arguments for value in part.values())
        assert first["nodeRegistration"]["criSocket"] == "/run/containerd/containerd.sock"
        assert cluster["featureGates"] == {"PublicKeysECDSA": True}
        assert "timeouts" not in first


@pytest.mark.parametrize("profile", PROFILES)
def test_the_kubelet_has_the_runtimes_control_groups_and_its_own_certificate(rendered: Rendered, profile: str) -> None:
    recipe, files = rendered
    kubelet = documents(files[f"kubeadm:{profile}"])["KubeletConfiguration"]
    assert kubelet["cgroupDriver"] == "cgroupfs"
    assert kubelet["resolvConf"] == "/etc/resolv.conf"
    assert kubelet["tlsCertFile"] == "/etc/kubernetes/pki/kubelet.crt"
    newer = recipe.vars["kubernetes_kubeadm_api"] == "v1beta4"
    assert ("containerRuntimeEndpoint" in kubelet) is newer
    assert ("nodeLeaseDurationSeconds" in kubelet) is (profile == "emulated")
    text = files[f"kubelet.service:{profile}"] + files[f"kubelet.env:{profile}"]
    if newer:
        assert not [flag for flag in GONE if flag in text]
    assert ("GOMAXPROCS=1" in text) is (profile == "emulated")
    assert "--bootstrap-kubeconfig" not in text, "the node has an identity"


def test_only_emulated_machines_get_the_settings_for_slow_ones(rendered: Rendered) -> None:
    _, files = rendered
    normal, emulated = (files[f"kubeadm:{profile}"] for profile in PROFILES)
    assert "node-monitor-grace-period" not in normal
    assert "node-monitor-grace-period" in emulated


def test_the_images_are_all_that_a_start_pulls(rendered: Rendered) -> None:
    recipe, files = rendered
    line, version = LINES[str(recipe.vars["kubernetes_minor"])], recipe.vars["kubernetes_version"]
    dns = "coredns/coredns" if line.kubeadm == "v1beta4" else "coredns"
    parts = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
    assert recipe.kubernetes is not None
    assert set(yaml.safe_load(files["images:normal"])) == {
        *(f"{line.registry}/{part}:v{version}" for part in parts),
        f"{line.registry}/etcd:{line.etcd}",
        f"{line.registry}/pause:{line.pause}",
        f"{line.registry}/{dns}:{line.coredns}",
        recipe.kubernetes.smoke_image,
    }


def test_the_programs_are_valid_shell(rendered: Rendered, tmp_path: Path) -> None:
    recipe, files = rendered
    for name in ("control-plane", "join", "make-profile"):
        path = tmp_path / name
        path.write_text(files[f"{name}:normal"])
        shellcheck = shutil.which("shellcheck") or str(Path(sys.executable).with_name("shellcheck"))
        checked = subprocess.run(
            [shellcheck, "--exclude=SC1091,SC2034", path], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout
    flag = "--experimental-patches" if recipe.vars["kubernetes_kubeadm_api"] == "v1beta2" else "--patches"
    assert files["make-profile:normal"].count(f'{flag} "$profile/patches"') == 2


def registry_files(recipe: Recipe, addresses: dict[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    templates = {
        "hosts": "kubernetes_images/templates/hosts.toml.j2",
        "registries": "kubernetes_images/templates/registries.conf.j2",
    }
    return render(recipe, templates, addresses=addresses, items=names)


def test_a_registry_is_asked_itself_or_only_its_mirror() -> None:
    addresses = {
        "registries": {"registry.k8s.io": "https://mirror.example:5443/v2-k8s", "quay.io": "http://10.0.0.1:5000"},
        "logins": {"mirror.example:5443": {"auth": "c2VjcmV0"}},
        "certificate_authorities": "PEM",
    }
    names = ("registry.k8s.io", "quay.io", "docker.io", "ghcr.io")
    files = registry_files(load_recipe("k8s-1.36"), addresses, names)
    hosts = {name: tomllib.loads(files[f"hosts:{name}"]) for name in names}
    servers = {name: one["server"] for name, one in hosts.items()}
    assert servers == {
        "registry.k8s.io": "https://mirror.example:5443/v2/v2-k8s",
        "quay.io": "http://10.0.0.1:5000/v2",
        "docker.io": "https://registry-1.docker.io/v2",
        "ghcr.io": "https://ghcr.io/v2",
    }
    assert all(list(one["host"]) == [one["server"]] for one in hosts.values()), "a mirror has no other one behind it"
    mirror = hosts["registry.k8s.io"]["host"][servers["registry.k8s.io"]]
    assert mirror["header"] == {"Authorization": "Basic c2VjcmV0"}
    assert mirror["ca"] == "/run/dayfly-bake/ca.crt"
    assert "header" not in hosts["quay.io"]["host"][servers["quay.io"]]
    assert "ca" not in hosts["quay.io"]["host"][servers["quay.io"]]
    found = tomllib.loads(files["registries:ghcr.io"])["registry"]
    assert found == [
        {"prefix": "registry.k8s.io", "location": "mirror.example:5443/v2-k8s", "insecure": False},
        {"prefix": "quay.io", "location": "10.0.0.1:5000", "insecure": True},
    ]


@pytest.mark.parametrize("runtime", ["containerd", "cri-o"])
@pytest.mark.parametrize("family", FAMILIES)
def test_packages_come_from_the_settings_addresses(family: str, runtime: str) -> None:
    base = load_recipe("k8s-1.36")
    recipe = base.model_copy(update={"vars": {**base.vars, "container_runtime": runtime}})
    addresses = {
        "kubernetes_packages": "https://mirror.example/k8s",
        "kubernetes_key": "key",
        "crio_packages": "https://mirror.example/crio",
        "crio_key": "key" if runtime == "cri-o" else "",
        "apt_sources": "deb https://mirror.example/debian trixie main",
        "apt_options": ['Acquire::Retries "3"'],
        "dnf_repositories": ["https://mirror.example/fedora/$releasever"],
        "certificate_authorities": "PEM",
        "proxies": {"https_proxy": "http://proxy.example"},
    }
    names = {
        "apt.conf": "bake_addresses/templates/apt.conf.j2",
        "apt.list": "bake_addresses/templates/apt.list.j2",
        "dnf.repo": "bake_addresses/templates/dnf.repo.j2",
        "apt": "{{ kubernetes_packages_apt | to_json }}",
        "dnf": "{{ kubernetes_packages_dnf | to_json }}",
    }
    files = render(recipe, names, addresses=addresses, family=family)
    version = recipe.vars["kubernetes_version"]
    if family == "apt":
        lines = [line for line in files["apt.list"].splitlines() if line]
        keys = "/etc/apt/keyrings/dayfly-bake-"
        assert lines[0] == "deb https://mirror.example/debian trixie main"
        assert lines[1] == f"deb [signed-by={keys}kubernetes.asc] https://mirror.example/k8s/v1.36/deb/ /"
        crio = [f"deb [signed-by={keys}cri-o.asc] https://mirror.example/crio/v1.36/deb/ /"]
        assert lines[2:] == (crio if runtime == "cri-o" else [])
        assert 'Acquire::https::Proxy "http://proxy.example";' in files["apt.conf"]
        assert 'Acquire::https::CAInfo "/run/dayfly-bake/ca.crt";' in files["apt.conf"]
        assert {f"kubelet={version}-*", "cri-tools=1.36.*", "kubernetes-cni"} <= set(yaml.safe_load(files["apt"]))
        return
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(files["dnf.repo"])
    wanted = {"dayfly-kubernetes", "dayfly-distribution-1"} | ({"dayfly-cri-o"} if runtime == "cri-o" else set())
    assert set(parser.sections()) == wanted
    assert parser["dayfly-kubernetes"]["baseurl"] == "https://mirror.example/k8s/v1.36/rpm/"
    assert {parser[name]["gpgcheck"] for name in wanted} == {"1"}
    assert parser["dayfly-kubernetes"]["gpgkey"] == "file:///run/dayfly-bake/kubernetes.key"
    assert parser["dayfly-distribution-1"]["gpgkey"] == "file:///etc/pki/rpm-gpg/RPM-GPG-KEY-fedora"
    assert {f"kubelet-{version}", "cri-tools-1.36.*"} <= set(yaml.safe_load(files["dnf"]))


def test_the_runtimes_use_the_same_store_pause_image_and_plugins() -> None:
    templates = {
        "containerd": "container_runtime/templates/containerd.toml.j2",
        "cri-o": "container_runtime/templates/crio.conf.j2",
    }
    files = render(load_recipe("k8s-1.36"), templates)
    containerd = tomllib.loads(files["containerd"])["plugins"]["io.containerd.grpc.v1.cri"]
    crio = tomllib.loads(files["cri-o"])["crio"]
    assert containerd["sandbox_image"] == crio["image"]["pause_image"] == "registry.k8s.io/pause:3.10.2"
    assert [containerd["cni"]["bin_dir"]] == crio["network"]["plugin_dirs"] == ["/opt/cni/bin"]
    options = containerd["containerd"]["runtimes"]["crun"]["options"]
    assert options["SystemdCgroup"] is False
    assert crio["runtime"]["cgroup_manager"] == "cgroupfs"


@pytest.mark.parametrize("play", PLAYS, ids=lambda path: path.stem)
def test_each_play_and_its_roles_have_valid_syntax(play: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "--syntax-check", "--inventory", "node,", str(play)],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(assets.provisioning() / "ansible" / "ansible.cfg"),
            "ANSIBLE_HOME": str(tmp_path),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_of_a_bakes_addresses_stays(tmp_path: Path) -> None:
    """Each file that the roles write for a bake is gone after the last task, and other files stay."""
    written = [
        *("apt/apt.conf.d/90dayfly-bake", "apt/keyrings/dayfly-bake-kubernetes.asc", "yum.repos.d/dayfly-bake.repo"),
        *("containers/registries.conf.d/99-dayfly-bake.conf", "crio/crio.conf.d/99-dayfly-bake.conf"),
        *("containers/certs.d/mirror.example:5443/dayfly-bake.crt", "containers/certs.d/own.example/dayfly-bake.crt"),
    ]
    others = ["containers/certs.d/own.example/own.crt", "containers/registries.conf.d/50-dayfly.conf"]
    for name in (*written, *others):
        path = tmp_path / "etc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    play = tmp_path / "play.yaml"
    tasks = (ROLES / "bake_addresses/tasks/remove.yml").read_text()
    for folder in ("/etc/", "/run/", "/var/"):
        tasks = tasks.replace(folder, f"{tmp_path}{folder}")
    facts = {"ansible.builtin.setup": {"gather_subset": ["!all", "!min", "pkg_mgr"]}}
    steps = [facts, *yaml.safe_load(tasks)]
    play.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": steps}]))
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "--connection", "local", "--inventory", "node,", str(play)],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_HOME": str(tmp_path),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    left = {str(path.relative_to(tmp_path / "etc")) for path in (tmp_path / "etc").rglob("*") if path.is_file()}
    assert left == set(others)
    assert [path.name for path in (tmp_path / "etc/containers/certs.d").iterdir()] == ["own.example"]


@pytest.mark.parametrize("name", ["bake_addresses", "container_runtime", "kubernetes_packages"])
def test_a_role_that_installs_does_so_for_both_families(name: str) -> None:
    """Each task of a package manager has the condition of its family, and the other family has such a task, too."""
    tasks = [task for path in (ROLES / name / "tasks").glob("*.yml") for task in yaml.safe_load(path.read_text())]
    conditions = {str(task.get("when", "")) for task in tasks}
    assert {'ansible_facts.pkg_mgr == "apt"', 'ansible_facts.pkg_mgr in ["dnf", "dnf5"]'} <= conditions
    for task in tasks:
        for module, family in (("ansible.builtin.apt", "apt"), ("ansible.builtin.dnf", "dnf")):
            if module in task and "update_cache" not in task[module]:
                assert family in str(task["when"]), task["name"]
