"""`dayfly addon fetch`, which needs the server's settings and folders: cli/addon.py imports it on use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dayfly.addon_fetch import fetch_addon
from dayfly.addon_files import load_addons
from dayfly.addon_manifests import AddonManifests
from dayfly.cli.server_settings import command_settings
from dayfly.cli.terminal import say
from dayfly.errors import NotFound


def fetch(name: str, files: Sequence[Path]) -> None:
    addon = load_addons().get(name)
    if addon is None:
        raise NotFound(f"there is no add-on {name!r}: `dayfly addon list` lists them")
    manifests = AddonManifests.of(command_settings())
    for url in fetch_addon(addon, manifests, files):
        say(f"stored {url}")
    reason = manifests.why_unavailable(addon)
    say(f"{name} {addon.version} is available" if reason is None else f"{name} is not available yet: {reason}")
