"""The build's description fits its scripts, and the images' names fit the registries that the tests are given."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dayfly import assets
from dayfly.images.progress import Progress
from dayfly.settings import Settings
from tests.conformance import programs
from tests.conformance.__main__ import main
from tests.conformance.e2e import EndToEnd
from tests.conformance.lists import FOLDER
from tests.unit.conformance.conftest import Ends

SCRIPTS = assets.provisioning() / "kubernetes"
ROLE = assets.provisioning() / "ansible" / "roles" / "conformance" / "files"


def test_each_artifact_has_a_key_after_its_needs() -> None:
    assert list(programs.keys()) == ["conformance_programs", "conformance_images"]


def test_the_programs_are_of_the_clusters_version_and_packages() -> None:
    recipe = yaml.safe_load((assets.provisioning() / "recipes" / "k8s-debian.yaml").read_text())["artifacts"]
    built = programs.artifacts()
    assert built[programs.PROGRAMS].environment == recipe["binaries"]["environment"]
    assert list(built[programs.PROGRAMS].packages) == recipe["binaries"]["packages"]
    tags = ("ETCD_TAG", "PAUSE_TAG")
    assert built[programs.IMAGES].environment == {tag: recipe["images"]["environment"][tag] for tag in tags}


def test_each_image_lies_where_a_registry_is_mapped_to() -> None:
    pushed = yaml.safe_load((FOLDER / "repos.yaml").read_text())
    imported = yaml.safe_load((ROLE / "repos.yaml").read_text())
    mapped = {name.removeprefix("registry:5000/") for name in pushed.values()}
    assert imported == {key: name.replace("registry:5000/", "docker.io/") for key, name in pushed.items()}
    script = (SCRIPTS / "images-conformance.sh").read_text()
    images = re.findall(r"[ \"]([a-z0-9-]+)/[a-z$][a-z-]*:[$0-9][\w.-]*", script)
    assert len(images) >= 12
    assert set(images) == mapped


def test_a_script_gets_all_that_it_asks_for() -> None:
    for artifact in programs.artifacts().values():
        script = (assets.provisioning() / artifact.script).read_text()
        asked = set(re.findall(r"\$\{(\w+):\?", script)) - {"OUT", "ARTIFACTS"}
        assert asked == set(artifact.environment)
        sourced = set(re.findall(r'\$INPUTS/([\w/.-]+)"', script))
        assert sourced == set(artifact.inputs)


def test_cached_programs_are_not_built(tmp_path: Path) -> None:
    for name, key in programs.keys().items():
        # The recipe's bake uses the same folders.
        entry = name.replace("_", ".")
        (tmp_path / f"{entry}-{key[:32]}" / "out").mkdir(parents=True)
    reports: list[Progress] = []

    async def use() -> programs.Programs:
        async with programs.built(Settings(cache_dir=tmp_path), reports.append) as found:
            return found

    found = asyncio.run(use())
    assert found.end_to_end.parent.parent.name.startswith("conformance.programs-")
    assert [(report.phase, report.state) for report in reports] == [
        ("artifact conformance_programs", "cached"),
        ("artifact conformance_images", "cached"),
    ]


def test_the_command_runs_a_list_against_a_kubeconfig(
    make_end_to_end: Callable[[Ends], EndToEnd],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    specs = ["[sig-a] a [Conformance]", "[sig-a] b [Conformance]"]
    program = make_end_to_end({specs[0]: "pass", specs[1]: "fail"}).program
    (tmp_path / "all" / "programs").mkdir(parents=True)
    (tmp_path / "all" / "images").mkdir()
    (tmp_path / "all" / "programs" / "e2e.test").symlink_to(program)
    (tmp_path / "all" / "programs" / "ends.json").symlink_to(tmp_path / "ends.json")
    folders = [f"--programs={tmp_path / 'all'}", f"--results={tmp_path / 'results'}"]
    cluster = ["--kubeconfig=f", "--registry=127.0.0.1:1", "--kind=cold"]
    assert main(["run", *folders, *cluster, "--list=long"]) == 1
    said = capsys.readouterr().out
    assert "1 of 2 specs have passed" in said
    assert "failed" in said
    assert (tmp_path / "results" / "cold-long.xml").exists()
    assert main(["run", *folders, *cluster, "--list=short"]) == 2
    with pytest.raises(SystemExit):
        main(["run", *folders, "--kubeconfig=f"])


def test_an_archive_is_reproducible_and_leaves_the_callers_variables(tmp_path: Path) -> None:
    """images-conformance.sh uses its variables after each archive."""
    script = f"""
        set -eu; OUT={tmp_path}; cd {tmp_path}; . {SCRIPTS}/archives.sh
        root=tree name=mine folder=mine
        mkdir -p tree; echo content >tree/file
        archive library/x:1 "$root" /x '"Cmd":["run"]'; sha256sum library_x_1.tar >first
        archive library/x:1 "$root" /x '"Cmd":["run"]'; sha256sum library_x_1.tar | cmp - first
        echo "$root $name $folder"
    """
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["tree mine mine"]), done.stderr
    with tarfile.open(tmp_path / "library_x_1.tar") as archive:
        config = json.load(archive.extractfile("config.json") or io.BytesIO())
        layer = (archive.extractfile("layer.tar") or io.BytesIO()).read()
    assert (config["config"]["Entrypoint"], config["config"]["Cmd"]) == (["/x"], ["run"])
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(gzip.decompress(layer)).hexdigest()}"]
