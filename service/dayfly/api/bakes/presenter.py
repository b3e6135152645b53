"""Presents bakes of the domain as responses. `records`: what the catalog knows of their images, by id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dayfly.domain import bake as domain
from dayfly.domain.image_catalog import ImageRecord
from dayfly.schemas.bakes import Bake, BakeError, BakeSummary
from dayfly.vocabulary import ImageState

Records = Mapping[str, ImageRecord]


def show_bake(bake: domain.Bake, records: Records) -> Bake:
    evidence = {} if bake.fault is None else dict(bake.fault.evidence)
    own = {name: getattr(bake.order, name) for name in ("variables", "definition", "conformance")}
    return Bake.of(bake, **_fields(bake, evidence, records), **own)


def show_summary(bake: domain.Bake, records: Records) -> BakeSummary:
    return BakeSummary.of(bake, **_fields(bake, {}, records))


def _fields(bake: domain.Bake, evidence: dict[str, str], records: Records) -> dict[str, Any]:
    error = None if bake.fault is None else BakeError.of(bake.fault, evidence=evidence)
    image = (None, None) if bake.image is None else (bake.image.reference, bake.image.id)
    return {
        "recipe": bake.order.recipe,
        "rebuild": bool(bake.order.state),
        "image": image[0],
        "image_id": image[1],
        "image_state": _state(bake, records),
        "error": error,
    }


def _state(bake: domain.Bake, records: Records) -> ImageState | None:
    if bake.image is None:
        return None
    record = records.get(bake.image.id)
    if record is None:
        return ImageState.PRESENT
    collected, ended = record.collected_at, bake.ended_at
    made_since = collected is not None and ended is not None and ended > collected
    return ImageState.PRESENT if made_since else record.state
