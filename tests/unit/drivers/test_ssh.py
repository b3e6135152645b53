"""The reason that a guest's SSH server gives for a disconnect. Real connections: tests/integration/drivers."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncssh
import pytest

from dayfly.domain.security.secrets import new_secrets
from dayfly.drivers.interfaces import SshTarget
from dayfly.drivers.ssh import SshConnections
from dayfly.errors import DayflyError, SshRefused, SshTimeout
from tests.support.specs import make_spec

LONG = "x" * 2**21


@pytest.mark.parametrize(
    ("error", "kind"), [(asyncssh.ProtocolError(LONG), SshTimeout), (asyncssh.PermissionDenied(LONG), SshRefused)]
)
async def test_a_reason_is_cut(monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[DayflyError]) -> None:
    async def connect(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(asyncssh, "connect", connect)
    secrets = new_secrets(make_spec(), datetime.now(UTC))
    target = SshTarget("127.0.0.1", 1, secrets.user_key.private, secrets.host_key.public)
    with pytest.raises(kind, match=r"xxx…$") as caught:
        await SshConnections().wait(target, timeout=0.3)
    assert len(caught.value.message) < 700
