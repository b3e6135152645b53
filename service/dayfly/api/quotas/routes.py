"""/v1/quota, the caller's team's, and /v1/quotas, which operators set. Not here: checks (store/quota_checks.py)."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path

from dayfly.api.dependencies import ApiServices, Services
from dayfly.api.principals import Caller
from dayfly.domain import quota as domain
from dayfly.schemas.cluster_requests import MAX_OWNER, OWNER
from dayfly.schemas.quotas import DefaultQuota, Quota, QuotaLimits, QuotaRequest, QuotaUse

router: Final = APIRouter(tags=["quotas"])

Team = Annotated[str, Path(max_length=MAX_OWNER, pattern=OWNER, description="A team's name.")]


@router.get("/v1/quota", operation_id="getQuota")
async def get_quota(services: Services, caller: Caller) -> Quota:
    """What the caller's team may have, and has."""
    return await _show(services, caller.team)


@router.get("/v1/quotas", operation_id="getDefaultQuota")
async def get_default(services: Services) -> DefaultQuota:
    """What teams may have that have no quota of their own."""
    given = (await services.store.quotas.given()).get(domain.DEFAULT)
    return _show_default(domain.quota_of(None, given))


@router.put("/v1/quotas", operation_id="setDefaultQuota")
async def set_default(wanted: QuotaRequest, services: Services) -> DefaultQuota:
    """Set what teams may have that have no quota of their own. Omitted limits are none."""
    given = _given(wanted)
    await services.store.quotas.set(given)
    return _show_default(domain.quota_of(None, given))


@router.get("/v1/quotas/{team}", operation_id="getTeamQuota")
async def get_team(services: Services, team: Team) -> Quota:
    """What a team may have, and has."""
    return await _show(services, team)


@router.put("/v1/quotas/{team}", operation_id="setTeamQuota")
async def set_team(wanted: QuotaRequest, services: Services, team: Team) -> Quota:
    """Set a team's quota; `{}`: the default. What the team has already beyond a limit, it keeps."""
    await services.store.quotas.set(_given(wanted), team)
    return await _show(services, team)


def _given(wanted: QuotaRequest) -> domain.Given:
    limits = wanted.model_dump(include=wanted.model_fields_set & set(domain.NAMES))
    return domain.Given(limits, wanted.weight, wanted.isolation)


async def _show(services: ApiServices, team: str) -> Quota:
    quota, used = await services.store.quotas.of(team), await services.store.quotas.used(team)
    use = QuotaUse(**used, long_polls=services.held_of_teams.used(team))
    return Quota(team=team, limits=_limits(quota), weight=quota.weight, isolation=quota.isolation, used=use)


def _show_default(quota: domain.Quota) -> DefaultQuota:
    return DefaultQuota(limits=_limits(quota), weight=quota.weight, isolation=quota.isolation)


def _limits(quota: domain.Quota) -> QuotaLimits:
    return QuotaLimits(**{name: quota.limits.get(name) for name in domain.NAMES})
