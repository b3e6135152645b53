"""/v1/templates. Callers never choose a template; controllers/ decides which cluster is forked from which."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from dayfly.api.clusters.bounds import check_size
from dayfly.api.clusters.spec_resolver import resolve_shape
from dayfly.api.dependencies import ApiServices, Services, require_caller
from dayfly.api.etags import TEMPLATE_TAG, tagged, template_tag
from dayfly.api.idempotency import KeyHeader, key_of, replayed
from dayfly.api.ownership import owned
from dayfly.api.principals import Caller
from dayfly.api.templates.presenter import show_template
from dayfly.domain import template as domain
from dayfly.errors import NotFound
from dayfly.schemas.cluster_requests import MAX_OWNER, OWNER
from dayfly.schemas.templates import Template, TemplateList, TemplateRequest
from dayfly.store import CarriedOut
from dayfly.vocabulary import TemplatePhase

router: Final = APIRouter(prefix="/v1/templates", tags=["templates"])

_ID: Final = re.compile(r"[a-z0-9]{1,40}")


async def _template(
    services: Services, caller: Caller, template: Annotated[str, Path(description="A template's id.")]
) -> domain.Template:
    if not _ID.fullmatch(template):
        raise NotFound("no template has this id: it is not a valid id")
    return await services.store.templates.get(template, caller.scope)


TheTemplate = Annotated[domain.Template, Depends(_template)]


@router.post(
    "",
    operation_id="createTemplate",
    status_code=202,
    responses={
        200: {
            "description": "One of this shape and owner exists, or is being built.",
            "model": Template,
            "headers": {"Location": {"description": "The template's path.", "schema": {"type": "string"}}},
        },
        202: {
            "description": "Accepted: a cluster is created, its snapshot taken, and a first fork verifies it.",
            "headers": {"Location": {"description": "The template's path.", "schema": {"type": "string"}}},
        },
    },
)
async def create_template(
    request: Request,
    wanted: TemplateRequest,
    response: Response,
    services: Services,
    caller: Caller,
    idempotency_key: KeyHeader = None,
) -> Template:
    """Create a template. When the template is ready, new clusters of its shape and owner are forks, ready in seconds.

    Forks of one template share the cluster CA, the certificates that it signed for the nodes, and the kernels' boot
    ids. Each fork has its own SSH keys, machine ids and administrator's certificate. A cluster with `isolation: strict`
    is never a fork.
    """
    wanted = await owned(wanted, caller, services)
    request_key = key_of(idempotency_key, wanted, caller, wanted.owner)
    try:
        await services.store.idempotency_keys.require_new(request_key)
        spec = await services.lookups.bounded(resolve_shape(wanted, services))
        check_size(caller.bounds, spec)
        key = await services.lookups.bounded(services.template_key_of(spec, wanted.owner))
        await require_caller(request)
        template, created = await services.store.templates.create(spec, wanted.owner, key, request_key)
    except CarriedOut as first:
        template = await replayed(response, services.store.templates.get(str(first.use.resource_id)))
        created = template.created_at == first.use.at
    if not created:
        response.status_code = 200
    response.headers["Location"] = f"/v1/templates/{template.id}"
    return await _show(template, services)


@router.get("", operation_id="listTemplates")
async def list_templates(
    services: Services,
    caller: Caller,
    owner: Annotated[str | None, Query(max_length=MAX_OWNER, pattern=OWNER, description="Only this owner's.")] = None,
    retired: Annotated[bool, Query(description="Retired ones, too, of which only the record is left.")] = False,
) -> TemplateList:
    """Templates, newest first."""
    found = await services.store.templates.list(owner=owner, retired=retired, scope=caller.scope)
    now = services.clock.now()
    return TemplateList(templates=tuple(show_template(one, now) for one in found))


@router.get("/{template}", operation_id="getTemplate", responses={200: {"headers": TEMPLATE_TAG}})
async def get_template(response: Response, services: Services, template: TheTemplate) -> Template:
    """One template; a retired one while it is on record."""
    tagged(response, template_tag(template))
    return await _show(template, services)


@router.delete(
    "/{template}",
    operation_id="deleteTemplate",
    status_code=202,
    responses={200: {"description": "It is retired.", "model": Template}},
)
async def delete_template(services: Services, response: Response, template: TheTemplate) -> Template:
    """Retire a template: it serves no new forks. Its forks stay; when the last is deleted, it is `retired`."""
    template_now = await services.store.templates.retire(template.id)
    if template_now.phase is TemplatePhase.RETIRED:
        response.status_code = 200
    return await _show(template_now, services)


async def _show(template: domain.Template, services: ApiServices) -> Template:
    evidence = await services.store.clusters.evidence(template.failed_cluster) if template.failed_cluster else {}
    return show_template(template, services.clock.now(), evidence.keys())
