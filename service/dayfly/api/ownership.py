"""The owner of what a request creates: a team. Not here: what a caller finds (its principal's scope)."""

from __future__ import annotations

from typing import TypeVar

from dayfly.api.dependencies import ApiServices
from dayfly.domain.security.principal import Principal
from dayfly.errors import Forbidden, InvalidRequest, NotFound
from dayfly.schemas.bakes import BakeRequest
from dayfly.schemas.cluster_requests import ClusterRequest
from dayfly.schemas.pools import PoolRequest
from dayfly.schemas.templates import TemplateRequest

R = TypeVar("R", ClusterRequest, TemplateRequest, PoolRequest, BakeRequest)


async def owned(wanted: R, caller: Principal, services: ApiServices) -> R:
    """The request with its owner: the caller's team, unless an operator names another team.

    Raises Forbidden, whether or not a team has that name; InvalidRequest for an operator's unknown team.
    """
    if "owner" not in wanted.model_fields_set or wanted.owner == caller.team:
        return wanted.model_copy(update={"owner": caller.team})
    if not caller.scope.includes(wanted.owner):
        raise Forbidden(f"owner: your team is {caller.team}; only an operator may name another")
    try:
        await services.store.teams.named(wanted.owner)
    except NotFound as error:
        raise InvalidRequest(f"owner: there is no team {wanted.owner}") from error
    return wanted
