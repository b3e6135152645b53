"""Generated requests to a running service, from openapi.json: `python -m tests.fuzz` sends more of them."""

from __future__ import annotations

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.expected import is_refused_for_a_reason, stays_on_record
from tests.fuzz.run import Rounds, fuzz
from tests.fuzz.service import running_service


def test_no_request_shows_a_defect() -> None:
    with running_service() as service:
        result = fuzz(service, 400, seed=1, rounds=Rounds(examples=2, sequences=12, coverage=False))
    assert result.findings == {}
    assert result.cases.total() >= 400
    assert {f"{caller} {phase}" for caller in ("operator", "user") for phase in ("fuzzing", "stateful")} <= set(
        result.cases
    )
    # They reach the services behind the checks of their form: creations, and what is said of what they made.
    assert {200, 201, 202, 403, 404, 409, 422} <= set(result.statuses)


def test_a_refusal_is_expected_for_its_reason_alone() -> None:
    def body(code: str, detail: str) -> bytes:
        return f'{{"code": "{code}", "detail": "{detail}"}}'.encode()

    assert is_refused_for_a_reason(412, b"")
    assert is_refused_for_a_reason(422, body("image_missing", "no image x"))
    assert is_refused_for_a_reason(422, body("invalid_request", "owner: there is no team x"))
    assert is_refused_for_a_reason(
        422, body("invalid_request", "schedule.0: Value error, a period ends after it begins")
    )
    assert not is_refused_for_a_reason(422, body("invalid_request", "size: Input should be a valid integer"))
    assert not is_refused_for_a_reason(422, body("bad_name", "a name has at most 40 characters"))
    assert not is_refused_for_a_reason(400, b"")
    assert stays_on_record("DELETE /v1/tokens/0123456789ab")
    assert not stays_on_record("DELETE /v1/teams/storage")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(min_size=1, max_size=200))
async def test_no_bytes_are_a_defect_of_ours(http: httpx.AsyncClient, content: bytes) -> None:
    answer = await http.post("/v1/clusters", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
