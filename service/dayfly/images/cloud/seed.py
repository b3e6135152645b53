"""The NoCloud seed of a bake's boot: a small disk that gives cloud-init the keys, and bounds what it does.

The seed has a private key, the guest's host key: its file is readable by its owner alone, belongs to one bake and is
part of no image. Not here: a node's seed (steps/guest/guest_seed.py), which cloud-init never sees.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dayfly.domain.security.secrets import SshKeyPair
from dayfly.images.process import run

LABEL: Final = "CIDATA"
"""cloud-init looks for this label, or the same in small letters, which FAT file systems do not have."""
_MODULES: Final = {"init": ("growpart", "resizefs", "users_groups", "ssh"), "config": (), "final": ()}
"""Stage of cloud-init → its modules."""
_CYLINDERS, _HEADS, _SECTORS = 80, 2, 36
"""2.8 MiB: the usual floppy of this size, so that mtools needs no other option."""


@dataclass(frozen=True)
class BakeSeed:
    """`user_key`: root's, for the bake. `host_key`: the guest's, which the bake pins. `mac`: of its network card."""

    user_key: str
    host_key: SshKeyPair
    mac: str
    name: str = "bake"
    instance_id: str = field(default_factory=lambda: f"bake-{secrets.token_hex(8)}")

    def files(self) -> Mapping[str, str]:
        """The files of the seed by name, as cloud-init reads them."""
        return {
            "meta-data": _yaml({"instance-id": self.instance_id, "local-hostname": self.name}),
            "user-data": "#cloud-config\n" + _yaml(self._user_data()),
            "network-config": _yaml(self._network()),
        }

    def _user_data(self) -> dict[str, Any]:
        return {
            # In place of the image's own lists: other modules do what no node needs, and one that fails ends the bake.
            **{f"cloud_{stage}_modules": list(modules) for stage, modules in _MODULES.items()},
            "disable_root": False,
            # Root alone: without `default`, cloud-init does not make the image's own user.
            "users": [{"name": "root", "lock_passwd": True, "ssh_authorized_keys": [self.user_key]}],
            "ssh_deletekeys": True,
            "ssh_genkeytypes": ["ed25519"],
            "ssh_keys": {"ed25519_private": self.host_key.private, "ed25519_public": self.host_key.public},
            "growpart": {"mode": "auto", "devices": ["/"], "ignore_growroot_disabled": True},
            "resize_rootfs": True,
            "manage_etc_hosts": False,
        }

    def _network(self) -> dict[str, Any]:
        # Not `optional`: where no card is required, systemd-networkd-wait-online waits for two minutes, and fails.
        # `set-name`: without it, only some renderers of cloud-init find the card by its address.
        card = {"match": {"macaddress": self.mac}, "set-name": "eth0", "dhcp4": True}
        return {"version": 2, "ethernets": {"eth0": card}}


async def seed_disk(target: Path, seed: BakeSeed, scratch: Path) -> None:
    """Make `target`, a FAT disk with the files of `seed`. Raises BakeFailed, DiskFull."""
    # Exclusively and before mtools: the file never has the permissions of the umask.
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    folder = scratch / "seed"
    folder.mkdir(mode=0o700)
    paths = []
    for name, text in seed.files().items():
        path = folder / name
        path.write_text(text)
        paths.append(path)
    geometry = ("-t", str(_CYLINDERS), "-h", str(_HEADS), "-s", str(_SECTORS))
    try:
        await run(["mformat", "-C", "-i", target, *geometry, "-v", LABEL, "::"])
        await run(["mcopy", "-i", target, *paths, "::"])
    finally:
        for path in paths:
            path.unlink()
        folder.rmdir()


def _yaml(value: dict[str, Any]) -> str:
    """JSON is YAML, and its strings need no rule about lines and quotes; indented for people."""
    return json.dumps(value, indent=1, ensure_ascii=True) + "\n"
