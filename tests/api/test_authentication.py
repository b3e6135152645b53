"""Who a caller is, and that what another team owns does not exist for it. Roles: test_authorization.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from structlog.testing import capture_logs

from dayfly.api.authentication import MAX_BEARER, PEER_UID, RECHECK, Authentication
from dayfly.api.long_poll import StreamCut, while_proven
from dayfly.api.token_authentication import TRUST_SECONDS, TokenAuthenticator
from dayfly.domain.security.principal import Bounds, Principal, Role
from dayfly.errors import DatabaseUnavailable, Unauthenticated
from dayfly.store import Store
from tests.api.access import OURS, THEIRS, Installation, bearer, installation, token_of
from tests.api.test_bad_input import check_problem
from tests.support.acting_as import ActingAs
from tests.support.api import Infrastructure, Worker
from tests.support.clock import FakeClock
from tests.support.event_streams import STREAM, Frame, OpenStream, open_stream


@pytest.fixture
async def made(store: Store, infrastructure: Infrastructure) -> AsyncIterator[Installation]:
    async with installation(store, infrastructure) as found:
        yield found


async def create(made: Installation, headers: dict[str, str], **body: Any) -> httpx.Response:
    return await made.http.post("/v1/clusters", json={"image": "bare", **body}, headers=headers)


def scope(*headers: tuple[str, str], client: str = "10.0.0.1", **state: Any) -> dict[str, Any]:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    return {"type": "http", "headers": raw, "client": (client, 1), "state": dict(state)}


async def principal_of(authentication: Authentication, request: dict[str, Any]) -> Principal:
    await authentication.identify(request)
    found: Principal = request["state"]["principal"]
    return found


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer  ")],
        [("Authorization", "Basic eDp5")],
        [("Authorization", f"Bearer {'x' * (MAX_BEARER + 1)}")],
        [("Authorization", "Bearer x"), ("Authorization", "Bearer y")],
        [("Authorization", "Bearer x")],
        [],
    ],
)
async def test_what_proves_nothing(headers: list[tuple[str, str]]) -> None:
    trusting = Authentication(own_uid=1000, loopback_is_operator=True)
    with pytest.raises(Unauthenticated):
        await trusting.identify(scope(*headers))


@pytest.mark.parametrize(("uid", "is_operator"), [(0, True), (1000, True), (1001, False)])
async def test_the_peer_of_a_unix_socket(uid: int, is_operator: bool) -> None:
    authentication = Authentication(own_uid=1000, loopback_is_operator=True)
    request = scope(client="127.0.0.1", **{PEER_UID: uid})
    if is_operator:
        assert await principal_of(authentication, request) == Principal(f"uid:{uid}", "default", Role.OPERATOR)
    else:
        with pytest.raises(Unauthenticated):
            await authentication.identify(request)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1"])
async def test_loopback_is_an_operator_by_a_setting_alone(address: str) -> None:
    trusting = Authentication(loopback_is_operator=True)
    assert (await principal_of(trusting, scope(client=address))).role is Role.OPERATOR
    proxied = [("X-Forwarded-For", "10.0.0.1")], [("Forwarded", "for=10.0.0.1")], [("Via", "1.1 x")]
    for headers in proxied:
        with pytest.raises(Unauthenticated):
            await trusting.identify(scope(*headers, client=address))
    with pytest.raises(Unauthenticated):
        await Authentication().identify(scope(client=address))


async def test_authenticators_are_asked_in_their_order() -> None:
    class Known:
        def __init__(self, bearer: str) -> None:
            self.bearer = bearer

        async def authenticate(self, bearer: str) -> Principal | None:
            return Principal(f"x:{bearer}", "default", Role.USER) if bearer == self.bearer else None

    authentication = Authentication(authenticators=(Known("a"), Known("b")))
    assert (await principal_of(authentication, scope(("Authorization", "bearer b")))).name == "x:b"
    with pytest.raises(Unauthenticated):
        await authentication.identify(scope(("Authorization", "Bearer c")))


async def test_a_body_is_not_read_before_the_caller_is_known(made: Installation) -> None:
    answer = await made.http.post("/v1/clusters", content=b"{not json", headers={"Content-Type": "text/plain"})
    check_problem(answer, 401, "unauthenticated")
    check_problem(await made.http.get("/v1/nothing"), 401, "unauthenticated")
    assert (await made.http.get("/openapi.json")).status_code == 200


async def test_an_outage_is_no_refusal(made: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = await made.headers("our user")

    async def away(token_id: str) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(made.store.tokens, "find", away)
    check_problem(await made.http.get("/v1/whoami", headers=headers), 503, "database_unavailable")


async def test_whoami_and_last_use(made: Installation) -> None:
    text = await token_of(made.store, OURS, Role.VIEWER)
    token_id = text.split("_")[1]
    answer = await made.http.get("/v1/whoami", headers=bearer(text))
    assert answer.json() == {"principal": f"token:{token_id}", "team": OURS, "role": "viewer"}
    await made.authenticator.settle()
    used = (await made.store.tokens.get(token_id)).last_used_at
    assert used is not None
    assert abs((datetime.now(UTC) - used).total_seconds()) < 60


async def test_tokens_over_http(made: Installation) -> None:
    admin, user = await made.headers("our admin"), await made.headers("our user")
    body = {"name": "ci", "role": "user", "description": "for jobs", "expires_in_seconds": 3600}
    answer = await made.http.post("/v1/tokens", json=body, headers={**admin, "Idempotency-Key": "k"})
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    token = answer.json()
    text = token.pop("token")
    assert text.startswith(f"dfly_{token['id']}_")
    assert (token["team"], token["role"], token["kind"]) == (OURS, "user", "service")
    again = await made.http.post("/v1/tokens", json=body, headers={**admin, "Idempotency-Key": "k"})
    check_problem(again, 409, "conflict")
    assert token["id"] in again.json()["detail"]
    assert text not in again.text
    listed = await made.http.get("/v1/tokens", headers=admin)
    assert token in [{**one, "last_used_at": None} for one in listed.json()["tokens"]]
    assert text not in listed.text
    assert (await made.http.get("/v1/whoami", headers=bearer(text))).status_code == 200
    check_problem(await made.http.get("/v1/tokens", headers=user), 403, "forbidden")
    revoked = await made.http.delete(f"/v1/tokens/{token['id']}", headers=admin)
    assert revoked.json()["revoked_at"] is not None
    refused = await made.http.get("/v1/whoami", headers=bearer(text))
    check_problem(refused, 401, "unauthenticated")
    assert "revoked" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("caller", "body", "status"),
    [
        ("our admin", {"role": "operator"}, 403),
        ("our admin", {"team": THEIRS}, 403),
        ("our admin", {"team": "nobody"}, 403),
        ("our admin", {"role": "admin"}, 201),
        ("our operator", {"role": "operator", "team": THEIRS}, 201),
        ("our operator", {"team": "nobody"}, 422),
        ("our operator", {"name": "", "role": "user"}, 422),
        ("our operator", {"description": "two\nlines"}, 422),
    ],
)
async def test_a_token_has_at_most_its_creators_rights(
    made: Installation, caller: str, body: dict[str, Any], status: int
) -> None:
    answer = await made.http.post("/v1/tokens", json={"name": "x", **body}, headers=await made.headers(caller))
    assert answer.status_code == status, answer.text


async def test_an_admin_revokes_no_operator(made: Installation) -> None:
    """The operator's first token belongs to a team like any other."""
    admin = await made.headers("our admin")
    for role, status in ((Role.OPERATOR, 403), (Role.ADMIN, 200)):
        token_id = (await token_of(made.store, OURS, role)).split("_")[1]
        assert (await made.http.delete(f"/v1/tokens/{token_id}", headers=admin)).status_code == status
        assert ((await made.store.tokens.get(token_id)).revoked_at is None) is (status == 403)


