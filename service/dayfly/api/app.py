"""Assembles routes, problems and middleware. Not here: the services behind them (app.py)."""

from __future__ import annotations

import json
from typing import Any, Final

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi

from dayfly import __version__
from dayfly.api import addons, events, middleware, problems
from dayfly.api.access import routes_teams, routes_tokens, routes_whoami
from dayfly.api.bakes import routes as bakes
from dayfly.api.clusters import (
    routes,
    routes_access,
    routes_checkpoints,
    routes_diagnostics,
    routes_events,
    routes_lifecycle,
    routes_nodes,
    routes_update,
)
from dayfly.api.dependencies import ApiServices, Services
from dayfly.api.images import routes as images
from dayfly.api.links import add_links
from dayfly.api.openapi_parameters import without_null
from dayfly.api.operations import OPERATIONS, Reach, authorize, check_operations, public_paths
from dayfly.api.pools import routes as pools
from dayfly.api.principals import Caller
from dayfly.api.quotas import routes as quotas
from dayfly.api.request_metrics import register_routes
from dayfly.api.system import routes as system
from dayfly.api.system import routes_audit, routes_login, routes_metrics, routes_orphans, routes_status, routes_usage
from dayfly.api.templates import routes as templates
from dayfly.api.webhooks import calls, routes_deliveries
from dayfly.api.webhooks import routes as webhooks

_DESCRIPTION: Final = """\
Ephemeral Kubernetes clusters whose nodes are QEMU virtual machines in containers.

Create a cluster with `POST /v1/clusters`, wait with `GET /v1/clusters/{cluster}?wait=ready`, fetch
`/v1/clusters/{cluster}/kubeconfig`, and `DELETE` the cluster when done. `{cluster}` is an id or a name.

Every request that may change something is on record at `/v1/audit`, and what clusters had reserved at `/v1/usage`.

Every error is `application/problem+json` (RFC 9457) with a stable `code`. Times are in UTC; a field's name ends with
its unit. Every response has an `X-Request-Id`: the request's, or a new one. The header `Dayfly-Cluster` of a response
about a part of a cluster has the cluster's id and name.

A cluster is `pending`, with a `queue_position`, while the host has too few free resources. A cluster expires when its
time to live, which begins when the cluster is first ready, has passed, or when a heartbeat is missing. An expired
cluster is deleted; a `hold` keeps an expired or failed cluster for inspection.

If the owner has a template of the cluster's shape, the cluster is a fork of the template and ready in seconds. A ready
cluster can be reset to its first ready state or to a checkpoint, hibernated and resumed. A pool keeps paused forks: a
matching `POST /v1/clusters` takes one, which is ready sooner than a fork.

`POST /v1/images` has the server bake a node image, if its operator allows that: wait with `GET
/v1/bakes/{bake}?wait=ended`; `/v1/bakes/{bake}/events` is the log.

A name of node images (`k8s-debian`) stands for the image that was promoted last, and before the first promotion for
the one that was baked or pulled last. A cluster is of one image, its `image_id`, whatever is promoted later.

A team has a quota (`GET /v1/quota`). A request beyond it is refused (`quota_exceeded`): the problem has the limit, what
is used, and by what.

A team's webhooks (`POST /v1/webhooks`) are called when its clusters are ready, failed, expiring, hibernated or
deleted. The section `webhooks` has the calls.

A failed cluster has an `error` with a code and the names of its `evidence`, texts at
`/v1/clusters/{cluster}/evidence/{name}`. The server keeps records, events and evidence of a deleted cluster, under its
id, for a configured time; `/v1/clusters/{cluster}/diagnostics` has all of them in one file.
"""
_ROUTES: Final = (
    routes,
    routes_update,
    routes_lifecycle,
    routes_checkpoints,
    routes_access,
    routes_diagnostics,
    routes_nodes,
    routes_events,
    events,
    templates,
    pools,
    addons,
    bakes,
    images,
    routes_whoami,
    routes_tokens,
    routes_teams,
    quotas,
    webhooks,
    routes_deliveries,
    routes_orphans,
    routes_login,
    routes_status,
    routes_usage,
    routes_audit,
    routes_metrics,
    system,
)
_UNCOUNTED: Final = (routes_metrics.router, routes_login.router, system.router)
"""Those without a principal, and metrics, which machines ask for that watch the service."""
_PROBLEMS: Final = {
    400: "`malformed_json`",
    401: "`unauthenticated`",
    403: "`foreign_origin`, `forbidden`, `no_rule_matches`, `over_bounds`, `isolation_required`",
    404: "`not_found`, `no_kubernetes`",
    408: "`body_too_slow`",
    409: "`name_taken`, `not_ready`, `conflict`, `idempotency_key_reused`, `bakes_off`, `bake_queue_full`, "
    "`webhook_limit`, `webhook_disabled`, `quota_exceeded`",
    412: "`precondition_failed`",
    413: "`body_too_large`",
    414: "`uri_too_long`",
    415: "`unsupported_media_type`",
    421: "`host_not_allowed`",
    422: "`invalid_request`, `bad_name`, `image_missing`, `image_retired`, `not_a_node_image`, `impossible_size`, "
    "`capacity`, `too_many_nodes`",
    429: "`rate_limited`, `long_polls_exceeded`: the header Retry-After has the seconds to wait",
    500: "`internal`",
    502: "`engine_refused` and other failures of the engine",
    503: "`engine_unavailable`, `database_unavailable`, `shutting_down`, "
    "`too_many_connections`, `too_many_waits`, `too_many_streams`, `unready`",
}
_SECURITY: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API token (`POST /v1/tokens`), or a token of an OIDC issuer (`GET /v1/login`).",
}
_ALWAYS: Final = {403, 408, 413, 414, 415, 421, 422, 500, 503}
"""Of all operations: the checks before a route refuse requests with these (request_checks.py), a stop and a defect."""
_ASK_THE_ENGINE: Final = {
    ("get", "/v1/clusters/{cluster}/nodes/{node}/console"),
    *(("post", f"/v1/{kind}") for kind in ("clusters", "templates", "pools")),
}
"""And fail with it, as those of images and orphans do."""


