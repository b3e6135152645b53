"""How people log in: the OIDC issuers that they can use. Callers read it before they have a token."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from dayfly.api.dependencies import Services
from dayfly.schemas.login import LoginIssuer, LoginOptions

router: Final = APIRouter(tags=["system"])


@router.get("/v1/login", operation_id="getLoginOptions")
async def get_login_options(services: Services) -> LoginOptions:
    """The OIDC issuers by whose device flow people log in; their tokens are bearer tokens of this API."""
    known = [issuer for issuer in services.login_issuers() if issuer.client_id is not None]
    return LoginOptions(issuers=tuple(LoginIssuer.of(issuer) for issuer in known))
