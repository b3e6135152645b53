"""The objects of the add-on nfs match each other, the recipe, the server's configuration, and the program."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from dayfly.images.recipe import load_recipe
from tests.support.program_objects import ADDONS, PROGRAMS, PROVISIONING, ROLE, addon, addon_objects, objects_of

ADDON = "nfs"
CONFIGURATION = PROVISIONING / "kubernetes/nfs/ganesha.conf"


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """The objects by kind."""
    found = {one["kind"]: one for one in addon_objects(ADDON)}
    assert len(found) == len(addon_objects(ADDON))
    return found


@pytest.fixture(scope="module")
def pod(objects: dict[str, Any]) -> dict[str, Any]:
    template = objects["Deployment"]["spec"]["template"]
    assert isinstance(template, dict)
    return template


@pytest.fixture(scope="module")
def containers(pod: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for one in pod["spec"]["containers"]}


@pytest.fixture(scope="module")
def program() -> str:
    paths = (PROGRAMS / "volumes").glob("*.go")
    return "".join(path.read_text() for path in paths if not path.name.endswith("_test.go"))


@pytest.fixture(scope="module")
def configuration() -> dict[str, str]:
    """The parameters of the NFS server."""
    lines = (line for line in CONFIGURATION.read_text().splitlines() if not line.lstrip().startswith("#"))
    return {name: value.strip('"') for name, value in re.findall(r"(\w+) = ([^;]+);", "\n".join(lines))}


def test_every_file_of_the_folder_is_an_object_of_the_addon() -> None:
    description = addon(ADDON)
    assert {path.name for path in (ADDONS / ADDON).iterdir()} == {"addon.yaml", *description["objects"]}
    assert (description["name"], description["needs"]) == (ADDON, [])
    for one in addon_objects(ADDON):
        labels = one["metadata"]["labels"]
        assert (labels["dayfly.addon"], labels["k8s-app"]) == (ADDON, ADDON)
        cluster_wide = one["kind"] in {"ClusterRole", "ClusterRoleBinding", "StorageClass"}
        assert one["metadata"].get("namespace") == (None if cluster_wide else "kube-system")


def test_the_volumes_go_before_their_server_and_its_data_last() -> None:
    """Removal deletes the objects in reverse order, and waits for each."""
    kinds = [one["kind"] for one in addon_objects(ADDON)][::-1]
    assert kinds[:1] == ["StorageClass"]
    assert kinds.index("Deployment") < kinds.index("PersistentVolumeClaim") < kinds.index("ClusterRoleBinding")


def test_the_class_is_not_the_default_and_owns_the_volumes(objects: dict[str, Any], program: str) -> None:
    standard, shared = objects_of("volumes")["StorageClass"], objects["StorageClass"]
    assert standard["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
    assert "annotations" not in shared["metadata"]
    assert f'nfsDriver = "{shared["provisioner"]}"' in program
    assert f'func (nfsServer) Owner() string {{ return "{shared["metadata"]["name"]}" }}' in program
    assert shared["volumeBindingMode"] == "Immediate"
    assert shared["reclaimPolicy"] == "Delete"
    assert shared["allowVolumeExpansion"] is False
    assert "parameters" not in shared


def test_nodes_mount_a_version_with_sessions_that_the_server_has(
    objects: dict[str, Any], configuration: dict[str, str]
) -> None:
    options = objects["StorageClass"]["mountOptions"]
    (version,) = (one.removeprefix("nfsvers=4.") for one in options if one.startswith("nfsvers="))
    assert version in configuration["Minor_Versions"].split(", ")
    assert int(version) >= 1
    # The probe (volumes/server.go) makes a call of version 4.0.
    assert "0" in configuration["Minor_Versions"].split(", ")
    assert configuration["Protocols"] == "4"
    assert {"hard", "noresvport"} <= set(options)


def test_the_role_is_that_of_the_same_program_on_nodes(objects: dict[str, Any], pod: dict[str, Any]) -> None:
    assert objects["ClusterRole"]["rules"] == objects_of("volumes")["ClusterRole"]["rules"]
    account = {"kind": "ServiceAccount", "name": pod["spec"]["serviceAccountName"], "namespace": "kube-system"}
    assert objects["ServiceAccount"]["metadata"]["name"] == account["name"]
    binding = objects["ClusterRoleBinding"]
    assert (binding["subjects"], binding["roleRef"]["kind"]) == ([account], "ClusterRole")
    assert binding["roleRef"]["name"] == objects["ClusterRole"]["metadata"]["name"]


def test_the_data_is_on_a_claim_of_the_default_class(
    objects: dict[str, Any], pod: dict[str, Any], containers: dict[str, Any], configuration: dict[str, str]
) -> None:
    claim = objects["PersistentVolumeClaim"]
    assert "storageClassName" not in claim["spec"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
    assert volumes.pop("data")["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert volumes.pop("temporary")["emptyDir"]["medium"] == "Memory"
    assert volumes == {}
    folder = configuration["Path"]
    for one in containers.values():
        assert one["volumeMounts"][0] == {"name": "data", "mountPath": folder}
    assert folder.count("/") == 1, "containerd mounts the folders of the root first"
    assert f"-root={folder}" in containers["provisioner"]["args"]
    assert configuration["Pseudo"] == "/", "a volume's path is its directory's name"
    assert configuration["RecoveryRoot"].startswith(f"{folder}/.")


def test_the_service_has_the_address_of_the_volumes(
    objects: dict[str, Any], pod: dict[str, Any], containers: dict[str, Any], program: str
) -> None:
    service = objects["Service"]["spec"]
    assert f"-server={service['clusterIP']}" in containers["provisioner"]["args"]
    assert service["clusterIP"] not in str(objects_of("dns"))
    assert service["selector"].items() <= pod["metadata"]["labels"].items()
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == service["selector"]
    listening = {port["name"]: port["containerPort"] for one in containers.values() for port in one["ports"]}
    assert {one["targetPort"]: one["port"] for one in service["ports"]} == listening == {"nfs": 2049, "status": 8182}
    assert f'"listening", "127.0.0.1:{listening["nfs"]}"' in program
    assert f'"status", ":{listening["status"]}"' in program


def test_the_addon_is_ready_when_the_server_exports_its_folder(
    objects: dict[str, Any], containers: dict[str, Any]
) -> None:
    probe = containers["provisioner"]["readinessProbe"]["httpGet"]
    assert probe == {"path": "/ready", "port": "status"}
    name = f"{objects['Service']['metadata']['name']}:{probe['port']}"
    path = f"/api/v1/namespaces/kube-system/services/{name}/proxy{probe['path']}"
    assert addon(ADDON)["ready_paths"] == [path]


def test_no_container_is_privileged(pod: dict[str, Any], containers: dict[str, Any]) -> None:
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod["spec"].keys()
    for one in containers.values():
        assert one["securityContext"].keys() == {"allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem"}
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert one["securityContext"]["capabilities"]["drop"] == ["ALL"]
    assert containers["provisioner"]["securityContext"]["capabilities"]["add"] == ["DAC_OVERRIDE", "FOWNER"]
    assert set(containers["server"]["securityContext"]["capabilities"]["add"]) == {
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "SETGID",
        "SETUID",
    }


def test_one_server_at_a_time_that_nobody_evicts(objects: dict[str, Any], pod: dict[str, Any]) -> None:
    deployment = objects["Deployment"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert pod["spec"]["priorityClassName"] == "system-cluster-critical"
    assert {"key": "node-role.kubernetes.io/master", "effect": "NoSchedule"} in pod["spec"]["tolerations"]


def test_only_nodes_are_served(configuration: dict[str, str]) -> None:
    """The networks of nodes and pods are those of the role that sets them up."""
    pod_network = (ROLE.parent / "cni/files/pod-network").read_text()
    assert '"subnet": "10.244.$DAYFLY_NODE_INDEX.0/24"' in pod_network
    assert '"isGateway": true' in pod_network
    assert 'via "192.168.66.$((100 + node))"' in pod_network
    assert configuration["Clients"] == "127.0.0.1, 192.168.66.0/24, 10.244.*.1"
    text = CONFIGURATION.read_text()
    assert re.findall(r"Access_Type = (\w+);", text) == ["None", "RW"]
    assert text.index("Access_Type = None") < text.index("CLIENT {") < text.index("Access_Type = RW")


def test_the_images_are_baked_by_the_recipes_that_can_run_them(containers: dict[str, Any]) -> None:
    description = addon(ADDON)
    images = [containers[name]["image"] for name in ("server", "provisioner")]
    assert description["images"] == images
    assert description["recipes"] == ["k8s-debian", "k8s-debian-conformance"]
    recipe = load_recipe("k8s-debian")
    environment = recipe.artifacts["images"].environment
    assert [environment["NFS_IMAGE"], environment["VOLUMES_IMAGE"]] == images
    for image in images:
        assert any(command.endswith(f" {image}") for command in recipe.verify)
    assert {one["imagePullPolicy"] for one in containers.values()} == {"IfNotPresent"}


def test_the_servers_image_has_what_the_container_uses(containers: dict[str, Any]) -> None:
    script = (PROVISIONING / "kubernetes/images-debian.sh").read_text()
    (root,) = re.findall(r'root=\$\(new_root\)\n((?:(?!new_root).)*archive "\$NFS_IMAGE"[^\n]*)', script, re.DOTALL)
    assert root.endswith('archive "$NFS_IMAGE" "$root" /usr/bin/ganesha.nfsd')
    server = containers["server"]
    arguments = server["args"]
    assert f'"$root{arguments[arguments.index("-f") + 1]}"' in root
    (preload,) = server["env"]
    assert preload["name"] == "LD_PRELOAD"
    assert f'"$root{preload["value"]}"' in root
    library = preload["value"].rpartition("/")[2]
    assert f'-o "$OUT/{library}"' in (PROVISIONING / "kubernetes/build-programs.sh").read_text()
    recipe = load_recipe("k8s-debian")
    assert "kubernetes/nfs/steady_time.c" in recipe.artifacts["programs"].inputs
    assert "kubernetes/nfs/ganesha.conf" in recipe.artifacts["images"].inputs
    assert {"nfs-ganesha", "nfs-ganesha-vfs", "libtirpc-common"} <= set(recipe.artifacts["images"].packages)
    mounts = {one["mountPath"] for one in server["volumeMounts"]}
    assert arguments[arguments.index("-p") + 1].rpartition("/")[0] in mounts, "the root file system is read-only"


def test_nodes_have_the_client_and_none_of_its_daemons() -> None:
    recipe = load_recipe("k8s-debian")
    assert "nfs-common" in recipe.packages
    assert "test -x /usr/sbin/mount.nfs4" in recipe.verify
    tasks = yaml.safe_load((ROLE / "tasks/main.yml").read_text())
    (masked,) = (
        set(str(task["ansible.builtin.command"]["cmd"]).split()[2:])
        for task in tasks
        if "systemctl mask" in str(task.get("ansible.builtin.command", ""))
    )
    assert {"rpcbind.service", "rpcbind.socket", "rpc-statd.service", "nfs-client.target"} <= masked
