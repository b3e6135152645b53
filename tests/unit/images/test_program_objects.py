"""The objects of every Dayfly program in a cluster are applied, and match each other, the recipe, and the program.

Not here: what a program of its own needs (test_balancer_objects.py, and others like it).
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dayfly.images.recipe import load_recipe
from tests.support.program_objects import (
    ADDON_PROGRAMS,
    COLLECTIONS,
    FOLDERS,
    PROGRAMS,
    ROLE,
    container,
    objects_of,
    render,
    templates,
    workload,
)


def test_every_program_has_objects() -> None:
    assert {path.parent.name for path in PROGRAMS.glob("*/main.go")} == set(FOLDERS) | set(ADDON_PROGRAMS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_is_installed_and_applied(folder: str) -> None:
    tasks = yaml.safe_load((ROLE / "tasks/main.yml").read_text())
    sources = [(task, str(task.get("ansible.builtin.template", {}).get("src"))) for task in tasks]
    (written,) = (task for task, source in sources if source.startswith(f"{folder}/"))
    assert set(written["loop"]) == {path.name.removesuffix(".yaml.j2") for path in templates(folder)}
    place = Path(written["ansible.builtin.template"]["dest"]).parent
    script = (ROLE / "files/control-plane").read_text()
    assert f"objects={place.parent}\n" in script
    assert f'"$objects"/{place.name}/*.yaml' in script


@pytest.mark.parametrize("path", [path for folder in FOLDERS for path in templates(folder)], ids=lambda path: path.name)
def test_the_first_line_of_an_object_is_its_path(path: Path) -> None:
    text = render(path)
    item = yaml.safe_load(text)
    assert text.startswith(f"# {COLLECTIONS[item['kind']]}/{item['metadata']['name']}\n")
    if "/namespaces/" in COLLECTIONS[item["kind"]]:
        assert item["metadata"]["namespace"] == "kube-system"


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_role_is_that_of_the_pods(folder: str) -> None:
    objects = objects_of(folder)
    pods = workload(objects)["template"]
    assert workload(objects)["selector"]["matchLabels"] == pods["metadata"]["labels"]
    assert pods["spec"]["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
    (subject,) = objects["ClusterRoleBinding"]["subjects"]
    assert (subject["name"], subject["namespace"]) == (pods["spec"]["serviceAccountName"], "kube-system")
    assert objects["ClusterRoleBinding"]["roleRef"]["name"] == objects["ClusterRole"]["metadata"]["name"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_image_and_the_flags_are_known(folder: str) -> None:
    recipe = load_recipe("k8s-debian")
    one = container(objects_of(folder))
    assert recipe.artifacts["images"].environment[f"{folder.upper()}_IMAGE"] == one["image"]
    assert any(one["image"] in command for command in recipe.verify)
    main = (PROGRAMS / folder / "main.go").read_text()
    for flag in one["args"]:
        assert f'("{flag.removeprefix("-").partition("=")[0]}", ' in main