async def test_a_token_with_bounds_makes_none_without(store: Store, infrastructure: Infrastructure) -> None:
    bounded = Principal("oidc:ci:me", "default", Role.ADMIN, Bounds(max_nodes=1))
    async with ActingAs(infrastructure.services(store), bounded) as http:
        check_problem(await http.post("/v1/tokens", json={"name": "free", "role": "user"}), 403, "over_bounds")
    assert await store.tokens.list() == ()


async def test_teams_over_http(made: Installation) -> None:
    operator = await made.headers("our operator")
    key = {**operator, "Idempotency-Key": "k"}
    first, again = [await made.http.post("/v1/teams", json={"name": "new"}, headers=key) for _ in range(2)]
    assert (first.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, first.json(), "true")
    answer = await made.http.get("/v1/teams/new", headers=operator)
    stale = {**operator, "If-Match": '"0"'}
    check_problem(
        await made.http.patch("/v1/teams/new", json={"description": "x"}, headers=stale), 412, "precondition_failed"
    )
    fresh = {**operator, "If-Match": answer.headers["etag"]}
    changed = await made.http.patch("/v1/teams/new", json={"description": "x"}, headers=fresh)
    assert changed.json()["description"] == "x"
    names = [team["name"] for team in (await made.http.get("/v1/teams", headers=operator)).json()["teams"]]
    assert names == ["default", "new", OURS, THEIRS]
    check_problem(await made.http.post("/v1/teams", json={"name": OURS}, headers=operator), 409, "name_taken")
    assert (await made.http.delete("/v1/teams/new", headers=operator)).status_code == 200
    check_problem(await made.http.get("/v1/teams/new", headers=operator), 404, "not_found")
    check_problem(await made.http.get("/v1/teams/NEW!", headers=operator), 404, "not_found")


