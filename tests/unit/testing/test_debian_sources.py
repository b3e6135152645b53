"""Files of a source package are extracted by folder. Not here: apt (tests/e2e/test_applications.py)."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tests.support.debian_sources import extract


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "x.orig.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("x-1.2/docs/a.yaml", "x-1.2/docs/deep/b.yaml", "x-1.2/docs-other/c.yaml", "x-1.2/main.go"):
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    return path


def test_only_the_folders_are_extracted(archive: Path, tmp_path: Path) -> None:
    extract(archive, tmp_path / "tree", ["docs"])
    found = sorted(str(path.relative_to(tmp_path / "tree")) for path in (tmp_path / "tree").rglob("*.*"))
    assert found == ["docs/a.yaml", "docs/deep/b.yaml"]
    assert (tmp_path / "tree/docs/a.yaml").read_text() == "x-1.2/docs/a.yaml"


def test_a_missing_folder_is_an_error(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="has no folders"):
        extract(archive, tmp_path / "tree", ["docs", "examples"])
