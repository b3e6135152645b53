"""`dayfly addon`, and `--addon` of clusters, templates and pools."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from dayfly.cli import cluster_output
from dayfly.client import AddonError, Client, ClusterAddon
from dayfly.errors import AddonContentDiffers
from tests.support.api import ADDONS
from tests.support.pulled_addons import MANIFEST

Dayfly = Callable[..., Result]


def test_a_cluster_is_created_with_addons_and_shows_them(dayfly: Dayfly) -> None:
    made = dayfly("cluster", "create", "party", "--image", "k8s", "--addon", "milk", "--addon", "tea", "--wait")
    assert made.exit_code == 0, made.output
    text = dayfly("cluster", "show", "party").stdout
    assert re.search(r"^ADD-ON +STATE +ERROR\ntea +ready +-\nmilk +ready +-$", text, re.MULTILINE)
    unknown = dayfly("cluster", "create", "--image", "k8s", "--addon", "coffee")
    assert unknown.exit_code != 0
    assert "there is no add-on 'coffee'; there are: far, juice, milk, tea" in unknown.stderr


def test_the_addons_of_a_cluster_are_changed(dayfly: Dayfly, url: str) -> None:
    dayfly("cluster", "create", "party", "--image", "k8s", "--wait")
    done = dayfly("addon", "set", "party", "tea", "--json")
    assert [one["name"] for one in json.loads(done.stdout)["addons"]] == ["tea"]
    none = dayfly("addon", "set", "party")
    assert none.stdout in {"party has the add-ons tea (removing)\n", "party has no add-ons\n"}
    with Client(url) as client:
        cluster = client.get("party")
    failed = ClusterAddon(name="milk", state="failed", error=AddonError(code="addon_failed", message="no\x1b milk"))
    told = cluster.model_copy(update={"addons": (ClusterAddon(name="tea", state="ready", error=None), failed)})
    assert cluster_output.addons_sentence(told) == "party has the add-ons tea, milk (failed)"
    assert cluster_output.addons_sentence(told.model_copy(update={"addons": ()})) == "party has no add-ons"
    assert re.search(r"^milk +failed +\[addon_failed\] no\S* milk$", cluster_output.description(told), re.MULTILINE)


def test_addons_are_listed(dayfly: Dayfly) -> None:
    text = dayfly("addon", "list").stdout
    assert re.search(r"^NAME +SOURCE +AVAILABLE +IMAGES +NEEDS +DESCRIPTION$", text, re.MULTILINE)
    assert re.search(r"^milk +baked +yes +k8s-test +tea +Milk for all\.$", text, re.MULTILINE)
    assert re.search(r"^juice +pulled v1\.2\.3 +no +k8s-test +- +Juice\.$", text, re.MULTILINE)
    assert text.endswith("\njuice is not available: run `dayfly addon fetch juice`\n")
    assert dayfly("addon", "list", "-o", "name").stdout == "far\njuice\nmilk\ntea\n"


def test_the_manifests_of_a_pulled_addon_are_fetched_from_files(
    dayfly: Dayfly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYFLY_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("dayfly.cli.addon_fetch.load_addons", lambda: ADDONS)
    file = tmp_path / "juice.yaml"
    file.write_bytes(MANIFEST[:-1])
    refused = dayfly("addon", "fetch", "juice", "--from", str(file))
    assert isinstance(refused.exception, AddonContentDiffers) or "[addon_content_differs]" in refused.stderr
    assert not (tmp_path / "cache").exists()
    file.write_bytes(MANIFEST)
    done = dayfly("addon", "fetch", "juice", "--from", str(file))
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("stored https://juice.example/v1/juice.yaml\njuice is not available yet: this ")
    assert [path.read_bytes() for path in (tmp_path / "cache" / "addons").iterdir()] == [MANIFEST]
    assert dayfly("addon", "fetch", "tea").exit_code != 0
    assert dayfly("addon", "fetch", "coffee").exit_code != 0


def test_templates_and_pools_have_addons(dayfly: Dayfly) -> None:
    template = json.loads(dayfly("template", "create", "--image", "k8s", "--addon", "milk", "--json").stdout)
    assert template["addons"] == ["tea", "milk"]
    pool = dayfly("pool", "create", "party", "--image", "k8s", "--size", "0", "--addon", "tea", "--json")
    assert json.loads(pool.stdout)["addons"] == ["tea"]
    dayfly("pool", "delete", "party")
    dayfly("template", "delete", template["id"])
