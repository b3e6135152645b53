"""Presents templates of the domain as responses."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from dayfly.api.clusters.presenter import shape_fields
from dayfly.domain import template as templates
from dayfly.schemas.templates import Parents, Template, TemplateError


def show_template(template: templates.Template, now: datetime, evidence: Collection[str] = ()) -> Template:
    """`evidence`: names of the failed cluster's evidence."""
    return Template.of(
        template,
        **shape_fields(template.spec),
        parents=Parents(image=template.spec.image_id, builder=template.builder),
        age_seconds=round(max(0.0, (now - template.created_at).total_seconds()), 3),
        error=None
        if template.fault is None
        else TemplateError.of(template.fault, evidence=sorted(evidence), cluster=template.failed_cluster),
    )
