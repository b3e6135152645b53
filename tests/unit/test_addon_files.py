"""Files of add-ons: those that ship are valid, and invalid ones are refused with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dayfly.addon_files import load_addons
from dayfly.domain.addon import LABEL_ADDON, AddonDefinition
from dayfly.errors import InvalidRequest
from dayfly.images.recipe import load_recipe, recipe_names

ADDON = """\
name: tea
description: Tea for all pods.
recipes: [k8s-debian]
images: [dayfly.local/tea:1]
objects: [account.yaml, pot.yaml]
ready_paths: [/apis/tea/ready]
"""


def an_object(name: str, addon: str = "tea") -> str:
    metadata = f"{{name: {name}, namespace: kube-system, labels: {{{LABEL_ADDON}: {addon}}}}}"
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {metadata}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "addons" / "tea"
    folder.mkdir(parents=True)
    (folder / "addon.yaml").write_text(ADDON)
    for name in ("account", "pot"):
        (folder / f"{name}.yaml").write_text(an_object(name))
    return tmp_path


def add(root: Path, name: str, *needs: str) -> None:
    folder = root / "addons" / name
    folder.mkdir()
    text = ADDON.replace("name: tea", f"name: {name}").replace("account.yaml, ", "")
    (folder / "addon.yaml").write_text(f"{text}needs: [{', '.join(needs)}]\n")
    (folder / "pot.yaml").write_text(an_object("pot", name))


def containers(value: Any) -> Iterator[str]:
    """The container images in an object, wherever they are."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "image" and isinstance(inner, str):
                yield inner
            yield from containers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from containers(inner)


def test_every_addon_that_ships_is_valid_and_runs_on_known_images() -> None:
    """load_addons() checks files, fields, labels, and that needs are known and not circular."""
    for addon in load_addons().values():
        assert set(addon.recipes) <= set(recipe_names())
        assert all(load_recipe(recipe).kubernetes is not None for recipe in addon.recipes)
        assert {image for item in addon.objects for image in containers(item)} <= set(addon.images)
        assert all(path.startswith("/") for path in addon.ready_paths)


PULLED = [addon for addon in load_addons().values() if addon.pulled is not None]


@pytest.mark.parametrize("addon", PULLED, ids=lambda addon: addon.name)
def test_every_pulled_addon_is_pinned_and_suits_the_kubernetes_of_its_images(addon: AddonDefinition) -> None:
    source = addon.pulled
    assert source is not None
    for recipe in addon.recipes:
        kubernetes = load_recipe(recipe).kubernetes
        assert kubernetes is not None
        assert source.kubernetes.has(kubernetes.version)
    assert len({image.name for image in source.images}) == len(source.images)
    assert len({image.digest for image in source.images}) == len(source.images)
    assert all("." in image.source.partition("/")[0] for image in source.images)
    for manifest in source.manifests:
        # A branch shows another content tomorrow: the address has the version, the tag of a part, or a commit.
        assert re.search(r"/v?\d+\.\d+(\.\d+)?/|/[0-9a-f]{40}/", manifest.url)
        # Digests that are written into texts are those of the list.
        written = {digest for one in manifest.replace for digest in re.findall("sha256:[0-9a-f]{64}", one.new)}
        assert written <= {image.digest for image in source.images}
    assert "Written only, never run" in addon.description


def test_the_pulled_addons_are_those_that_this_installation_cannot_bake() -> None:
    names = {addon.name for addon in PULLED}
    assert names == {"calico", "cdi", "cert-manager", "istio", "kubevirt", "kwok", "multus", "rook"}


def test_an_addon_is_read_with_its_objects_in_order(root: Path) -> None:
    add(root, "milk", "tea")
    found = load_addons(root)
    assert list(found) == ["milk", "tea"]
    tea = found["tea"]
    assert isinstance(tea, AddonDefinition)
    assert [item["metadata"]["name"] for item in tea.objects] == ["account", "pot"]
    assert (tea.recipes, tea.images, tea.needs) == (("k8s-debian",), ("dayfly.local/tea:1",), ())
    kept = found["milk"].of_cluster()
    assert (kept.name, kept.needs, kept.ready_paths) == ("milk", ("tea",), ("/apis/tea/ready",))
    assert set(kept.model_dump()) == {"name", "needs", "objects", "ready_paths"}


PULLED_ADDON = f"""\
name: tea
description: Tea of others.
source: pulled
version: v1.5.5
kubernetes: {{oldest: "1.19", newest: "1.21"}}
recipes: [k8s-debian]
images: [{{name: "tea/pot:v1", digest: "sha256:{"0a" * 32}"}}]
manifests: [{{url: "https://tea.example/v1.5.5/tea.yaml", sha256: {"0b" * 32}}}]
objects: [pot.yaml]
"""


