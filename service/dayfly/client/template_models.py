"""Responses about templates, as typed values."""

from __future__ import annotations

from datetime import datetime

from dayfly.client.models import Answer, ErrorReport, NodeSize, Workers


class Shape(Answer):
    """What clusters must have in common to be forks of one template, or members of one pool."""

    image: str
    image_id: str
    kubernetes_version: str | None = None
    control_plane: NodeSize
    workers: Workers
    readiness: str


class Parents(Answer):
    """What a template was made from: an image's content id, and the id of the cluster that was saved."""

    image: str
    builder: str


class TemplateError(ErrorReport):
    """Why a template failed. `cluster` is the id of the one that did: its evidence and diagnostics are there."""

    cluster: str | None = None


class Template(Shape):
    """A saved cluster of which others are forks. `phase` is building, verifying, ready, retiring, retired or failed.

    `uses` counts forks ever begun, `forks` those that are not deleted, `failures` those that failed since the last that
    did not.
    """

    id: str
    owner: str
    phase: str
    parents: Parents
    created_at: datetime
    ready_at: datetime | None = None
    last_used_at: datetime | None = None
    age_seconds: float = 0.0
    size_bytes: int = 0
    uses: int = 0
    forks: int = 0
    failures: int = 0
    error: TemplateError | None = None


class TemplateList(Answer):
    templates: tuple[Template, ...]
