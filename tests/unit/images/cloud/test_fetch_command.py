"""`dayfly image fetch-base` with a local image: fetched, verified, inspected; each failure is one line with a code."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from dayfly import assets
from dayfly.cli.main import app
from tests.support.cloud_bases import fields, sha256
from tests.support.disk_images import CLOUD_FILES, DiskImage


@pytest.fixture
def provisioning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "provisioning"
    (root / "base").mkdir(parents=True)
    shutil.copy(assets.provisioning() / "base" / "debian-12.yaml", root / "base")
    monkeypatch.setattr(assets, "provisioning", lambda: root)
    return root


def fetch(provisioning: Path, image: Path, **changes: Any) -> Result:
    """The command's result for the base `lab`, whose image is the file `image`."""
    base = fields(**{"url": image.as_uri(), "checksum": sha256(image.read_bytes())} | changes)
    (provisioning / "base" / "lab.yaml").write_text(yaml.safe_dump(base))
    environment = {"DAYFLY_CACHE_DIR": str(provisioning.parent / "cache")}
    return CliRunner().invoke(app, ["image", "fetch-base", "lab"], env=environment)


def cached(provisioning: Path) -> set[str]:
    """The files in the cache, locks aside."""
    return {path.name for path in (provisioning.parent / "cache" / "cloud-images").iterdir()} - {"locks"}


def test_an_image_is_in_the_cache_and_nothing_else(provisioning: Path, tmp_path: Path) -> None:
    image = DiskImage().make(tmp_path / "made")
    result = fetch(provisioning, image)
    assert result.exit_code == 0, result.output
    name = f"{sha256(image.read_bytes()).replace(':', '-')}.img"
    assert result.stdout == (
        f"lab is {tmp_path / 'cache' / 'cloud-images' / name}\nit boots by bios; cloud-init: yes\n"
    )
    assert cached(provisioning) == {name}


@pytest.mark.parametrize(
    ("image", "changes", "code"),
    [
        (DiskImage(), {"checksum": sha256(b"")}, "base_content_differs"),
        (replace(DiskImage(), boot_code=False), {}, "no_boot_loader"),
        (replace(DiskImage(), files=dict(list(CLOUD_FILES.items())[:1])), {}, "no_cloud_init"),
    ],
)
def test_an_image_that_cannot_be_used(
    provisioning: Path, tmp_path: Path, image: DiskImage, changes: dict[str, Any], code: str
) -> None:
    result = fetch(provisioning, image.make(tmp_path / "made"), **changes)
    assert result.exit_code == 7
    assert result.stderr.splitlines()[-1].startswith(f"error [{code}]: ")
    assert all(name.endswith(".img") for name in cached(provisioning))


def test_a_page_instead_of_an_image(provisioning: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html>")
    result = fetch(provisioning, page)
    assert result.exit_code == 7
    assert "error [not_a_disk_image]: " in result.stderr


def test_a_root_file_system_is_not_fetched(provisioning: Path) -> None:
    result = CliRunner().invoke(app, ["image", "fetch-base", "debian-12"])
    assert result.exit_code == 2
    assert "error [invalid_request]: the base debian-12 is no cloud image" in result.stderr
