"""/v1/teams: whose clusters, templates, pools and tokens are. Not here: what a team has."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Response

from dayfly.api.dependencies import Services
from dayfly.api.etags import DESCRIBED, IfMatch, required, tagged, team_tag
from dayfly.api.idempotency import KeyHeader, key_of, replayed
from dayfly.api.principals import Caller
from dayfly.domain.security import team as domain
from dayfly.errors import NotFound
from dayfly.schemas.access import Team, TeamChangeRequest, TeamList, TeamRequest
from dayfly.store import CarriedOut

router: Final = APIRouter(prefix="/v1/teams", tags=["access control"])

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


async def _team(
    services: Services, caller: Caller, team: Annotated[str, Path(description="A team's name or id.")]
) -> domain.Team:
    if not _NAME.fullmatch(team):
        raise NotFound("no team has this name: it is not a valid name")
    return await services.store.teams.get(team, caller.scope)


TheTeam = Annotated[domain.Team, Depends(_team)]


@router.post(
    "",
    operation_id="createTeam",
    status_code=201,
    responses={
        201: {"headers": {"Location": {"description": "The team's path.", "schema": {"type": "string"}}}},
    },
)
async def create_team(
    wanted: TeamRequest, response: Response, services: Services, caller: Caller, idempotency_key: KeyHeader = None
) -> Team:
    """Create a team. Its first token: `POST /v1/tokens` with its name and the role `admin`."""
    try:
        key = key_of(idempotency_key, wanted, caller)
        made = await services.store.teams.create(wanted.name, wanted.description, key)
    except CarriedOut as first:
        made = await replayed(response, services.store.teams.get(str(first.use.resource_id)))
    response.headers["Location"] = f"/v1/teams/{made.name}"
    return Team.of(made)


@router.get("", operation_id="listTeams")
async def list_teams(services: Services, caller: Caller) -> TeamList:
    """List teams, by name."""
    return TeamList(teams=tuple(map(Team.of, await services.store.teams.list(caller.scope))))


@router.get("/{team}", operation_id="getTeam", responses={200: {"headers": DESCRIBED}})
async def get_team(response: Response, team: TheTeam) -> Team:
    """Get a team."""
    tagged(response, team_tag(team))
    return Team.of(team)


@router.patch("/{team}", operation_id="changeTeam", responses={200: {"headers": DESCRIBED}})
async def change_team(
    wanted: TeamChangeRequest, response: Response, services: Services, team: TheTeam, if_match: IfMatch = None
) -> Team:
    """Change a team's description."""
    check = required(if_match, team_tag, "team")
    changed = await services.store.teams.describe(team.name, wanted.description, check)
    tagged(response, team_tag(changed))
    return Team.of(changed)


@router.delete("/{team}", operation_id="deleteTeam")
async def delete_team(services: Services, team: TheTeam) -> Team:
    """Delete a team that has nothing any more, with its tokens, webhooks and quota.

    409 while the team has clusters, pools, templates or unfinished bakes.
    """
    return Team.of(await services.store.teams.delete(team.name))
