"""Runs schemathesis, with all of its checks, as each caller of a service; collects what it finds.

Not here: the service (service.py), the command (__main__.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import httpx
import schemathesis
from schemathesis import Case, Response, hooks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.engine import events, from_schema
from schemathesis.openapi.checks import RejectedPositiveData, UseAfterFree

from dayfly.schemas.pools import MAX_POOL
from tests.fuzz.expected import is_refused_for_a_reason, stays_on_record
from tests.fuzz.service import Service

_LONGEST_WAIT_SECONDS: Final = 0.05
_REQUEST_SECONDS: Final = 60
_SHOWN_BYTES: Final = 1000
_LARGEST_LIMIT: Final = 10**9
_MOST: Final = 3


@dataclass
class Result:
    """How many cases there were, and what was found: by check, operation and status, the first example of each."""

    cases: Counter[str] = field(default_factory=Counter)
    """By caller and phase."""
    statuses: Counter[int] = field(default_factory=Counter)
    findings: dict[str, str] = field(default_factory=dict)

    def count(self, caller: str) -> int:
        return sum(count for key, count in self.cases.items() if key.startswith(f"{caller} "))


@dataclass(frozen=True)
class Rounds:
    """`examples`: of each operation, and `sequences` of requests, in a round. `coverage`: the first round has a case
    for each bound and each kind of violation in the schema, too: some thousands."""

    examples: int = 20
    sequences: int = 60
    coverage: bool = True


def fuzz(service: Service, cases: int, seed: int, rounds: Rounds) -> Result:
    """At least so many cases, in equal parts as each caller, in rounds. Raises RuntimeError where a caller is lost."""
    result = Result()
    for caller, token in service.tokens.items():
        number = 0
        while result.count(caller) < cases / len(service.tokens):
            for event in _events(service, token, seed + number, rounds, first=number == 0):
                _note(event, caller, result)
            number += 1
            who = httpx.get(f"{service.url}/v1/whoami", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
            if who.status_code != 200:
                raise RuntimeError(f"the cases of {caller} revoked its token: {who.text}")
    return result


def _events(service: Service, token: str, seed: int, rounds: Rounds, *, first: bool) -> Iterator[events.EngineEvent]:
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "headers": {"Authorization": f"Bearer {token}"},
            "base-url": service.url,
            "request-timeout": _REQUEST_SECONDS,
            "continue-on-failure": True,
            "suppress-health-check": ["all"],
            "generation": {"database": "none", "no-shrink": True, "max-examples": rounds.examples},
            "phases": {
                "examples": {"enabled": first},
                "coverage": {"enabled": first and rounds.coverage},
                "stateful": {"generation": {"max-examples": rounds.sequences}},
            },
        }
    )
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json", config=config)
    schema.hook("map_query")(_wait_briefly)
    schema.hook("map_body")(_modest_body)
    schema.hook("filter_failure")(_is_finding)
    spare = partial(_spare, service)
    schemathesis.hook("before_call")(spare)  # a schema of its own has no such hook
    try:
        yield from from_schema(schema).execute()
    finally:
        hooks.unregister(spare)


def _wait_briefly(context: Any, query: Mapping[str, Any]) -> dict[str, Any]:
    """A response is not held for minutes: `timeout`, and a `wait` in seconds, are short."""
    return {name: _brief(value) if name in {"timeout", "wait"} else value for name, value in (query or {}).items()}


def _brief(value: Any) -> Any:
    is_long = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 3600
    return min(value, _LONGEST_WAIT_SECONDS) if is_long else value


def _modest_body(context: Any, body: Any) -> Any:
    """The body with few members and workers, and with large quotas: else one request has all later ones refused.

    What is valid stays valid, and what is invalid is left alone.
    """
    if not isinstance(body, dict):
        return body
    if context.operation.path.startswith("/v1/quotas"):
        limits = {name: _LARGEST_LIMIT - value for name, value in body.items() if name != "weight" and _is_limit(value)}
        return body | limits
    if _is_number_of_nodes(body.get("size")):
        body = {**body, "size": body["size"] % _MOST}
    workers = body.get("workers")
    if isinstance(workers, dict) and _is_number_of_nodes(workers.get("count")):
        body = {**body, "workers": {**workers, "count": workers["count"] % _MOST}}
    return body


def _is_limit(value: Any) -> bool:
    return type(value) is int and 0 < value < _LARGEST_LIMIT


def _is_number_of_nodes(value: Any) -> bool:
    return type(value) is int and _MOST <= value <= MAX_POOL


def _spare(service: Service, context: Any, case: Case[Any], kwargs: Any) -> None:
    """Let no case revoke the token of a caller, or delete its team: no later case would find anything."""
    if case.method == "DELETE" and not service.keeps.isdisjoint(case.path_parameters.values()):
        case.path_parameters = dict.fromkeys(case.path_parameters, "other")


def _is_finding(context: Any, failure: Failure, case: Case[Any], response: Response) -> bool:
    if isinstance(failure, RejectedPositiveData):
        return not is_refused_for_a_reason(response.status_code, response.content)
    return not (isinstance(failure, UseAfterFree) and stays_on_record(failure.free))


def _note(event: events.EngineEvent, caller: str, result: Result) -> None:
    match event:
        case events.ScenarioFinished():
            answers = [one.response for one in event.recorder.interactions.values()]
            result.cases[f"{caller} {event.phase.value}"] += len(answers)
            result.statuses.update(one.status_code for one in answers if one is not None)
            for case_id, checks in event.recorder.checks.items():
                for check in checks:
                    if check.failure_info is not None:
                        interaction = event.recorder.interactions.get(case_id)
                        response = None if interaction is None else interaction.response
                        _find(result, check.failure_info.failure, response, check.failure_info.code_sample)
        case events.NonFatalError():
            result.findings.setdefault(f"{event.info.title}: {event.label}", event.info.message)
        case events.FatalError():
            raise event.exception


def _find(result: Result, failure: Failure, response: Response | None, request: str) -> None:
    status = "no response" if response is None else response.status_code
    answer = "" if response is None else response.content[:_SHOWN_BYTES].decode(errors="replace")
    key = f"{failure.title}: {failure.operation} {status}"
    result.findings.setdefault(key, f"{failure.message}\n{request}\n{answer}")
