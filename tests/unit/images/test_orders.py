"""Orders of bakes over HTTP: variables, definitions, and all that a caller must not bring."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dayfly import assets
from dayfly.domain.bake import BakeOrder
from dayfly.errors import BadName, InvalidRequest, NotFound
from dayfly.images.orders import check_order, check_variables, ordered_recipe, takes_name
from dayfly.images.plan import make_plan
from dayfly.images.recipe import Recipe, load_recipe

ROOT = assets.provisioning()
SIZE = {"vcpus": 1, "memory_mib": 512, "disk_gib": 8}
PLAIN: dict[str, Any] = {
    "name": "mine",
    "description": "a recipe of a caller",
    "base": "debian-12",
    "playbook": "ansible/bare.yaml",
    "disk_gib": 8,
    "control_plane": SIZE,
    "worker": SIZE,
    "minimum": SIZE,
    "verify": ["test -e /etc/hostname"],
}


def defined(**fields: Any) -> BakeOrder:
    content = {name: value for name, value in {**PLAIN, **fields}.items() if value is not None}
    return BakeOrder(str(content.get("name")), definition=content)


def extended(**fields: Any) -> BakeOrder:
    content = {"extends": "k8s-debian", "name": "mine", "description": "more", **fields}
    return BakeOrder("mine", definition=content)


def layered(**fields: Any) -> BakeOrder:
    return BakeOrder("mine", definition={"from": "bare", "name": "mine", "description": "a layer", **fields})


def keys(recipe: Recipe) -> object:
    return make_plan(recipe, ROOT).keys


def test_variables_that_equal_the_recipes_give_the_same_key() -> None:
    recipe = load_recipe("k8s-debian")
    same = ordered_recipe(BakeOrder("k8s-debian", {"kubernetes_version": "v1.20.2"}))
    assert same == recipe
    assert keys(same) == make_plan("k8s-debian", ROOT).keys
    other = ordered_recipe(BakeOrder("k8s-debian", {"kubernetes_version": "v1.20.3"}))
    assert other.vars["kubernetes_version"] == "v1.20.3"
    ours, theirs = make_plan(recipe, ROOT).keys, make_plan(other, ROOT).keys
    assert (ours.base, ours.artifacts, ours.toolbox) == (theirs.base, theirs.artifacts, theirs.toolbox)
    assert len({ours.node, theirs.node, ours.image, theirs.image}) == 4


KNOWN = load_recipe("bare").model_copy(update={"vars": {"text": "a", "count": 1, "flag": True, "names": ["a"]}})


def test_each_type_of_variable_can_be_given() -> None:
    given: dict[str, Any] = {"text": "b", "count": 2, "flag": False, "names": []}
    check_variables(KNOWN, given)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ansible_connection", "local", "has no variable"),
        ("text", 1, "must be a string"),
        ("text", True, "must be a string"),
        ("count", "1", "must be an integer"),
        ("count", True, "must be an integer"),
        ("count", 2**31, "at most"),
        ("flag", 1, "must be true or false"),
        ("names", "a", "must be a list"),
        ("text", "{{ lookup('pipe', 'id') }}", "without a template"),
        ("text", "{% raw %}", "without a template"),
        ("names", ["a", "{# x #}"], "without a template"),
        ("text", "#jinja2:variable_start_string:'[['", "letters, digits"),
        ("text", "$(id)", "letters, digits"),
        ("text", "b && id", "letters, digits"),
        ("text", "--root=/proc/1/root", "not begin with -"),
        ("text", "a/../b", "letters, digits"),
        ("text", "http://169.254.169.254/latest", "letters, digits"),
        ("names", ["b", "`id`"], "letters, digits"),
        ("text", "a\nb", "printable"),
        ("text", "x" * 5000, "printable"),
    ],
)
def test_other_variables_are_refused(name: str, value: Any, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        check_variables(KNOWN, {name: value})


@pytest.mark.parametrize("name", ["../bare", "no-such", "", "a/b", "Bare"])
async def test_a_recipe_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises((NotFound, BadName)):
        await check_order(BakeOrder(name))


async def test_definitions_are_recipes() -> None:
    await check_order(defined())
    assert ordered_recipe(defined()).name == "mine"
    more = extended(packages=["tcpdump"], vars={"kubernetes_version": "v1.20.4"})
    await check_order(more)
    recipe, parent = ordered_recipe(more), load_recipe("k8s-debian")
    assert recipe.artifacts == parent.artifacts
    assert recipe.packages == (*parent.packages, "tcpdump")
    assert recipe.vars == {**parent.vars, "kubernetes_version": "v1.20.4"}
    assert make_plan(recipe, ROOT).keys.artifacts == make_plan(parent, ROOT).keys.artifacts


def test_what_a_definition_changes_has_places_of_its_own_in_the_cache() -> None:
    """A server's recipe keeps two results of each part: those of others must not count."""
    parent = load_recipe("k8s-debian")
    same = ordered_recipe(extended())
    assert {same.cache_name(part) for part in (*parent.artifacts, "base")} == {
        parent.cache_name(part) for part in (*parent.artifacts, "base")
    }
    # The artifact `images` needs `binaries`, so it is another one, too.
    other = ordered_recipe(extended(artifacts={"binaries": {"environment": {"KUBERNETES_VERSION": "v1.20.4"}}}))
    found = {part: other.cache_name(part) for part in (*parent.artifacts, "base")}
    assert found == {
        "binaries": "mine.binaries",
        "images": "mine.images",
        "programs": "k8s-debian.programs",
        "base": "k8s-debian.base",
    }


