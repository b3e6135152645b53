"""How people log in to a server, over HTTP. Responses."""

from __future__ import annotations

from pydantic import Field

from dayfly.schemas.base import ResponseModel


class LoginIssuer(ResponseModel):
    """An OIDC issuer with the device flow (RFC 8628)."""

    name: str = Field(description="For `dayfly login --oidc NAME`.")
    url: str = Field(description="Its discovery document is below this URL.")
    client_id: str = Field(description="Of Dayfly, at the issuer.")
    scopes: tuple[str, ...] = Field(description="What is asked of the issuer.")


class LoginOptions(ResponseModel):
    issuers: tuple[LoginIssuer, ...]
