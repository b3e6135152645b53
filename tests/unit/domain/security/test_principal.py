"""Roles include those before them."""

from __future__ import annotations

import pytest

from dayfly.domain.security.principal import Role


@pytest.mark.parametrize(
    ("role", "included"),
    [
        (Role.VIEWER, {Role.VIEWER}),
        (Role.USER, {Role.VIEWER, Role.USER}),
        (Role.ADMIN, {Role.VIEWER, Role.USER, Role.ADMIN}),
        (Role.OPERATOR, set(Role)),
    ],
)
def test_a_role_includes_the_lesser(role: Role, included: set[Role]) -> None:
    assert {other for other in Role if role.includes(other)} == included
