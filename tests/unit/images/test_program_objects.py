"""The objects of every Dayfly program in a cluster are installed and applied, each at its path."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.program_objects import ADDON_PROGRAMS, COLLECTIONS, FOLDERS, PROGRAMS, ROLE, render, templates


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
