"""Teams, tokens and principals over HTTP: requests and responses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from dayfly.schemas.base import ChangeRequestModel, Id, Open, RequestModel, ResponseModel
from dayfly.schemas.cluster_requests import MAX_OWNER, OWNER
from dayfly.schemas.json_schemas import ON_ONE_LINE
from dayfly.schemas.texts import is_line
from dayfly.vocabulary import RoleName, TokenKind

MAX_DESCRIPTION: Final = 200
_LONGEST_SECONDS: Final = 10 * 366 * 24 * 3600


def _check_description(text: str) -> str:
    if not is_line(text):
        raise ValueError("a description is printable, on one line")
    return text


Description = Annotated[
    str,
    Field(
        max_length=MAX_DESCRIPTION,
        description="For people; printable, on one line.",
        json_schema_extra=ON_ONE_LINE,
    ),
    AfterValidator(_check_description),
]


class TokenRequest(RequestModel):
    """A token as a caller asks for it."""

    name: str = Field(
        max_length=63,
        pattern=r"^[a-z0-9]([a-z0-9._@-]*[a-z0-9])?$",
        description="The service account or the person that gets the token. Several tokens may have one name.",
        examples=["ci"],
    )
    kind: TokenKind = Field(
        default=TokenKind.SERVICE, strict=False, description="Whether a program or a person has the token."
    )
    role: RoleName = Field(
        default="user",
        description="What the token's holder may do, at most what its creator may. `viewer`: read, without secrets; "
        "`user`: create, change and delete; `admin`: also administer the team's tokens; `operator`: everything, of "
        "all teams.",
    )
    team: str | None = Field(
        default=None,
        max_length=MAX_OWNER,
        pattern=OWNER,
        description="The token's team. Default: the caller's. Only an operator may name another.",
    )
    description: Description = ""
    expires_in_seconds: int | None = Field(
        default=None, ge=60, le=_LONGEST_SECONDS, description="How long the token is valid. Default: until revoked."
    )


class Token(ResponseModel):
    """What is known of a token; not its secret."""

    id: Id
    team: str
    name: str
    kind: Open[TokenKind]
    role: Open[RoleName]
    description: str
    created_at: datetime
    created_by: str = Field(description="The principal that created the token, such as `token:0123456789ab`.")
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="Written at most once a minute.")


class NewToken(Token):
    """A new token, with its text."""

    token: str = Field(description="The token: `dfly_<id>_<secret>`. It is shown in this response and never again.")


class TokenList(ResponseModel):
    tokens: tuple[Token, ...]


class TeamRequest(RequestModel):
    """A team as an operator asks for it."""

    name: str = Field(
        max_length=MAX_OWNER, pattern=OWNER, description="The `owner` of what the team will have; it never changes."
    )
    description: Description = ""


class TeamChangeRequest(ChangeRequestModel):
    description: Description = ""


class Team(ResponseModel):
    id: Id
    name: str
    description: str
    created_at: datetime


class TeamList(ResponseModel):
    teams: tuple[Team, ...]


class Whoami(ResponseModel):
    """The caller, as the server knows it."""

    principal: str = Field(
        description="`token:<id>`, `uid:<number>` on a unix socket, `loopback` where callers of the host "
        "need no token, `oidc:<issuer>:<subject>`."
    )
    team: str
    role: Open[RoleName]
