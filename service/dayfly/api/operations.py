"""What each operation of the API needs: the only place that decides which role may do what.

Every route has an operation id, and every operation id an entry; check_operations() refuses to start otherwise. Which
objects a principal finds follows from its scope (domain/security/principal.py): those of its team, for an operator all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from dayfly.api.principals import principal_of
from dayfly.domain.security.principal import Role
from dayfly.errors import Forbidden


class Reach(Enum):
    """What an operation is about."""

    PUBLIC = "nothing of any team: it needs no proof of who the caller is"
    TEAM = "what the caller's team has; of an operator, what any team has"
    SHARED = "what all teams share"
    INSTALLATION = "the installation, and so all teams"


@dataclass(frozen=True)
class Operation:
    """`role`: the least role that may; None: anybody."""

    role: Role | None
    reach: Reach


_PUBLIC: Final = Operation(None, Reach.PUBLIC)
_READ: Final = Operation(Role.VIEWER, Reach.TEAM)
_USE: Final = Operation(Role.USER, Reach.TEAM)
_ADMINISTER: Final = Operation(Role.ADMIN, Reach.TEAM)
_READ_SHARED: Final = Operation(Role.VIEWER, Reach.SHARED)
_OPERATE: Final = Operation(Role.OPERATOR, Reach.INSTALLATION)

OPERATIONS: Final[dict[str, Operation]] = {
    "getHealth": _PUBLIC,
    "getReadiness": _PUBLIC,
    "getVersion": _PUBLIC,
    "getLoginOptions": _PUBLIC,
    "getMetrics": _READ,
    "getStatus": _READ,
    "whoami": _READ,
    "getUsage": _READ,
    "listAudit": _ADMINISTER,
    "createToken": _ADMINISTER,
    "listTokens": _ADMINISTER,
    "getToken": _ADMINISTER,
    "revokeToken": _ADMINISTER,
    "getQuota": _READ,
    "getDefaultQuota": _OPERATE,
    "setDefaultQuota": _OPERATE,
    "getTeamQuota": _OPERATE,
    "setTeamQuota": _OPERATE,
    "createWebhook": _ADMINISTER,
    "listWebhooks": _ADMINISTER,
    "getWebhook": _ADMINISTER,
    "changeWebhook": _ADMINISTER,
    "deleteWebhook": _ADMINISTER,
    "listWebhookDeliveries": _ADMINISTER,
    "getWebhookDelivery": _ADMINISTER,
    "testWebhook": _ADMINISTER,
    "redeliverWebhookDelivery": _ADMINISTER,
    "createTeam": _OPERATE,
    "listTeams": _OPERATE,
    "getTeam": _OPERATE,
    "changeTeam": _OPERATE,
    "deleteTeam": _OPERATE,
    "createCluster": _USE,
    "listClusters": _READ,
    "getCluster": _READ,
    "deleteCluster": _USE,
    "changeCluster": _USE,
    "sendHeartbeat": _USE,
    "resetCluster": _USE,
    "hibernateCluster": _USE,
    "resumeCluster": _USE,
    "createCheckpoint": _USE,
    "listCheckpoints": _READ,
    "getCheckpoint": _READ,
    "deleteCheckpoint": _USE,
    # These two give root in the cluster.
    "getKubeconfig": _USE,
    "getNodeSsh": _USE,
    "getRegistry": _READ,
    "listPorts": _READ,
    "listNodes": _READ,
    "getNodeConsole": _READ,
    "getEvidence": _READ,
    "getDiagnostics": _READ,
    "listEvents": _READ,
    "listAllEvents": _READ,
    "createTemplate": _USE,
    "listTemplates": _READ,
    "getTemplate": _READ,
    "deleteTemplate": _USE,
    "createPool": _USE,
    "listPools": _READ,
    "getPool": _READ,
    "changePool": _USE,
    "deletePool": _USE,
    "listAddons": _READ_SHARED,
    # The image of a bake is every team's: its name may be that of an image that other teams use.
    "createBake": _OPERATE,
    "listBakes": _READ,
    "getBake": _READ,
    "listBakeEvents": _READ,
    "cancelBake": _USE,
    "listImages": _READ_SHARED,
    "getImage": _READ_SHARED,
    "promoteImage": _OPERATE,
    "rollbackImage": _OPERATE,
    "retireImage": _OPERATE,
    "listOrphans": _OPERATE,
    "removeOrphans": _OPERATE,
}


def check_operations(routes: Iterable[BaseRoute]) -> None:
    """Raises LookupError unless each route has one entry, and each entry a route."""
    found = {route.operation_id or route.path for route in routes if isinstance(route, APIRoute)}
    if missing := sorted(found - OPERATIONS.keys()):
        raise LookupError(f"api/operations.py does not say who may: {', '.join(missing)}")
    if unused := sorted(OPERATIONS.keys() - found):
        raise LookupError(f"api/operations.py has operations without a route: {', '.join(unused)}")


def public_paths(routes: Iterable[BaseRoute]) -> frozenset[str]:
    """The paths whose operations need no proof of who the caller is."""
    leaves = [route for route in routes if isinstance(route, APIRoute)]
    return frozenset(route.path for route in leaves if OPERATIONS[str(route.operation_id)].reach is Reach.PUBLIC)


async def authorize(request: Request) -> None:
    """Whether the caller's role may do what the request asks for. Raises Forbidden."""
    operation_id: str = request.scope["route"].operation_id
    needed = OPERATIONS[operation_id].role
    if needed is None:
        return
    principal = principal_of(request)
    if not principal.role.includes(needed):
        raise Forbidden(f"{operation_id} needs the role {needed}: yours is {principal.role}, of team {principal.team}")