def test_variables_leave_the_name_and_the_cache_to_the_recipe() -> None:
    parent = load_recipe("k8s-debian")
    own = BakeOrder("k8s-debian", {"kubernetes_version": "v1.20.2"})
    assert takes_name(own)
    assert ordered_recipe(own).cache_name("node") == "k8s-debian.node"
    other = BakeOrder("k8s-debian", {"kubernetes_version": "v1.20.3"})
    assert not takes_name(other)
    recipe = ordered_recipe(other)
    assert {recipe.cache_name(part) for part in ("node", "disk")}.isdisjoint(
        {parent.cache_name(part) for part in ("node", "disk")}
    )
    assert {part: recipe.cache_name(part) for part in parent.artifacts} == {
        part: parent.cache_name(part) for part in parent.artifacts
    }
    assert takes_name(BakeOrder("k8s-debian"))
    assert takes_name(extended(vars={"kubernetes_version": "v1.20.3"})), "a definition has a name of its own"


def test_a_rebuild_leaves_the_name_and_the_cache_to_the_recipe() -> None:
    order = BakeOrder("k8s-debian", state="a")
    assert not takes_name(order)
    recipe, parent = ordered_recipe(order), load_recipe("k8s-debian")
    parts = ("base", "node", "disk", *parent.artifacts)
    assert {recipe.cache_name(part) for part in parts} == {f"k8s-debian.{part}.rebuild" for part in parts}
    assert keys(recipe) == keys(parent)


async def test_a_conformance_list_needs_an_image_with_tests() -> None:
    await check_order(BakeOrder("k8s-debian-conformance", conformance=()))
    for order in (BakeOrder("bare", conformance=()), BakeOrder("k8s-debian", conformance=("x",))):
        with pytest.raises(InvalidRequest, match="have no conformance tests"):
            await check_order(order)


async def test_a_definition_can_be_a_layer() -> None:
    order = layered(packages=["tcpdump"], kernel_modules=["dummy"])
    await check_order(order)
    recipe = ordered_recipe(order)
    assert recipe.layer is not None
    assert (recipe.layer.below, recipe.layer.kernel_modules, recipe.disk_gib) == ("bare", ("dummy",), 8)


async def test_a_variable_that_is_a_choice_sets_the_variables_of_the_choice() -> None:
    order = BakeOrder("k8s-1.36", {"kubernetes_network": "flannel"})
    await check_order(order)
    chosen, usual = ordered_recipe(order), load_recipe("k8s-1.36")
    assert usual.vars["kubernetes_network"] == "bridge"
    assert {name for name in chosen.vars if chosen.vars[name] != usual.vars.get(name)} > {"kubernetes_network"}
    with pytest.raises(InvalidRequest, match="must be one of"):
        await check_order(BakeOrder("k8s-1.36", {"kubernetes_network": "cables"}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kubernetes_network_manifest", "http://127.0.0.1:8700/v1/clusters"),
        ("kubernetes_network_sha256", "a" * 64),
        ("container_runtime_unit", "debug-shell.service"),
        ("container_runtime", "x/../../../etc/shadow"),
    ],
)
async def test_what_choices_set_has_the_values_of_the_choices(name: str, value: str) -> None:
    upstream = load_recipe("k8s-1.36")
    whole = {**PLAIN, "playbook": upstream.playbook, "vars": {**upstream.vars, name: value}}
    for order in (
        BakeOrder("k8s-1.36", {name: value}),
        BakeOrder("mine", definition={"extends": "k8s-1.36", "name": "mine", "vars": {name: value}}),
        BakeOrder("mine", definition=whole),
    ):
        with pytest.raises(InvalidRequest, match="must be one of"):
            await check_order(order)
    await check_order(BakeOrder("k8s-1.36", {"container_runtime": "cri-o", "container_runtime_unit": "crio"}))
    await check_order(BakeOrder("mine", definition={**whole, "vars": upstream.vars}))


