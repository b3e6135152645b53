"""Manifests of a folder, and what `kubectl apply --dry-run=server` says of them. All is pure but for reading files."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
"""Templates (`.in`) are no manifests."""
UNNAMED: Final = ""
"""The file of a message that names none."""
_ACCEPTED: Final = re.compile(r"^(\S+) (?:created|configured|unchanged) \(server dry run\)$", re.MULTILINE)
_MESSAGE: Final = re.compile(
    r'(?=error validating "|error parsing |resource mapping not found for |unable to recognize |Error from server )'
)
_FILE: Final = re.compile(r'(?:parsing |validating "|from "|creating "|patching ")([\w./-]+)')


@dataclass(frozen=True)
class Verdicts:
    """Objects (`deployment.apps/web`) that the API server accepts, and the messages about each file's other objects."""

    accepted: Counter[str]
    refused: Mapping[str, str]


def manifest_files(root: Path) -> tuple[str, ...]:
    """The manifests below `root`, relative to it, in order."""
    found = (path for path in root.rglob("*") if path.is_file() and path.suffix in SUFFIXES)
    return tuple(sorted(str(path.relative_to(root)) for path in found))


def objects_of(file: Path) -> Counter[str]:
    """The objects of a manifest, as kubectl names them; those of a list, too. Raises yaml.YAMLError."""
    return Counter(_name(one) for document in _documents(file.read_text()) for one in _items(document))


def read_verdicts(output: str, errors: str) -> Verdicts:
    """What kubectl's output and its errors say."""
    refused = dict[str, str]()
    for message in _MESSAGE.split(errors)[1:]:
        found = _FILE.search(message)
        file = found[1].rstrip(":") if found else UNNAMED
        refused[file] = "\n".join(filter(None, (refused.get(file), message.strip())))
    return Verdicts(Counter(_ACCEPTED.findall(output)), refused)


def _documents(text: str) -> Iterator[Any]:
    if not text.lstrip().startswith("{"):
        yield from yaml.safe_load_all(text)
        return
    # Several JSON documents in one file, which no YAML has.
    decoder, rest = json.JSONDecoder(), text.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        yield document
        rest = rest[end:].lstrip()


def _items(document: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(document, dict) or "kind" not in document:
        return
    if not document["kind"].endswith("List"):
        yield document
        return
    for item in document.get("items") or ():
        yield from _items(item)


def _name(item: Mapping[str, Any]) -> str:
    group = item.get("apiVersion", "").rpartition("/")[0]
    kind = f"{item['kind']}.{group}" if group else item["kind"]
    return f"{kind.lower()}/{item.get('metadata', {}).get('name')}"
