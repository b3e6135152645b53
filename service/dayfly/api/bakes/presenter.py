"""Presents bakes of the domain as responses."""

from __future__ import annotations

from typing import Any

from dayfly.domain import bake as domain
from dayfly.schemas.bakes import Bake, BakeError, BakeSummary


def show_bake(bake: domain.Bake) -> Bake:
    evidence = {} if bake.fault is None else dict(bake.fault.evidence)
    own = {"variables": bake.order.variables, "definition": bake.order.definition}
    return Bake.of(bake, **_fields(bake, evidence), **own)


def show_summary(bake: domain.Bake) -> BakeSummary:
    return BakeSummary.of(bake, **_fields(bake, {}))


def _fields(bake: domain.Bake, evidence: dict[str, str]) -> dict[str, Any]:
    error = None if bake.fault is None else BakeError.of(bake.fault, evidence=evidence)
    image = (None, None) if bake.image is None else (bake.image.reference, bake.image.id)
    return {"recipe": bake.order.recipe, "image": image[0], "image_id": image[1], "error": error}
