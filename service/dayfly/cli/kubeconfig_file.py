"""The user's kubeconfig: adds a cluster's context, and removes it. Not here: a cluster's kubeconfig (client)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from dayfly.cli.errors import CommandError
from dayfly.cli.output_file import expand_home, reported, write_output

_LISTS: Final = ("clusters", "users", "contexts")
_EXTENSION: Final = "dayfly"
"""The name of a context's extension that holds the cluster's id: contexts with it were added by Dayfly."""
_LOCK_SECONDS: Final = 10.0
_LOCK_PAUSE_SECONDS: Final = 0.02


def user_kubeconfig() -> Path:
    """The file that kubectl adds to: of KUBECONFIG the first that exists, else the last; else ~/.kube/config."""
    paths = _user_kubeconfigs()
    return next((path for path in paths if path.exists()), paths[-1])


def context_name(cluster_name: str) -> str:
    """The name of a cluster's context, cluster and user."""
    return f"dayfly-{cluster_name}"


def merge_kubeconfig(path: Path, addition: str, name: str, cluster_id: str, *, switch: bool) -> None:
    """Add the cluster of the kubeconfig text `addition` to the file at `path`, as cluster, user and context `name`.

    Entries with this name are replaced, but a context keeps its namespace and unknown fields; all others stay. The
    current context changes with `switch` alone.
    """
    added = yaml.safe_load(addition)
    with locked(path):
        existing = _read(path)
        merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", **existing}
        _put(merged, "clusters", name, lambda _: {"cluster": added["clusters"][0]["cluster"]})
        _put(merged, "users", name, lambda _: {"user": added["users"][0]["user"]})
        _put(merged, "contexts", name, lambda before: {"context": _context(before.get("context"), name, cluster_id)})
        if switch:
            merged["current-context"] = name
        write_output(path, yaml.safe_dump(merged, sort_keys=False, allow_unicode=True))


def merged_clusters() -> set[str]:
    """The ids of the clusters that merge_kubeconfig added to the user's files."""
    found = set()
    for path in _user_kubeconfigs():
        for entry in _read(path).get("contexts") or []:
            found |= {one["cluster"] for one in _marks(entry) if isinstance(one.get("cluster"), str)}
    return found


def remove_from_kubeconfigs(cluster_id: str) -> list[Path]:
    """Remove what merge_kubeconfig added for the cluster from the user's files; the files that were changed.

    A context without the mark of this cluster stays, whatever its name, and so do clusters and users in further use.
    """
    return [path for path in _user_kubeconfigs() if path.exists() and _remove(path, cluster_id)]


@contextmanager
def locked(path: Path, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Hold kubectl's own lock of a kubeconfig: the file PATH.lock, which is created exclusively."""
    lock = Path(f"{expand_home(path)}.lock")
    with reported(path):
        lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for _ in range(round(_LOCK_SECONDS / _LOCK_PAUSE_SECONDS)):
            try:
                os.close(os.open(lock, os.O_CREAT | os.O_EXCL, 0o600))
                break
            except FileExistsError:
                sleep(_LOCK_PAUSE_SECONDS)
        else:
            raise CommandError(
                "kubeconfig_locked",
                f"{path} is locked by another process, or a process that was killed left {lock}",
                f"if no kubectl runs: rm {lock}",
            )
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _user_kubeconfigs() -> list[Path]:
    paths = [expand_home(Path(part)) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return paths or [expand_home(Path("~/.kube/config"))]


def _put(config: dict[str, Any], key: str, name: str, fields: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """Replace the entry `name` of a list where it is, or append it."""
    entries = config.get(key) or []
    before: Mapping[str, Any] = next((entry for entry in entries if entry.get("name") == name), {})
    entry = {**before, "name": name, **fields(before)}
    kept = [entry if one is before else one for one in entries if one is before or one.get("name") != name]
    config[key] = kept if entry in kept else [*kept, entry]


def _context(before: Any, name: str, cluster_id: str) -> dict[str, Any]:
    """The context: `before` with our cluster and user, and the mark that Dayfly added it."""
    fields = before if isinstance(before, dict) else {}
    others = [
        one for one in fields.get("extensions") or [] if not isinstance(one, dict) or one.get("name") != _EXTENSION
    ]
    mark = {"name": _EXTENSION, "extension": {"cluster": cluster_id}}
    return {**fields, "cluster": name, "user": name, "extensions": [*others, mark]}


def _remove(path: Path, cluster_id: str) -> bool:
    if not any(_is_of(entry, cluster_id) for entry in _read(path).get("contexts") or []):
        return False
    with locked(path):
        config = _read(path)
        ours = [entry for entry in config.get("contexts") or [] if _is_of(entry, cluster_id)]
        config["contexts"] = [entry for entry in config.get("contexts") or [] if entry not in ours]
        names = {entry.get("name") for entry in ours}
        for key, field in (("clusters", "cluster"), ("users", "user")):
            used = {(entry.get("context") or {}).get(field) for entry in config["contexts"]}
            config[key] = [entry for entry in config.get(key) or [] if entry.get("name") not in names - used]
        if config.get("current-context") in names:
            config["current-context"] = ""
        write_output(path, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    return True


def _is_of(entry: Mapping[str, Any], cluster_id: str) -> bool:
    return {"cluster": cluster_id} in _marks(entry)


def _marks(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The marks of a context: one if Dayfly added it."""
    context = entry.get("context")
    extensions = context.get("extensions") if isinstance(context, dict) else None
    named = [one for one in extensions if isinstance(one, dict)] if isinstance(extensions, list) else []
    marks = (one.get("extension") for one in named if one.get("name") == _EXTENSION)
    return [mark for mark in marks if isinstance(mark, dict)]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(expand_home(path).read_text(encoding="utf-8"))
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
