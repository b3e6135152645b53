"""The seed, read back as the guest's initrd reads it."""

from __future__ import annotations

import io
import tarfile
from datetime import UTC, datetime

from dayfly.domain.security.secrets import new_secrets
from dayfly.steps.guest.guest_seed import seed_file
from tests.support.specs import make_spec

SPEC = make_spec(workers=1)
SECRETS = new_secrets(SPEC, datetime(2026, 1, 1, tzinfo=UTC))


def unpack(index: int, cluster_id: str = "0" * 12) -> dict[str, tuple[int, bytes]]:
    file = seed_file(cluster_id, SPEC.nodes()[index - 1], SECRETS)
    with tarfile.open(fileobj=io.BytesIO(file.content)) as tar:
        return {m.name: (m.mode, member.read() if (member := tar.extractfile(m)) else b"") for m in tar.getmembers()}


def test_keys_lie_where_sshd_accepts_them() -> None:
    entries = unpack(1)
    assert entries["root/.ssh"][0] == 0o700
    assert entries["root/.ssh/authorized_keys"] == (0o600, f"{SECRETS.user_key.public}\n".encode())
    assert entries["etc/ssh/ssh_host_ed25519_key"] == (0o600, SECRETS.host_key.private.encode())
    assert SECRETS.user_key.private.encode() not in b"".join(content for _, content in entries.values())


def test_folders_come_before_what_is_in_them() -> None:
    names = list(unpack(1))
    assert names.index("root/.ssh") < names.index("root/.ssh/authorized_keys")


def test_machine_ids_differ_between_nodes_and_clusters_and_stay_the_same() -> None:
    ids = [unpack(i, c)["etc/machine-id"][1] for i in (1, 2) for c in ("0" * 12, "1" * 12)]
    assert len(set(ids)) == 4
    assert unpack(1) == unpack(1)
    assert all(len(text.strip()) == 32 for text in ids)


def test_its_repr_shows_no_key() -> None:
    assert "PRIVATE" not in repr(seed_file("0" * 12, SPEC.nodes()[0], SECRETS))
    assert "PRIVATE" not in repr(SECRETS)