async def _count(services: Services, caller: Caller) -> None:
    await services.rates.count(caller.name, services.clock)


def create_api(services: ApiServices) -> FastAPI:
    app = bare_app()
    app.state.services = services
    routes = [route for module in _ROUTES for route in module.router.routes]
    register_routes(routes)
    middleware.install(
        app,
        services.allowed_hosts,
        services.closing,
        body_seconds=services.settings.body_timeout_seconds,
        authentication=services.authentication,
        public=public_paths(routes) | {str(app.openapi_url)},
    )
    return app


def bare_app() -> FastAPI:
    """Routes and problems without services: enough for the OpenAPI document."""
    app = FastAPI(
        title="Dayfly",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url="/openapi.json",
        docs_url=None,  # the page loads scripts from another origin
        redoc_url=None,
        redirect_slashes=False,
    )
    routers = [module.router for module in _ROUTES]
    routes = [route for router in routers for route in router.routes]
    check_operations(routes)
    for router in routers:
        # A request that is refused counts, too.
        counted = () if router in _UNCOUNTED else (Depends(_count),)
        app.include_router(router, dependencies=[*counted, Depends(authorize)])
    problems.install(app, routes)
    app.webhooks.include_router(calls.router)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def document() -> str:
    """The OpenAPI document as text, with sorted keys for small diffs. A test compares openapi.json."""
    return json.dumps(bare_app().openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with problems in place of FastAPI's own errors."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            webhooks=app.webhooks.routes,
        )
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs"))
        schemas["Problem"] = problem
        document["components"]["schemas"] = dict(sorted(schemas.items()))
        document["components"]["securitySchemes"] = {"token": _SECURITY}
        for methods in document["webhooks"].values():
            for operation in methods.values():
                operation["responses"].pop("422", None)  # receivers answer as they like
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                _add_problems(path, method, operation)
        without_null(document)
        add_links(document)
        app.openapi_schema = document
    return app.openapi_schema


def _add_problems(path: str, method: str, operation: dict[str, Any]) -> None:
    statuses = set(_ALWAYS)
    if OPERATIONS[operation["operationId"]].reach is not Reach.PUBLIC:
        statuses |= {401} if path == "/metrics" else {401, 429}
        # A unix socket names its peer, and callers of the host may need no token (DAYFLY_LOOPBACK_IS_OPERATOR).
        operation["security"] = [{"token": []}, {}]
    if "{" in path or method == "post":
        statuses.add(404)  # a POST: of what a repeated request made and another deleted; of a bake's recipe
    if method in {"post", "patch", "put"}:
        statuses.add(400)
    if method in {"post", "patch"}:
        statuses.add(409)
    if method == "patch":
        statuses.add(412)
    if path.endswith(("/kubeconfig", "/registry", "/ssh", "/ports", "/console")) or (
        method == "delete" and ("/checkpoints/" in path or path.startswith("/v1/teams"))
    ):
        statuses.add(409)
    if path.startswith(("/v1/images", "/v1/orphans")) or (method, path) in _ASK_THE_ENGINE:
        statuses.add(502)
    reference = {"schema": {"$ref": "#/components/schemas/Problem"}}
    responses = operation["responses"]
    for status in statuses:
        responses[str(status)] = {"description": _PROBLEMS[status], "content": {problems.MEDIA_TYPE: reference}}
    operation["responses"] = dict(sorted(responses.items()))
