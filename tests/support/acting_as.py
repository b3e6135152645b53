"""An API whose callers have proved a principal, as the test says. Not here: how a principal is proved."""

from __future__ import annotations

from dataclasses import dataclass, replace

import httpx

from dayfly.api.app import create_api
from dayfly.api.authentication import Authentication
from dayfly.api.dependencies import ApiServices
from dayfly.domain.security.principal import Principal


@dataclass
class _Given:
    """The authenticator of a client: any token is that of its principal."""

    client: ActingAs

    async def authenticate(self, _bearer: str) -> Principal | None:
        return self.client.principal


class ActingAs(httpx.AsyncClient):
    """httpx, straight into the application, with requests of `principal`; None: no principal is proved."""

    def __init__(self, services: ApiServices, principal: Principal | None = None) -> None:
        self.principal = principal
        authentication = Authentication(authenticators=(_Given(self),))
        app = create_api(replace(services, authentication=authentication))
        super().__init__(
            transport=httpx.ASGITransport(app),
            base_url="http://127.0.0.1:8700",
            headers={"Authorization": "Bearer any"},
        )