async def test_names_and_keys_are_a_teams_own(made: Installation) -> None:
    ours, theirs, other = [await made.headers(one) for one in ("our user", "their user", "our admin")]
    mine, yours = [await create(made, who | {"Idempotency-Key": "k"}, name="demo") for who in (ours, theirs)]
    assert (mine.json()["owner"], yours.json()["owner"]) == (OURS, THEIRS)
    assert mine.json()["id"] != yours.json()["id"]
    assert (await create(made, ours | {"Idempotency-Key": "k"}, name="demo")).json()["id"] == mine.json()["id"]
    # The key of another principal of the team is another key.
    check_problem(await create(made, other | {"Idempotency-Key": "k"}, name="demo"), 409, "name_taken")
    for who, own in ((ours, mine), (theirs, yours)):
        assert (await made.http.get("/v1/clusters/demo", headers=who)).json()["id"] == own.json()["id"]
    check_problem(await made.http.get(f"/v1/clusters/{yours.json()['id']}", headers=ours), 404, "not_found")
    check_problem(await create(made, ours, name="demo"), 409, "name_taken")
    operator = await made.headers("our operator")
    assert (await made.http.get("/v1/clusters/demo", headers=operator)).json()["id"] == mine.json()["id"]
    outside = bearer(await token_of(made.store, "default", Role.OPERATOR))
    ambiguous = await made.http.get("/v1/clusters/demo", headers=outside)
    check_problem(ambiguous, 404, "not_found")
    assert "several teams" in ambiguous.json()["detail"]


async def test_only_an_operator_names_another_owner(made: Installation) -> None:
    user, operator = await made.headers("our user"), await made.headers("our operator")
    assert (await create(made, user, owner=OURS)).status_code == 202
    for owner in (THEIRS, "default", "nobody"):
        check_problem(await create(made, user, owner=owner), 403, "forbidden")
    assert (await create(made, operator, owner=THEIRS)).json()["owner"] == THEIRS
    for owner in ("nobody", (await made.store.teams.get(THEIRS)).id):
        check_problem(await create(made, operator, owner=owner), 422, "invalid_request")


async def test_lists_numbers_and_metrics_are_of_the_team(made: Installation, worker: Worker) -> None:
    ours, theirs = await made.headers("our user"), await made.headers("their user")
    await create(made, theirs, name="hidden")
    await made.http.post("/v1/pools", json={"name": "hidden-pool", "image": "bare", "size": 1}, headers=theirs)
    await made.http.post("/v1/templates", json={"image": "bare"}, headers=theirs)
    await create(made, ours, name="shown")
    await worker.admit()
    seen = []
    for path in ("clusters", "pools", "templates", "bakes", "events?cluster=hidden", "clusters?owner=theirs"):
        answer = await made.http.get(f"/v1/{path}", headers=ours)
        assert answer.status_code == 200
        seen.append(answer.text)
    status = await made.http.get("/v1/status", headers=ours)
    assert status.json()["queue"]["waiting"] == 0
    assert [one["owner"] for one in status.json()["owners"]] == [OURS]
    assert set(status.json()["templates"].values()) == {0}
    seen += [status.text, (await made.http.get("/metrics", headers=ours)).text]
    for text in seen:
        assert "hidden" not in text
        assert THEIRS not in text
    assert f'dayfly_clusters{{owner="{OURS}",phase="provisioning"}}' in seen[-1]
    operator = await made.headers("our operator")
    everything = (await made.http.get("/metrics", headers=operator)).text
    assert f'dayfly_pool_members{{owner="{THEIRS}",pool="hidden-pool",state="ready"}} 0.0' in everything
    assert {one["name"] for one in (await made.http.get("/v1/clusters", headers=operator)).json()["clusters"]} == {
        "hidden",
        "shown",
    }


