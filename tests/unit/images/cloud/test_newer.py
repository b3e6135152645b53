"""`dayfly image bases`: what there is, and with --check what is newer upstream, as a change of the data file."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from dayfly import assets
from dayfly.cli import image_bases
from dayfly.cli.main import app
from dayfly.errors import BaseChecksumMissing, BaseFetchFailed
from dayfly.images.cloud.http import client
from dayfly.images.cloud.newer import Candidate, find_newer
from dayfly.images.cloud_base import CloudBase
from dayfly.images.recipe import base_names, load_any_base

OLD, NEW = "a" * 64, "b" * 64
INDEX = "https://lab.invalid/images/"
BASE = f"""\
# A comment that stays.
kind: cloud-image
description: of a test
url: {INDEX}disk-9.qcow2
checksum: sha256:{OLD}
family: apt
boot: bios
user: debian
newer: {{index: '{INDEX}', pattern: 'disk-(\\d+)\\.qcow2', url: '{{index}}{{name}}', checksums: '{{url}}.sum'}}
"""


class Upstream:
    """Answers by URL; everything else is 404."""

    def __init__(self) -> None:
        self.pages = {
            INDEX: '<a href="disk-9.qcow2">disk-9.qcow2</a> <a href="disk-10.qcow2">disk-10.qcow2</a>',
            f"{INDEX}disk-10.qcow2.sum": f"{NEW}  disk-10.qcow2\n",
        }

    def client(self) -> httpx.AsyncClient:
        return client(httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        page = self.pages.get(str(request.url))
        if page is None:
            return httpx.Response(404)
        return httpx.Response(200, stream=httpx.ByteStream(page.encode()))


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
def provisioning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> Path:
    """The provisioning folder of this process, with the one base `lab` beside debian-12."""
    root = tmp_path / "provisioning"
    (root / "base").mkdir(parents=True)
    shutil.copy(assets.provisioning() / "base" / "debian-12.yaml", root / "base")
    (root / "base" / "lab.yaml").write_text(BASE)
    monkeypatch.setattr(assets, "provisioning", lambda: root)
    monkeypatch.setattr(image_bases, "client", upstream.client)
    return root


def lab(root: Path) -> CloudBase:
    base = load_any_base("lab", root)
    assert isinstance(base, CloudBase)
    return base


async def find(root: Path, upstream: Upstream) -> Candidate | None:
    async with upstream.client() as http:
        return await find_newer(lab(root), http)


async def test_the_highest_version_is_found_with_its_checksum(provisioning: Path, upstream: Upstream) -> None:
    assert await find(provisioning, upstream) == Candidate("10", f"{INDEX}disk-10.qcow2", f"sha256:{NEW}")


async def test_no_version_that_is_older_or_the_same(provisioning: Path, upstream: Upstream) -> None:
    upstream.pages[INDEX] = "disk-8.qcow2 disk-9.qcow2"
    assert await find(provisioning, upstream) is None


async def test_an_index_without_images_and_checksums_without_the_image(provisioning: Path, upstream: Upstream) -> None:
    upstream.pages[f"{INDEX}disk-10.qcow2.sum"] = f"{NEW}  other\n"
    with pytest.raises(BaseChecksumMissing, match=r"disk-10.qcow2.sum has no checksum of disk-10.qcow2"):
        await find(provisioning, upstream)
    upstream.pages[INDEX] = "moved"
    with pytest.raises(BaseFetchFailed, match="names no image"):
        await find(provisioning, upstream)
    upstream.pages[INDEX] = "x" * (5 << 20)
    with pytest.raises(BaseFetchFailed, match="more than 4 MiB"):
        await find(provisioning, upstream)


def test_the_change_is_printed_and_fits_the_file(provisioning: Path) -> None:
    result = CliRunner().invoke(app, ["image", "bases", "--check"])
    assert result.exit_code == 0
    assert (provisioning / "base" / "lab.yaml").read_text() == BASE, "nothing is written"
    assert result.stderr.splitlines() == [
        "debian-12: packages are the newest of its suite when a bake makes its root file system",
        "lab: 10 is newer",
    ]
    folder = provisioning.parent
    subprocess.run(["git", "init", "-q", folder], check=True)
    subprocess.run(["git", "apply"], cwd=folder, input=result.stdout, text=True, check=True)
    changed = lab(provisioning)
    assert (changed.url, changed.checksum) == (f"{INDEX}disk-10.qcow2", f"sha256:{NEW}")
    assert "# A comment that stays." in (provisioning / "base" / "lab.yaml").read_text()


def test_one_base_that_cannot_be_looked_up_does_not_hide_the_others(provisioning: Path) -> None:
    other = BASE.replace("lab.invalid", "gone.invalid")
    (provisioning / "base" / "gone.yaml").write_text(other)
    result = CliRunner().invoke(app, ["image", "bases", "--check", "--json"])
    assert result.exit_code == 7
    found = {one["name"]: one for one in json.loads(result.stdout)}
    assert found["gone"]["error"] == ("[base_fetch_failed] https://gone.invalid/images/ was answered with status 404")
    assert f"+checksum: sha256:{NEW}" in found["lab"]["diff"]


def test_without_news_nothing_is_printed_but_the_states(provisioning: Path, upstream: Upstream) -> None:
    upstream.pages[INDEX] = "disk-9.qcow2"
    result = CliRunner().invoke(app, ["image", "bases", "--check"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "lab: is the newest" in result.stderr


def test_the_list_has_every_base_with_its_kind_and_source() -> None:
    text = CliRunner().invoke(app, ["image", "bases"], env={"COLUMNS": "200"}).stdout
    assert [line.split()[0] for line in text.splitlines()[1:]] == list(base_names())
    found = {one["name"]: one for one in json.loads(CliRunner().invoke(app, ["image", "bases", "--json"]).stdout)}
    assert found["debian-12"] == {
        "name": "debian-12",
        "kind": "mmdebstrap",
        "family": "apt",
        "source": "Debian's suite bookworm",
    }
    suse = found["opensuse-tumbleweed-cloud"]
    assert (suse["kind"], suse["family"], suse["checksum"]) == ("cloud-image", "zypper", None)
    assert suse["signed_by"] == "AD485664E901B867051AB15F35A2F86E29B700A4"
