"""The example in deploy/, on claims as GitHub Actions and GitLab document them (claims/)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dayfly.oidc.rules_file import read_rules

CLAIMS = Path(__file__).parent / "claims"
EXAMPLE = Path(__file__).parents[3] / "deploy" / "oidc.example.toml"
PERSON = {"aud": "0f3a…", "project_path": None, "ref_protected": None}


@pytest.mark.parametrize(
    ("issuer", "changes", "team", "role"),
    [
        ("github", {}, "app", "user"),
        ("github", {"ref": "refs/heads/dev"}, "app-trials", "user"),
        ("github", {"ref": "refs/pull/5/merge", "event_name": "pull_request"}, "app-trials", "user"),
        ("github", {"ref": "refs/heads/dev", "event_name": "workflow_dispatch"}, None, None),
        ("github", {"repository_id": "75"}, None, None),
        ("github", {"repository_id": None}, None, None),
        ("gitlab", {}, "lab", "user"),
        ("gitlab", {"ref_protected": "false"}, None, None),
        ("gitlab", {"project_path": "laboratory/app"}, None, None),
        ("gitlab", {**PERSON, "groups_direct": ["lab", "lab/maintainers"]}, "lab", "admin"),
        ("gitlab", {**PERSON, "groups_direct": ["lab"]}, "lab", "user"),
        ("gitlab", {**PERSON, "groups_direct": []}, None, None),
        ("gitlab", PERSON, None, None),
    ],
)
def test_the_example_does_what_it_says(
    issuer: str, changes: dict[str, Any], team: str | None, role: str | None
) -> None:
    rules = read_rules(EXAMPLE)
    claims = {**json.loads((CLAIMS / f"{issuer}.json").read_text()), **changes}
    known = rules.issuer_at(claims["iss"])
    assert known is not None
    assert known.name == issuer
    match = rules.first_match(known, claims)
    assert (match and match.team, match and match.role) == (team, role)
