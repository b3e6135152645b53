"""A phase is repeated only if one of its inputs has changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dayfly import assets
from dayfly.errors import InvalidRequest
from dayfly.images.plan import Keys, make_plan

ALL = {"toolbox", "base", "artifacts", "node", "disk", "image"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """provisioning/ with a recipe that has two artifacts, the second made of the first."""
    root = Path(shutil.copytree(assets.provisioning(), tmp_path / "provisioning"))
    (root / "made").mkdir()
    for name in ("first", "second", "data", "finish"):
        (root / "made" / name).write_text(f"#!/bin/sh\necho {name}\n")
    recipe = (root / "recipes" / "bare.yaml").read_text().replace("name: bare", "name: full")
    recipe += "artifacts: {one: {script: made/first, inputs: [made/data]}, two: {script: made/second, needs: [one]}}\n"
    (root / "recipes" / "full.yaml").write_text(recipe + "finish: [made/finish]\n")
    return root


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("toolbox/net", {"toolbox", "image"}),
        ("base/trim", {"base", "node", "disk", "image"}),
        ("base/initrd/init", {"disk", "image"}),
        ("base/enter", {"artifacts", "node", "disk", "image"}),
        ("made/first", {"artifacts", "node", "disk", "image"}),
        ("made/data", {"artifacts", "node", "disk", "image"}),
        ("made/finish", {"node", "disk", "image"}),
        ("ansible/bare.yaml", {"node", "disk", "image"}),
        ("ansible/roles/node/files/ssh.service", {"node", "disk", "image"}),
        ("ansible/connection_plugins/rootfs.py", {"node", "disk", "image"}),
        ("ansible/roles/containerd/tasks/main.yml", set()),
        ("recipes/bare.yaml", set()),
    ],
)
def test_a_changed_file_makes_anew_what_it_goes_into(root: Path, path: str, changed: set[str]) -> None:
    before = make_plan("full", root).keys
    with (root / path).open("a") as file:
        file.write("\n# changed\n")
    assert differing(before, make_plan("full", root).keys) == changed


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("packages: [jq]", {"base", "node", "disk", "image"}),
        ("vars: {a: 1}", {"node", "disk", "image"}),
        ("disk_gib: 9", {"disk", "image"}),
        ("verify: ['true']", {"image"}),
        ("kernel_arguments: [x=1]", {"image"}),
        ("description: another", set()),
    ],
)
def test_a_changed_field_makes_anew_what_it_goes_into(root: Path, line: str, changed: set[str]) -> None:
    before = make_plan("full", root).keys
    path = root / "recipes" / "full.yaml"
    lines: list[str] = []
    skipping = False
    for old in path.read_text().splitlines():
        skipping = old.startswith(line.partition(":")[0] + ":") or (skipping and old.startswith(" "))
        if not skipping:
            lines.append(old)
    path.write_text("\n".join([*lines, line]))
    assert differing(before, make_plan("full", root).keys) == changed


def test_a_script_that_may_no_longer_be_run_counts_as_changed(root: Path) -> None:
    before = make_plan("full", root).keys
    (root / "toolbox" / "net").chmod(0o644)
    assert differing(before, make_plan("full", root).keys) == {"toolbox", "image"}


def test_keys_do_not_depend_on_where_provisioning_lies(root: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(root, tmp_path / "elsewhere"))
    assert make_plan("full", root).keys == make_plan("full", moved).keys


def test_artifacts_come_in_an_order_in_which_needs_are_made_first(root: Path) -> None:
    path = root / "recipes" / "full.yaml"
    path.write_text(path.read_text().replace("{one: {", "{zero: {script: made/data, needs: [two]}, one: {"))
    assert list(make_plan("full", root).keys.artifacts) == ["one", "two", "zero"]


def differing(before: Keys, after: Keys) -> set[str]:
    return {name for name in ALL if getattr(before, name) != getattr(after, name)}


def test_a_rebuild_takes_nothing_that_was_fetched_before_but_the_toolbox(root: Path) -> None:
    plain, first, second = (make_plan("full", root, state=state) for state in ("", "a", "b"))
    keys = [plain.keys, first.keys, second.keys]
    assert len({one.toolbox for one in keys}) == 1
    for name in ALL - {"toolbox"}:
        found = [str(getattr(one, name)) for one in keys]
        assert len(set(found)) == 3, name
    artifacts = [one.artifacts[name] for one in keys for name in ("one", "two")]
    assert len(set(artifacts)) == 6
    assert {one.inputs for one in (plain, first, second)} == {plain.keys.image}
    assert make_plan("full", root, state="a").keys == first.keys


def test_a_layer_has_no_rebuild(root: Path) -> None:
    with pytest.raises(InvalidRequest, match="is a layer"):
        make_plan("bare-writeboost", root, state="a")
