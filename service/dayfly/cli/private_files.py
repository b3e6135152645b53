"""Private files for a person: mode 0600 from the first byte, replaced as a whole.

A kubeconfig is merged without changing other entries.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Final

import yaml

from dayfly.cli.errors import CommandError

_LISTS: Final = ("clusters", "users", "contexts")


def write_private(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` atomically, mode 0600. A symbolic link is followed, not replaced."""
    target = path.expanduser().resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # mkstemp creates files of mode 0600
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CommandError("not_written", f"{path}: {error.strerror or error}") from error


def user_kubeconfig() -> Path:
    """The file that kubectl writes to: the first path of KUBECONFIG, or ~/.kube/config."""
    first = next((part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part), None)
    return Path(first) if first else Path.home() / ".kube" / "config"


def merge_kubeconfig(path: Path, addition: str, name: str) -> None:
    """Add the cluster of the kubeconfig text `addition` to the file at `path`, as cluster, user and context `name`.

    The context becomes the current context. Entries with this name are replaced; all others stay.
    """
    existing = _read(path)
    added = yaml.safe_load(addition)
    merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", **existing}
    entries = {
        "clusters": {"name": name, "cluster": added["clusters"][0]["cluster"]},
        "users": {"name": name, "user": added["users"][0]["user"]},
        "contexts": {"name": name, "context": {"cluster": name, "user": name}},
    }
    for key in _LISTS:
        others = [entry for entry in existing.get(key) or [] if entry.get("name") != name]
        merged[key] = [*others, entries[key]]
    merged["current-context"] = name
    write_private(path, yaml.safe_dump(merged, sort_keys=False))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.expanduser().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CommandError("not_a_kubeconfig", f"{path} cannot be read: {type(error).__name__}") from error
    if content is None:
        return {}
    well_formed = isinstance(content, dict) and all(
        isinstance(content.get(key) or [], list) and all(isinstance(entry, dict) for entry in content.get(key) or [])
        for key in _LISTS
    )
    if not well_formed:
        raise CommandError("not_a_kubeconfig", f"{path} is not a kubeconfig; the file was not changed")
    return content  # type: ignore[no-any-return]
