"""Presents templates of the domain as responses."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from dayfly.api.clusters.presenter import shape_fields, show_fault
from dayfly.domain import template as templates
from dayfly.schemas.templates import Parents, Template, TemplateError


def show_template(template: templates.Template, now: datetime, evidence: Collection[str] = ()) -> Template:
    """`evidence`: names of the failed cluster's evidence."""
    return Template(
        **shape_fields(template.spec),
        id=template.id,
        owner=template.owner,
        phase=template.phase,
        parents=Parents(image=template.spec.image_id, builder=template.builder),
        created_at=template.created_at,
        ready_at=template.ready_at,
        last_used_at=template.last_used_at,
        age_seconds=round(max(0.0, (now - template.created_at).total_seconds()), 3),
        size_bytes=template.size_bytes,
        uses=template.uses,
        forks=template.forks,
        failures=template.failures,
        error=_show_error(template, evidence),
    )


def _show_error(template: templates.Template, evidence: Collection[str]) -> TemplateError | None:
    report = show_fault(template.fault, evidence)
    return None if report is None else TemplateError(**dict(report), cluster=template.failed_cluster)
