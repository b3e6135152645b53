"""An API whose callers need tokens, with two teams: what both have, and callers of all kinds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import update

from dayfly.api.authentication import Authentication
from dayfly.api.token_authentication import TokenAuthenticator
from dayfly.clock import SystemClock
from dayfly.domain.bake import BakeOrder
from dayfly.domain.checkpoint import CheckpointPhase
from dayfly.domain.security.principal import Role
from dayfly.store import NewPool, NewToken, NewWebhook, Store
from dayfly.store.db.access_tables import tokens
from dayfly.vocabulary import TokenKind, WebhookEvent
from tests.support.api import ApiHttp, Infrastructure, Worker
from tests.support.specs import make_spec

OURS, THEIRS = "ours", "theirs"
ROLES = tuple(Role)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def token_of(store: Store, team: str, role: Role, **fields: Any) -> str:
    """The text of a new token."""
    new = NewToken(team, "test", TokenKind.SERVICE, role, "", "token:test", **fields)
    return (await store.tokens.create(new))[1]


@dataclass
class Installation:
    """`ids`: of what `ours` has, by the name of the path parameter that means it."""

    store: Store
    http: httpx.AsyncClient
    authenticator: TokenAuthenticator
    ids: dict[str, str] = field(default_factory=dict)

    async def headers(self, caller: str) -> dict[str, str]:
        """Of a caller: `nobody`, `malformed`, …, `their user`, a role of ours, `operator`."""
        if caller == "nobody":
            return {}
        if caller in {"malformed", "unknown", "other scheme"}:
            text = {"malformed": "dfly_short", "unknown": f"dfly_{'0' * 12}_{'1' * 64}", "other scheme": "x"}[caller]
            return {"Authorization": "Basic eDp5"} if caller == "other scheme" else bearer(text)
        if caller == "wrong secret":
            text = await token_of(self.store, OURS, Role.OPERATOR)
            return bearer(f"{text[:-1]}{'0' if text[-1] != '0' else '1'}")
        if caller == "expired":
            text = await token_of(self.store, OURS, Role.OPERATOR, expires_in_seconds=60)
            async with self.store._database.write() as transaction:
                past = transaction.now - timedelta(seconds=1)
                await transaction.execute(
                    update(tokens).where(tokens.c.expires_at.is_not(None)).values(expires_at=past)
                )
            return bearer(text)
        if caller == "revoked":
            text = await token_of(self.store, OURS, Role.OPERATOR)
            await self.store.tokens.revoke(text.split("_")[1])
            return bearer(text)
        team, _, role = caller.rpartition(" ")
        return bearer(await token_of(self.store, THEIRS if team == "their" else OURS, Role(role)))


@asynccontextmanager
async def installation(store: Store, infrastructure: Infrastructure, **options: Any) -> AsyncIterator[Installation]:
    """With both teams; make_belongings() gives `ours` something."""
    for name in (OURS, THEIRS):
        await store.teams.create(name, "")
    authenticator = TokenAuthenticator(store, SystemClock())
    authentication = Authentication(authenticators=(authenticator,), own_uid=1000, **options)
    services = infrastructure.services(store, authentication=authentication)
    async with ApiHttp(services) as http:
        yield Installation(store, http, authenticator)
        await authenticator.settle()


async def make_belongings(store: Store, worker: Worker, ids: dict[str, str], client: httpx.AsyncClient) -> None:
    """Of the team `ours`: ready clusters, a failed one, a checkpoint, template, pool, bake, webhook and token."""
    user = bearer(await token_of(store, OURS, Role.USER))
    names = ("demo", "reset", "hibernate", "resume", "snapshot", "delete")
    for name in names:
        body = {"name": name, "image": "k8s", "heartbeat_interval_seconds": 3600}
        assert (await client.post("/v1/clusters", json=body, headers=user)).status_code == 202
        ids[name] = (await worker.make()).id
    assert (await client.post("/v1/clusters", json={"name": "broken", "image": "bare"}, headers=user)).is_success
    await worker.fail({"console": "Kernel panic"})
    await store.checkpoints.create(ids["demo"], "kept")
    await worker.tend()
    assert [one.phase for one in await store.checkpoints.list(ids["demo"])] == [CheckpointPhase.READY]
    ids["template"] = (await store.templates.create(make_spec(), OURS, "key"))[0].id
    ids["pool"] = (await store.pools.create(NewPool("warm", OURS, make_spec(), 1, 1))).id
    ids["bake"] = (await store.bakes.create(BakeOrder("bare"), OURS)).id
    webhook = await store.webhooks.create(NewWebhook(OURS, "https://hooks.example/", (WebhookEvent.READY,), "whsec_a"))
    ids["webhook"], ids["delivery"] = webhook.id, (await store.webhooks.test(webhook.id, OURS)).id
    ids["token"] = (await token_of(store, OURS, Role.VIEWER)).split("_")[1]
