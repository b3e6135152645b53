"""Files that the documents name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "deploy/README.md", "provisioning/README.md")
_QUOTED = re.compile(r"`([^`\n]+)`")
_LINKED = re.compile(r"\]\(([^)#:]+)\)")
_PATH = re.compile(r"[A-Za-z_.][\w.-]*(/[\w.-]*)+|[\w-]+\.(?:py|md|sh|toml|yml|json)")


def paths_in(text: str) -> set[str]:
    """Each path in quotes or as an argument of a quoted command. Capitals are the reader's placeholders."""
    words = (word for quoted in _QUOTED.findall(text) for word in quoted.split())
    return {word for word in words if _PATH.fullmatch(word) and not word.isupper()}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_path_it_names_exists(document: str) -> None:
    text = (REPO / document).read_text()
    bases = (REPO, REPO / "service" / "dayfly", (REPO / document).parent)
    unknown = {path for path in paths_in(text) if not any((base / path).exists() for base in bases)}
    assert unknown == set()
    links = {link for link in _LINKED.findall(text) if not ((REPO / document).parent / link).exists()}
    assert links == set()


def test_paths_are_found() -> None:
    assert paths_in("`store/db/tables.py` and `python -m a.b`, `tests/run.sh --fast`, `--pull A/B` or `domain/`") == {
        "store/db/tables.py",
        "tests/run.sh",
        "domain/",
    }
