"""Recipes of layers: `from: RECIPE`, or `from: {image: REGISTRY/NAME@sha256:…}`. Only what they add is in their files.

Not here: recipes without `from` (recipe.py), the keys of layers (plan.py), their bakes (layer_bake.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from dayfly.errors import InvalidRequest
from dayfly.vocabulary import IMAGE_REFERENCE

FROM: Final = "from"
"""The field of a recipe's file that names the recipe or the image below it."""
_PLAYBOOK: Final = "ansible/layer.yaml"
_SIZES: Final = ("control_plane", "worker", "minimum")
_INHERITED: Final = (*_SIZES, "base", "disk_gib", "kubernetes")
_FORBIDDEN: Final = ("extends", "layer", "cached_as", "disk_gib", "kubernetes")
"""`disk_gib` and `kubernetes` are facts of the image below."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BaseImage(_Data):
    """A node image in a registry, by digest: a tag would make a bake's result depend on the day."""

    image: str

    @field_validator("image")
    @classmethod
    def _by_digest(cls, image: str) -> str:
        _, at, digest = image.partition("@sha256:")
        if not (IMAGE_REFERENCE.fullmatch(image) and at and len(digest) == 64):
            raise ValueError("must be an image by its digest, such as lab:5000/dayfly/bare@sha256:…")
        return image


class Layer(_Data):
    """What only a recipe with `from` has."""

    below: str | BaseImage
    kernel_modules: tuple[str, ...] = ()
    """Modules that are loaded at each boot; the bake fails where the image's kernel lacks one."""
    manifests: tuple[str, ...] = ()
    """Files of Kubernetes objects. Every cluster gets them, as an add-on that has the recipe's name."""
    ready_paths: tuple[str, ...] = ()
    """GETs of the API server that succeed when these objects work. Their workloads are added."""
    addons: tuple[str, ...] = ()
    """Baked add-ons that every cluster gets."""

    @field_validator("kernel_modules")
    @classmethod
    def _names(cls, modules: tuple[str, ...]) -> tuple[str, ...]:
        if bad := [name for name in modules if not name.replace("-", "_").isidentifier()]:
            raise ValueError(f"{bad[0]!r} is not the name of a kernel module")
        return modules


class _File(Layer):
    """The fields of Layer as the recipe's file has them."""

    below: str | BaseImage = Field(alias=FROM)


def layer_fields(own: Mapping[str, Any], inherited: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The fields of the recipe whose file has the fields `own`. `inherited`: those of the recipe below, if it is one.

    Raises InvalidRequest; ValidationError for values of the wrong form.
    """
    if forbidden := [field for field in _FORBIDDEN if field in own]:
        raise InvalidRequest(f"{name} is from another image, and cannot have the field {forbidden[0]}")
    of_layer = {FROM, *Layer.model_fields} & own.keys()
    layer = _File.model_validate({field: own[field] for field in of_layer})
    fields = {field: inherited[field] for field in _INHERITED if field in inherited}
    for field, value in own.items():
        if field in _SIZES and isinstance(value, dict) and field in fields:
            fields[field] = {**fields[field], **value}
        elif field not in of_layer:
            fields[field] = value
    minimum = fields.get("minimum")
    if "disk_gib" not in fields and isinstance(minimum, dict):
        # Of an image in a registry only these sizes are known here.
        fields["disk_gib"] = minimum.get("disk_gib")
    if (layer.manifests or layer.addons) and inherited and fields.get("kubernetes") is None:
        raise InvalidRequest(f"{name}: manifests and add-ons need Kubernetes, which {layer.below} has not got")
    return {"playbook": _PLAYBOOK, **fields, "layer": layer}
