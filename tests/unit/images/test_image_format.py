"""The image format that provisioning/README.md documents, read by the production parser; and manifests of layers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from dayfly import assets
from dayfly.domain.addon import LABEL_ADDON, Addon
from dayfly.domain.image import ImageManifest, NodeSize
from dayfly.images.layer_recipe import layer_fields
from dayfly.images.recipe import Recipe

README = (assets.provisioning() / "README.md").read_text()


@pytest.fixture
def documented() -> dict[str, Any]:
    (text,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def test_the_documented_manifest_is_read_and_written_as_it_is(documented: dict[str, Any]) -> None:
    manifest = ImageManifest.model_validate_json(json.dumps(documented))
    assert json.loads(manifest.model_dump_json(exclude_unset=True)) == documented
    assert ImageManifest.model_validate_json(manifest.model_dump_json()) == manifest
    (addon,) = manifest.addons
    assert {item["metadata"]["labels"][LABEL_ADDON] for item in addon.objects} == {addon.name}


def test_every_field_of_a_manifest_is_documented(documented: dict[str, Any]) -> None:
    table = README.partition("| field |")[2].partition("```json")[0]
    assert set(ImageManifest.model_fields) == set(re.findall(r"`([a-z_]+)`", table)) & set(ImageManifest.model_fields)
    assert "digest" in documented


def test_an_unknown_field_is_refused_as_documented(documented: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        ImageManifest.model_validate({**documented, "parent": []})


def test_a_manifest_of_an_older_release_is_read_and_written_without_the_fields_of_layers() -> None:
    size = NodeSize(vcpus=1, memory_mib=512, disk_gib=8)
    manifest = ImageManifest(recipe="bare", control_plane=size, worker=size, minimum=size, digest="a" * 12)
    text = manifest.model_dump_json()
    assert not {"parents", "parent_recipes", "addons"} & json.loads(text).keys()
    again = ImageManifest.model_validate_json(text)
    assert (again.parents, again.parent_recipes, again.addons) == ((), (), ())
    layer = manifest.model_copy(update={"parents": ("b",), "addons": (Addon(name="a"),)})
    assert {"parents", "addons"} <= json.loads(layer.model_dump_json()).keys()


def test_the_documented_layer_has_only_fields_of_a_recipe() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README.partition("## Layers")[2].partition("\n## ")[0], re.DOTALL)
    own = yaml.safe_load(text)
    fields = layer_fields(own, {"kubernetes": {"version": "v1"}}, "README.md")
    assert fields.keys() - Recipe.model_fields.keys() == set()