def test_a_pulled_addon_is_read_with_its_own_objects(root: Path) -> None:
    (root / "addons" / "tea" / "addon.yaml").write_text(PULLED_ADDON)
    tea = load_addons(root)["tea"]
    assert tea.pulled is not None
    assert (tea.source, tea.version, tea.ready_paths) == ("pulled", "v1.5.5", ())
    assert tea.images == (f"docker.io/tea/pot@sha256:{'0a' * 32}",)
    assert [item["metadata"]["name"] for item in tea.objects] == ["pot"]
    assert str(tea.pulled.kubernetes) == "1.19 to 1.21"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("source: bought", "source: "),
        ("version: latest", "version: "),
        ("kubernetes: {oldest: 1.19, newest: v1.21}", "kubernetes.oldest: "),
        ("kubernetes: {oldest: '1.21', newest: '1.20'}", "is newer than newest"),
        ("images: [tea/pot:v1]", "images.0: "),
        ("images: []", "images: "),
        ("images: [{name: tea, digest: sha256:0a}]", "images.0.digest: "),
        ("manifests: []", "manifests: "),
        ("manifests: [{url: 'https://a/b'}]", "manifests.0.sha256: "),
        (f"manifests: [{{url: 'http://a/b', sha256: {'0b' * 32}}}]", "manifests.0.url: "),
        ("replaces: [dns]", "replaces: "),
    ],
)
def test_what_no_pulled_addon_can_say_is_refused(root: Path, change: str, reason: str) -> None:
    path = root / "addons" / "tea" / "addon.yaml"
    field = change.partition(":")[0]
    kept = [line for line in PULLED_ADDON.splitlines() if not line.startswith(f"{field}:")]
    path.write_text("\n".join([*kept, change]))
    with pytest.raises(InvalidRequest, match=reason) as refused:
        load_addons(root)
    assert "addons/tea/addon.yaml is not a valid add-on: " in refused.value.message
    assert "\n" not in refused.value.message


def test_a_tree_without_addons_has_none(tmp_path: Path) -> None:
    assert load_addons(tmp_path) == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("imagse: [x]", r"addons/tea/addon\.yaml is not a valid add-on: imagse: "),
        ("name: coffee", "has the name 'coffee', which must be 'tea'"),
        ("name: Tea!", "name: "),
        ("recipes: []", "recipes: "),
        ("ready_paths: []", "ready_paths: "),
        ("objects: []", "objects: "),
        ("objects: [gone.yaml]", r"addons/tea/gone\.yaml, which addon\.yaml names, is not a file"),
        ("objects: [../../secret.yaml]", "is not a file of the add-on"),
        ("objects: [pot.yaml, pot.yaml]", "two files describe the same object"),
        ("needs: [milk]", "addons/tea needs milk, which is not an add-on"),
        ("needs: [tea]", "add-ons need each other: tea → tea"),
        ("name: [", "cannot be read"),
    ],
)
def test_what_no_addon_can_say_is_refused(root: Path, change: str, reason: str) -> None:
    (root / "secret.yaml").write_text(an_object("secret"))
    path = root / "addons" / "tea" / "addon.yaml"
    field = change.partition(":")[0]
    kept = [line for line in path.read_text().splitlines() if not line.startswith(f"{field}:")]
    path.write_text("\n".join([*kept, change]))
    with pytest.raises(InvalidRequest, match=reason) as refused:
        load_addons(root)
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "is not one Kubernetes object"),
        (f"{an_object('a')}---\n{an_object('b')}", "cannot be read"),
        ("kind: ConfigMap", "has no apiVersion"),
        ("apiVersion: v1", "has no kind"),
        ("apiVersion: v1\nkind: ConfigMap", "has no metadata.name"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}", "has not the label dayfly.addon: tea"),
        (an_object("a", "milk"), "has not the label dayfly.addon: tea"),
        (f"{an_object('a')}data: {{at: 2026-01-01}}", "has a value that is not JSON"),
    ],
)
def test_what_is_no_object_of_the_addon_is_refused(root: Path, text: str, reason: str) -> None:
    (root / "addons" / "tea" / "pot.yaml").write_text(text)
    with pytest.raises(InvalidRequest, match=rf"addons/tea/pot\.yaml {reason}"):
        load_addons(root)


def test_needs_may_not_be_circular(root: Path) -> None:
    add(root, "milk", "sugar")
    add(root, "sugar", "milk")
    with pytest.raises(InvalidRequest, match="milk → sugar → milk"):
        load_addons(root)
