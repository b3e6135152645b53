"""One recipe with the versions of a file: names, values, choices and refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dayfly import assets
from dayfly.errors import InvalidRequest, NotFound
from dayfly.images.kubernetes_versions import load_versions
from dayfly.images.plan import make_plan
from dayfly.images.recipe import load_recipe, recipe_names

LINES = load_versions(assets.provisioning() / "kubernetes" / "versions.yaml").versions
UPSTREAM = [minor for minor, line in LINES.items() if line.upstream]
PINNED = "{patch: 1, etcd: 3.6.9-0, coredns: v1.15.0, pause: '3.11'}"


@pytest.fixture
def provisioning(tmp_path: Path) -> Path:
    return Path(shutil.copytree(assets.provisioning(), tmp_path / "provisioning"))


def test_the_versions_of_today_are_recipes() -> None:
    assert {"k8s-1.34", "k8s-1.35", "k8s-1.36"} <= set(recipe_names())
    assert "k8s" not in recipe_names()
    assert "k8s-1.20" not in recipe_names(), "upstream has no packages of it"


@pytest.mark.parametrize("minor", LINES)
def test_a_minor_version_is_the_release_of_its_line(minor: str) -> None:
    recipe, line = load_recipe(f"k8s-{minor}"), LINES[minor]
    assert recipe.name == f"k8s-{minor}"
    assert recipe.vars["kubernetes_version"] == f"{minor}.{line.patch}"
    assert recipe.vars["kubernetes_etcd_tag"] == line.etcd
    assert recipe.kubernetes is not None
    assert recipe.kubernetes.version == f"v{minor}.{line.patch}"
    assert not [text for text in (*recipe.verify, recipe.description, *map(str, recipe.vars.values())) if "@" in text]


@pytest.mark.parametrize("minor", UPSTREAM)
def test_versions_that_upstream_has_need_the_second_version_of_control_groups(minor: str) -> None:
    plan = make_plan(f"k8s-{minor}", assets.provisioning())
    arguments = (*plan.base.kernel_arguments, *plan.recipe.kernel_arguments)
    assert "systemd.unified_cgroup_hierarchy=0" not in arguments
    assert plan.recipe.vars["kubernetes_kubeadm_api"] == "v1beta4"


def test_the_kubelet_of_1_20_has_the_first_version_of_control_groups() -> None:
    recipe = load_recipe("k8s-1.20")
    assert {"systemd.unified_cgroup_hierarchy=0", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"} <= {*recipe.kernel_arguments}
    assert recipe.vars["kubernetes_registry"] == "k8s.gcr.io"


def test_a_patch_release_needs_no_line_and_has_keys_of_its_own() -> None:
    pinned = make_plan("k8s-1.35", assets.provisioning())
    other = make_plan("k8s-1.35.3", assets.provisioning())
    assert other.recipe.vars["kubernetes_version"] == "1.35.3"
    assert 'test "$(kubelet --version)" = "Kubernetes v1.35.3"' in other.recipe.verify
    assert other.keys.base == pinned.keys.base
    assert other.keys.node != pinned.keys.node


def test_versions_share_the_cached_base() -> None:
    assert {load_recipe(f"k8s-{minor}").cache_name("base") for minor in LINES} == {"k8s.base"}


def test_a_new_minor_version_is_one_line(provisioning: Path) -> None:
    with (provisioning / "kubernetes" / "versions.yaml").open("a") as file:
        file.write(f'  "1.40": {PINNED}\n')
    recipe = load_recipe("k8s-1.40", provisioning)
    assert recipe.vars["kubernetes_version"] == "1.40.1"
    assert recipe_names(provisioning).index("k8s-1.40") == recipe_names(provisioning).index("k8s-1.36") + 1


@pytest.mark.parametrize("version", ["1.33", "1", "1.36.x", "1.36.4.1", "2.36", "v1.36", "1.36.99999", "1.36.05"])
def test_a_version_that_there_is_not_is_answered_with_those_there_are(version: str) -> None:
    with pytest.raises(NotFound, match=r"k8s-1\.34, k8s-1\.35, k8s-1\.36, and each release of theirs"):
        load_recipe(f"k8s-{version}")


def test_the_family_alone_is_answered_with_its_versions() -> None:
    with pytest.raises(NotFound, match=r"the recipe k8s needs a version; there are: k8s-1\.34"):
        load_recipe("k8s")


def test_what_is_no_version_is_an_unknown_recipe() -> None:
    with pytest.raises(NotFound, match=r"there is no recipe 'k8s-debiam'; there are: bare, .*, k8s-1\.34"):
        load_recipe("k8s-debiam")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{patch: 1}", r"versions\.1\.40\.etcd: Field required"),
        ("{patch: one, etcd: a, coredns: b, pause: c}", r"versions\.1\.40\.patch"),
        ("{patch: 1, etcd: 'a b', coredns: b, pause: c}", r"versions\.1\.40\.etcd"),
        ("{patch: 1, etcd: a, coredns: b, pause: c, kubeadm: v1}", r"versions\.1\.40\.kubeadm"),
        ("{patch: 1, etcd: a, coredns: b, pause: c, extra: d}", r"versions\.1\.40\.extra"),
        ("[", "is not valid"),
    ],
)
def test_a_line_that_is_not_valid_is_refused_in_one_line(provisioning: Path, line: str, reason: str) -> None:
    with (provisioning / "kubernetes" / "versions.yaml").open("a") as file:
        file.write(f'  "1.40": {line}\n')
    with pytest.raises(InvalidRequest, match=reason) as refused:
        load_recipe("k8s-1.36", provisioning)
    assert "\n" not in refused.value.message


def changed(provisioning: Path, before: str, after: str) -> None:
    path = provisioning / "recipes" / "k8s.yaml"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))


def test_an_unknown_value_of_a_version_is_refused(provisioning: Path) -> None:
    changed(provisioning, "@minor@", "@minr@")
    with pytest.raises(InvalidRequest, match="has @minr@, which is no value of a version"):
        load_recipe("k8s-1.36", provisioning)


def test_versions_that_do_not_exist_are_refused(provisioning: Path) -> None:
    changed(provisioning, "versions: kubernetes/versions.yaml", "versions: kubernetes/gone.yaml")
    with pytest.raises(InvalidRequest, match=r"kubernetes/gone\.yaml does not exist"):
        load_recipe("k8s-1.36", provisioning)


def test_a_choice_sets_the_variables_of_its_value(provisioning: Path) -> None:
    assert load_recipe("k8s-1.36").vars["kubernetes_network_images"] == []
    changed(provisioning, "kubernetes_network: bridge", "kubernetes_network: flannel")
    changed(provisioning, "container_runtime: containerd", "container_runtime: cri-o")
    recipe = load_recipe("k8s-1.36", provisioning)
    assert "ghcr.io/flannel-io/flannel:v0.28.9" in recipe.vars["kubernetes_network_images"]  # type: ignore[operator]
    assert recipe.vars["container_runtime_unit"] == "crio"


@pytest.mark.parametrize("value", ["cilium", "[bridge]", "''"])
def test_another_value_of_a_choice_is_answered_with_those_there_are(provisioning: Path, value: str) -> None:
    changed(provisioning, "kubernetes_network: bridge", f"kubernetes_network: {value}")
    with pytest.raises(InvalidRequest, match="must be one of: bridge, calico, flannel"):
        load_recipe("k8s-1.36", provisioning)


def test_a_recipe_can_extend_a_version_with_other_choices(provisioning: Path) -> None:
    text = "{extends: k8s-1.35, name: mine, vars: {kubernetes_network: calico}}"
    (provisioning / "recipes" / "mine.yaml").write_text(text)
    mine, other = load_recipe("mine", provisioning), load_recipe("k8s-1.35", provisioning)
    assert mine.vars["kubernetes_version"] == other.vars["kubernetes_version"]
    assert mine.vars["kubernetes_network_sha256"] != other.vars["kubernetes_network_sha256"]
    assert mine.cache_name("base") == other.cache_name("base")