async def test_a_stream_shows_the_teams_events_until_its_token_is_revoked(made: Installation) -> None:
    text = await token_of(made.store, OURS, Role.VIEWER)
    ours, theirs = await made.headers("our user"), await made.headers("their user")
    app = made.http._transport.app  # type: ignore[attr-defined]
    async with open_stream(app, "/v1/events", STREAM | bearer(text)) as stream:
        await stream.frame()
        await create(made, theirs, name="hidden")
        await create(made, ours, name="shown")
        await made.store.admission.admit(lambda queue: queue.waiting)
        frame = await stream.frame()
        assert frame is not None
        assert '"cluster_name":"shown"' in str(frame.data)
        await made.store.tokens.revoke(text.split("_")[1])
        await create(made, ours, name="later")
        await made.store.admission.admit(lambda queue: queue.waiting)
        rest = [frame async for frame in _until_end(stream)]
    assert rest[-1].comment == "connect again"
    assert "later" not in str(rest)


async def _until_end(stream: OpenStream) -> AsyncIterator[Frame]:
    while (frame := await stream.frame()) is not None:
        yield frame


async def test_a_held_request_ends_with_its_token(made: Installation) -> None:
    text = await token_of(made.store, OURS, Role.VIEWER)
    cluster = (await create(made, await made.headers("our user"))).json()["id"]
    path = f"/v1/clusters/{cluster}?wait=ready&timeout=600"
    held = asyncio.ensure_future(made.http.get(path, headers=bearer(text)))
    await made.http.until_held()  # type: ignore[attr-defined]
    await made.store.tokens.revoke(text.split("_")[1])
    await made.store.admission.admit(lambda queue: queue.waiting)
    check_problem(await held, 401, "unauthenticated")


async def test_a_followed_console_breaks_off_with_its_token() -> None:
    valid = True

    async def recheck() -> None:
        if not valid:
            raise Unauthenticated("revoked")

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal valid
        yield b"first"
        valid = False
        yield b"second"

    proven = while_proven(Request({**scope(), "state": {RECHECK: recheck}}), chunks())
    assert await anext(proven) == b"first"
    with pytest.raises(StreamCut):
        await anext(proven)


async def test_a_verified_token_needs_no_query_for_a_moment(
    made: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    authenticator = TokenAuthenticator(made.store, clock)
    text = await token_of(made.store, OURS, Role.USER, expires_in_seconds=3600)
    asked: list[str] = []
    find = made.store.tokens.find

    async def counted(token_id: str) -> Any:
        asked.append(token_id)
        return await find(token_id)

    monkeypatch.setattr(made.store.tokens, "find", counted)
    for _ in range(3):
        assert await authenticator.authenticate(text) is not None
    assert len(asked) == 1
    with pytest.raises(Unauthenticated, match="not valid"):
        await authenticator.authenticate(f"{text[:-1]}{'0' if text[-1] != '0' else '1'}")
    clock.advance(TRUST_SECONDS + 1)
    await authenticator.authenticate(text)
    assert len(asked) == 3
    clock.advance(400 * 24 * 3600)
    with pytest.raises(Unauthenticated, match="expired"):
        await authenticator.authenticate(text)
    assert await authenticator.authenticate("eyJhbGciOiJub25lIn0.e30.") is None
    await authenticator.settle()


async def test_a_revocation_during_a_look_up_is_not_forgotten(
    made: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row was read before the revocation; another request has taken note of the revocation meanwhile."""
    text = await token_of(made.store, OURS, Role.USER)
    other = await token_of(made.store, OURS, Role.USER)
    find = made.store.tokens.find

    async def slow(token_id: str) -> Any:
        found = await find(token_id)
        monkeypatch.setattr(made.store.tokens, "find", find)
        await made.store.tokens.revoke(token_id)
        await made.authenticator.authenticate(other)
        return found

    monkeypatch.setattr(made.store.tokens, "find", slow)
    await made.authenticator.authenticate(text)
    with pytest.raises(Unauthenticated, match="revoked"):
        await made.authenticator.authenticate(text)


async def test_no_secret_of_a_token_is_logged(made: Installation) -> None:
    with capture_logs() as logged:
        text = await token_of(made.store, OURS, Role.USER)
        await made.http.get("/v1/clusters", headers=bearer(text))
        await made.http.get("/v1/clusters", headers=bearer(f"{text}x"))
        await made.authenticator.settle()
    assert text.rpartition("_")[2] not in str(logged)
