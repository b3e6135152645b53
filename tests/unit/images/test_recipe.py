"""Recipes: shipped recipes are valid, and invalid recipes are refused with the reason."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from dayfly import assets
from dayfly.errors import InvalidRequest, NotFound
from dayfly.images.plan import make_plan
from dayfly.images.recipe import load_base, load_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_ships_has_a_plan_and_sizes_that_fit(name: str) -> None:
    recipe = make_plan(name, assets.provisioning()).recipe
    for size in (recipe.control_plane, recipe.worker):
        assert size.vcpus >= recipe.minimum.vcpus
        assert size.memory_mib >= recipe.minimum.memory_mib
        assert size.disk_gib >= recipe.disk_gib
    assert recipe.minimum.disk_gib >= recipe.disk_gib, "an overlay cannot be smaller than its disk"
    assert recipe.verify


@pytest.mark.parametrize("name", recipe_names())
def test_an_artifacts_inputs_are_the_files_that_its_script_reads(name: str) -> None:
    for artifact in load_recipe(name).artifacts.values():
        script = (assets.provisioning() / artifact.script).read_text()
        assert set(re.findall(r'"\$INPUTS/([^"]+)"', script)) == set(artifact.inputs)


def test_the_manifest_joins_the_kernel_arguments_of_base_and_recipe() -> None:
    recipe = load_recipe("bare").model_copy(update={"kernel_arguments": ("mine=1",)})
    base = load_base(recipe.base)
    manifest = recipe.manifest(base, "abc")
    assert manifest.kernel_arguments == (*base.kernel_arguments, "mine=1")
    assert (manifest.recipe, manifest.digest, manifest.kubernetes) == ("bare", "abc", None)


def test_an_unknown_recipe_is_answered_with_those_there_are() -> None:
    with pytest.raises(NotFound, match="there are: bare"):
        load_recipe("bear")


@pytest.fixture
def provisioning(tmp_path: Path) -> Path:
    return Path(shutil.copytree(assets.provisioning(), tmp_path / "provisioning"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("pakages: [curl]", "pakages"),
        ("name: other", "has the name 'other'"),
        ("disk_gib: 0", "disk_gib"),
        ("artifacts: {a: {script: toolbox/net, needs: [b]}}", "needs b"),
        ("artifacts: {a: {script: toolbox/net, needs: [b]}, b: {script: toolbox/net, needs: [a]}}", "in a circle"),
        ("playbook: ansible/gone.yaml", "gone.yaml"),
        ("finish: [kubernetes/gone]", "kubernetes/gone"),
        ("base: fedora", "debian-12"),
        ("base: opensuse-tumbleweed-cloud", "the roles know the families apt and dnf, not zypper"),
        ("name: [", "expected"),
    ],
)
def test_what_no_recipe_can_say_is_refused_with_the_reason(provisioning: Path, change: str, reason: str) -> None:
    field = change.partition(":")[0]
    path = provisioning / "recipes" / "bare.yaml"
    kept = [line for line in path.read_text().splitlines() if not line.startswith(f"{field}:")]
    path.write_text("\n".join([*kept, change]))
    with pytest.raises((InvalidRequest, NotFound), match=reason.replace("[", r"\[")) as refused:
        make_plan("bare", provisioning)
    assert "\n" not in refused.value.message