@pytest.mark.parametrize("name", ["k8s", "k8s-1-36-1", "k8s-1-20", "k8s-v1", "k8s-1-36"])
async def test_a_definition_has_no_name_of_a_family(name: str) -> None:
    with pytest.raises(BadName, match="name of a recipe"):
        await check_order(defined(name=name))
    await check_order(defined(name="k8s-mine"))


@pytest.mark.parametrize("variables", [5, "abc", None, [], [1], [[[], 2]]])
@pytest.mark.parametrize("parent", [{}, {"extends": "k8s-1.36"}, {"extends": "k8s-debian"}, {"from": "bare"}])
async def test_variables_that_are_no_mapping_are_refused(parent: dict[str, Any], variables: object) -> None:
    fields = {"name": "mine", "description": "more"} if parent else PLAIN
    with pytest.raises(InvalidRequest, match="vars"):
        await check_order(BakeOrder("mine", definition={**fields, **parent, "vars": variables}))


SCRIPT = "kubernetes/build-debian.sh"
BUILD: dict[str, Any] = {"script": SCRIPT, "inputs": ["kubernetes/source.sh"]}
WRONG: dict[str, tuple[BakeOrder, str]] = {
    "no name": (defined(name=None), "name"),
    "a name that is a path": (defined(name="../x"), "name"),
    "a name with a colon": (defined(name="a:b"), "name"),
    "a name with a dot": (defined(name="a.b"), "name"),
    "a name of a part in the cache": (defined(name="k8s.base"), "name"),
    "a name of an image of ours": (defined(name="toolbox"), "own"),
    "a name of a recipe": (defined(name="bare"), "name of a recipe"),
    "a name that is too long": (defined(name="a" * 60), "name"),
    "an unknown field": (defined(colour="red"), "colour"),
    "a field that lacks": (defined(playbook=None), "playbook"),
    "a wrong type": (defined(disk_gib="many"), "disk_gib"),
    "a base that is a path": (defined(base="../recipes/bare"), "base must be one of"),
    "a play outside": (defined(playbook="../../etc/passwd"), "playbook must be one of"),
    "a play that is none": (defined(playbook="recipes/bare.yaml"), "playbook must be one of"),
    "a play by another name": (defined(playbook="ansible/../ansible/bare.yaml"), "playbook must be one of"),
    "a script outside": (defined(finish=["../x"]), "not a file below"),
    "an absolute script": (defined(finish=["/bin/sh"]), "not a file below"),
    "a script with a dot": (defined(finish=["./kubernetes/import-images"]), "not a file below"),
    "a script that lacks": (defined(finish=["kubernetes/none"]), "not a file below"),
    "a script in the request": (defined(finish=["#!/bin/sh\nid"]), "printable"),
    "inputs outside": (defined(finish_inputs=["kubernetes/../../x"]), "not a file below"),
    "an artifact's script outside": (defined(artifacts={"a": {"script": "../x"}}), "not a file below"),
    "an artifact's inputs outside": (defined(artifacts={"a": {"script": SCRIPT, "inputs": ["/etc"]}}), "not a file"),
    "an artifact that is a path": (defined(artifacts={"../a": {"script": SCRIPT}}), "name of an artifact"),
    "an artifact called base": (defined(artifacts={"base": {"script": SCRIPT}}), "name of an artifact"),
    "a need that lacks": (defined(artifacts={"a": {"script": SCRIPT, "needs": ["b"]}}), "needs b"),
    "needs in a circle": (defined(artifacts={"a": {"script": SCRIPT, "needs": ["a"]}}), "circle"),
    "a variable of the shell": (
        defined(artifacts={"a": {"script": SCRIPT, "environment": {"BASH_ENV": "$(id)"}}}),
        "takes no variable 'BASH_ENV'",
    ),
    "a command of make": (
        defined(artifacts={"a": {**BUILD, "environment": {"KUBERNETES_VERSION": "v1.20.2$(shell id)"}}}),
        "KUBERNETES_VERSION .* letters, digits",
    ),
    "too many artifacts": (defined(artifacts={f"a{number}": BUILD for number in range(33)}), "32 artifacts"),
    "an address in place of a path": (
        extended(kubernetes={"ready_paths": ["http://169.254.169.254/"]}),
        "not a path of the API server",
    ),
    "an address in place of a layer's path": (
        layered(**{"from": "k8s-debian", "manifests": ["layers/iscsi.yaml"], "ready_paths": ["//x/"]}),
        "not a path of the API server",
    ),
    "a variable of Ansible": (defined(vars={"ansible_connection": "local"}), "takes no variable"),
    "a variable of another type": (extended(vars={"kubernetes_version": 1}), "must be a string"),
    "a template": (extended(vars={"kubernetes_version": "{{ lookup('pipe', 'id') }}"}), "template"),
    "a package that is a path": (defined(packages=["/srv/x.deb"]), "name of a package"),
    "a package that is an option": (defined(packages=["-o=x"]), "name of a package"),
    "two packages in one": (defined(packages=["a,b"]), "name of a package"),
    "an artifact's package": (defined(artifacts={"a": {"script": SCRIPT, "packages": ["?x"]}}), "name of a package"),
    "two kernel arguments in one": (defined(kernel_arguments=["a b"]), "argument of a kernel"),
    "another's cache": (defined(cached_as={"base": "../x"}), "cached_as"),
    "choices of files": (defined(choices={"text": "../../../etc/passwd"}), "choices is for"),
    "versions of a file": (defined(versions="../x"), "versions is for"),
    "the inside of a layer": (defined(layer={"below": "bare"}), "layer is for"),
    "a layer over a file": (layered(**{"from": "../recipes/bare"}), "from must name"),
    "a layer over an image of a registry": (
        layered(**{"from": {"image": f"lab:5000/a@sha256:{'a' * 64}"}}),
        "from must",
    ),
    "a layer's manifest outside": (layered(**{"from": "k8s-debian", "manifests": ["../x.yaml"]}), "not a file below"),
    "a folder as a manifest": (layered(**{"from": "k8s-debian", "manifests": ["layers"]}), "not a file below"),
    "a folder as a script": (defined(finish=["kubernetes"]), "not a file below"),
    "a folder as an artifact's script": (defined(artifacts={"a": {"script": "kubernetes"}}), "not a file below"),
    "a layer's play outside": (layered(playbook="../x.yaml"), "playbook must be one of"),
    "a parent that is a path": (defined(extends="../recipes/bare"), "extends must name"),
    "a parent that extends": (extended(extends="k8s-debian-conformance"), "extends"),
    "a size of nothing": (defined(minimum={**SIZE, "memory_mib": 0}), r"minimum\.memory_mib"),
    "a size of everything": (defined(worker={**SIZE, "vcpus": 10_000}), r"worker\.vcpus"),
    "a disk larger than a node's": (defined(disk_gib=9), "disk_gib"),
    "a command of two lines": (defined(verify=["a\nb"]), "printable"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_a_caller_must_not_bring_is_refused(case: str) -> None:
    order, said = WRONG[case]
    with pytest.raises(InvalidRequest, match=said):
        await check_order(order)


async def test_a_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    root = Path(shutil.copytree(ROOT, tmp_path / "provisioning"))
    (root / "kubernetes" / "shell").symlink_to("/bin/sh")
    with pytest.raises(InvalidRequest, match="not a file below"):
        await check_order(defined(finish=["kubernetes/shell"]), root)


@pytest.mark.parametrize("content", ["{", "name: broken\nchoices: {text: kubernetes/none.yaml}\n"])
async def test_a_recipe_of_the_server_that_is_broken_concerns_no_other(tmp_path: Path, content: str) -> None:
    root = Path(shutil.copytree(ROOT, tmp_path / "provisioning"))
    (root / "recipes" / "broken.yaml").write_text(content)
    await check_order(BakeOrder("k8s-debian", {"kubernetes_version": "v1.20.3"}), root)
    with pytest.raises((InvalidRequest, NotFound)):
        await check_order(BakeOrder("broken"), root)
