"""Requests about templates, as values."""

from __future__ import annotations

from urllib.parse import quote

from dayfly.client.operations.call import Call, model
from dayfly.client.request_models import ShapeRequest
from dayfly.client.template_models import Template, TemplateList


def create_template(request: ShapeRequest) -> Call[Template]:
    return Call("POST", "/v1/templates", model(Template), json=request.body())


def templates(owner: str | None, *, retired: bool) -> Call[tuple[Template, ...]]:
    parse = model(TemplateList)
    return Call("GET", "/v1/templates", lambda r: parse(r).templates, {"owner": owner, "retired": retired})


def template(template_id: str) -> Call[Template]:
    return Call("GET", f"/v1/templates/{quote(template_id, safe='')}", model(Template))


def delete_template(template_id: str) -> Call[Template]:
    return Call("DELETE", f"/v1/templates/{quote(template_id, safe='')}", model(Template))
