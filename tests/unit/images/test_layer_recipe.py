"""Recipes of layers: what they inherit, what is refused, and which change makes which phase anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from dayfly import assets
from dayfly.domain.addon import LABEL_ADDON
from dayfly.errors import InvalidRequest, NotFound
from dayfly.images.layer_recipe import BaseImage
from dayfly.images.plan import Keys, make_plan
from dayfly.images.recipe import load_recipe

ALL = {"base", "artifacts", "node", "disk", "image"}
PINNED = f"lab:5000/dayfly/bare@sha256:{'0' * 64}"
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "kube-system"}}
DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "kube-system"}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """provisioning/ with the layers `one`, over `bare`, and `two`, over `one`."""
    root = Path(shutil.copytree(assets.provisioning(), tmp_path / "provisioning"))
    write(root, "one", {"from": "bare", "packages": ["jq"], "verify": ["jq --version"]})
    write(root, "two", {"from": "one", "kernel_modules": ["dm-mod"], "kernel_arguments": ["x=1"]})
    return root


def write(root: Path, name: str, fields: dict[str, object]) -> None:
    text = yaml.safe_dump({"name": name, "description": "for a test", **fields})
    (root / "recipes" / f"{name}.yaml").write_text(text)


def differing(before: Keys, after: Keys) -> set[str]:
    return {name for name in ALL if getattr(before, name) != getattr(after, name)}


def test_a_layer_has_base_and_sizes_of_the_recipe_below_and_only_its_own_packages(root: Path) -> None:
    bare, one = load_recipe("bare", root), load_recipe("one", root)
    assert (one.base, one.control_plane, one.disk_gib) == (bare.base, bare.control_plane, bare.disk_gib)
    assert one.layer is not None
    assert (one.layer.below, one.packages, one.verify) == ("bare", ("jq",), ("jq --version",))
    assert one.playbook == "ansible/layer.yaml"
    assert bare.layer is None


def test_a_layer_changes_one_part_of_a_size(root: Path) -> None:
    write(root, "one", {"from": "bare", "worker": {"memory_mib": 768}})
    bare, one = load_recipe("bare", root), load_recipe("one", root)
    assert one.worker == bare.worker.model_copy(update={"memory_mib": 768})


def test_a_layer_over_an_image_names_base_and_sizes_itself(root: Path) -> None:
    write(root, "one", {"from": {"image": PINNED}})
    with pytest.raises(InvalidRequest, match="base: Field required"):
        make_plan("one", root)
    size = {"vcpus": 1, "memory_mib": 512, "disk_gib": 8}
    fields = {"base": "debian-12", "control_plane": size, "worker": size, "minimum": size}
    write(root, "one", {"from": {"image": PINNED}, **fields})
    plan = make_plan("one", root)
    assert plan.recipe.layer is not None
    assert plan.recipe.layer.below == BaseImage(image=PINNED)
    assert plan.below is None
    other = PINNED.replace("0" * 64, "1" * 64)
    write(root, "one", {"from": {"image": other}, **fields})
    assert differing(plan.keys, make_plan("one", root).keys) == ALL - {"artifacts"}


@pytest.mark.parametrize(
    ("path", "layer_changes"),
    [
        ("base/trim", {"base", "node", "disk", "image"}),
        ("toolbox/net", {"base", "node", "disk", "image"}),
        ("ansible/bare.yaml", {"base", "node", "disk", "image"}),
        ("ansible/layer.yaml", {"node", "disk", "image"}),
        ("ansible/roles/layer/tasks/main.yml", {"node", "disk", "image"}),
        ("ansible/roles/containerd/tasks/main.yml", set()),
    ],
)
def test_a_change_below_makes_all_layers_above_anew(root: Path, path: str, layer_changes: set[str]) -> None:
    names = ("bare", "one", "two")
    before = {name: make_plan(name, root).keys for name in names}
    with (root / path).open("a") as file:
        file.write("\n# changed\n")
    found = {name: differing(before[name], make_plan(name, root).keys) for name in names}
    assert found["one"] == layer_changes
    # `two` has the image of `one` as its base.
    assert found["two"] == (layer_changes | {"base"} if layer_changes else set())
    if "base" not in layer_changes:
        assert found["bare"] == set(), "a layer changes nothing below it"


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        ({"packages": ["jq", "tree"]}, {"node", "disk", "image"}),
        ({"kernel_modules": ["dm-mod"]}, {"node", "disk", "image"}),
        ({"vars": {"a": 1}}, {"node", "disk", "image"}),
        ({"verify": ["true"]}, {"image"}),
        ({"kernel_arguments": ["x=1"]}, {"image"}),
        ({"worker": {"memory_mib": 768}}, {"image"}),
        ({"description": "another"}, set()),
    ],
)
def test_a_changed_field_of_a_layer_makes_anew_what_it_goes_into(
    root: Path, fields: dict[str, object], changes: set[str]
) -> None:
    before = make_plan("one", root).keys
    write(root, "one", {"from": "bare", "packages": ["jq"], "verify": ["jq --version"], **fields})
    assert differing(before, make_plan("one", root).keys) == changes


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"from": "bear"}, "there is no recipe 'bear'"),
        ({"from": "two"}, "in a circle: one → two → one"),
        ({"from": {"image": "lab:5000/dayfly/bare:1"}}, "by its digest"),
        ({"from": {"image": "lab:5000/dayfly/bare@sha256:12"}}, "by its digest"),
        ({"from": {"tag": "a"}}, "Field required"),
        ({"from": "bare", "disk_gib": 9}, "cannot have the field disk_gib"),
        ({"from": "bare", "kubernetes": {"version": "v1"}}, "cannot have the field kubernetes"),
        ({"from": "bare", "extends": "bare"}, "cannot have the field extends"),
        ({"from": "bare", "kernel_modules": ["../x"]}, "not the name of a kernel module"),
        ({"from": "bare", "pakages": ["jq"]}, "pakages"),
        ({"from": "bare", "manifests": ["layers/a.yaml"]}, "need Kubernetes, which bare has not got"),
        ({"from": "bare", "addons": ["nfs"]}, "need Kubernetes, which bare has not got"),
        ({"from": "bare", "playbook": "ansible/gone.yaml"}, "gone.yaml"),
        ({"from": "k8s-debian", "manifests": ["layers/gone.yaml"]}, "gone.yaml, which does not exist"),
        ({"from": "k8s-debian", "ready_paths": ["/x"]}, "ready_paths, but no manifests"),
        ({"from": "k8s-debian", "addons": ["gone"]}, "there is no add-on 'gone'"),
        ({"from": "k8s-debian", "addons": ["cert-manager"]}, "cert-manager is pulled"),
    ],
)
def test_what_no_layer_can_say_is_refused_with_the_reason(root: Path, fields: dict[str, object], reason: str) -> None:
    write(root, "one", fields)
    with pytest.raises((InvalidRequest, NotFound), match=reason):
        make_plan("one", root)


def test_manifests_become_an_add_on_that_proves_itself_by_its_workloads(root: Path) -> None:
    (root / "made").mkdir()
    (root / "made" / "a.yaml").write_text(yaml.safe_dump_all([CONFIG_MAP, None, DEPLOYMENT]))
    write(root, "one", {"from": "k8s-debian", "manifests": ["made/a.yaml"], "ready_paths": ["/x"], "addons": ["nfs"]})
    plan = make_plan("one", root)
    nfs, own = plan.addons
    assert nfs.name == "nfs"
    assert (own.name, own.needs) == ("one", ("nfs",))
    assert [item["metadata"]["labels"] for item in own.objects] == [{LABEL_ADDON: "one"}] * 2
    assert own.ready_paths == ("/apis/apps/v1/namespaces/kube-system/deployments/a", "/x")
    (root / "made" / "a.yaml").write_text(yaml.safe_dump_all([DEPLOYMENT]))
    assert differing(plan.keys, make_plan("one", root).keys) == {"image"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "cannot be read"),
        ("- 1", "not a Kubernetes object"),
        ("apiVersion: v1\nkind: A\nmetadata: {}", "not a Kubernetes object"),
        (yaml.safe_dump(CONFIG_MAP), "nothing proves that its manifests work"),
        (yaml.safe_dump_all([DEPLOYMENT, DEPLOYMENT]), "describe the same object"),
        (yaml.safe_dump({**DEPLOYMENT, "x": "y" * 70_000}), "more than the 65536 of an image"),
    ],
)
def test_manifests_that_no_cluster_could_use_are_refused(root: Path, text: str, reason: str) -> None:
    (root / "made").mkdir()
    (root / "made" / "a.yaml").write_text(text)
    write(root, "one", {"from": "k8s-debian", "manifests": ["made/a.yaml"]})
    with pytest.raises(InvalidRequest, match=reason):
        make_plan("one", root)
