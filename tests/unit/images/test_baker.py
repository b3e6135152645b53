"""The image of bake containers: its content, when it is built, and what it must not contain."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dayfly.drivers.interfaces import File
from dayfly.errors import BakeFailed, DiskFull, ImageMissing
from dayfly.images import baker
from dayfly.images.baker import LABEL_BAKER, access_files, ensure_baker, requirements, setup_files
from dayfly.images.host_access import HostAccess
from dayfly.testing.fake_images import FakeImages
from tests.support.tools import FakeTools, printed

BASE = "debian:bookworm-slim"
READY = printed("Setting up mmdebstrap", baker._READY)
ACCESS = HostAccess(
    apt_sources={"": "http://mirror.example/debian", "-security": "http://mirror.example/security"},
    apt_options=('Acquire::http::Proxy "http://me:secret@proxy:3128";',),
    pip_options={"index-url": "https://me:secret@packages.example/simple"},
    folders=(Path("/srv/wheels"),),
    proxies={"https_proxy": "http://me:secret@proxy:3128"},
    ca_bundle=b"PEM",
)


@pytest.fixture
def images() -> FakeImages:
    images = FakeImages()
    images.add(BASE)
    return images


async def ensure(images: FakeImages, tools: FakeTools, access: HostAccess = ACCESS) -> str:
    return await ensure_baker(BASE, access, images=images, tools=tools, on_line=lambda _: None)


def content(files: tuple[File, ...]) -> dict[str, str]:
    return {Path(file.path).name: file.content.decode() for file in files}


def test_requirements_are_those_of_the_server_and_of_bakes() -> None:
    declared = [
        "httpx>=0.27",
        'aiodocker>=0.24; extra == "server"',
        "ansible-core>=2.16; extra == 'bake'",
        "pytest>=8; extra == 'dev'",
        'tomli>=2; python_version < "3.11" and extra == "server"',
    ]
    assert requirements(declared) == (
        "httpx>=0.27",
        "aiodocker>=0.24",
        "ansible-core>=2.16",
        'tomli>=2; python_version < "3.11"',
    )


async def test_it_is_made_once_for_a_base_and_its_mirror(images: FakeImages) -> None:
    tools = FakeTools(images, READY)
    reference = await ensure(images, tools)
    assert reference.startswith("dayfly/baker:")
    assert await ensure(images, tools) == reference
    assert len(tools.ran) == 1
    assert tools.running == 0
    image = await images.inspect(reference)
    assert image.labels[LABEL_BAKER].startswith(reference.rpartition(":")[2])
    assert await ensure(images, tools, HostAccess()) != reference
    images.add("another:1")
    assert await ensure_baker("another:1", ACCESS, images=images, tools=tools, on_line=lambda _: None) != reference


async def test_its_installation_has_the_rights_of_a_package_manager_and_no_more(images: FakeImages) -> None:
    tools = FakeTools(images, READY)
    await ensure(images, tools)
    (tool,) = tools.ran
    assert tuple(tool.capabilities) == ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID")
    assert not tool.mounts_file_systems
    assert tool.engine_socket is None
    assert tool.volumes == {}
    assert tool.folders == ACCESS.folders
    # An image keeps its container's environment.
    assert tool.environment == {}


def test_nothing_that_may_hold_credentials_stays_in_the_image() -> None:
    files = setup_files(ACCESS, ("httpx>=0.27",))
    secret = {file.path for file in files if b"secret" in file.content}
    assert {Path(path).name for path in secret} == {"90dayfly-host", "environment", "pip.conf"}
    removal = next(line for line in baker._INSTALL.splitlines() if line.startswith("rm -rf "))
    removed = removal.split()[2:]
    assert all(any(path == gone or path.startswith(f"{gone}/") for gone in removed) for path in secret)
    assert baker._INSTALL.index(removal) < baker._INSTALL.index(baker._READY)


def test_packages_come_from_the_hosts_mirror_in_the_bases_own_release() -> None:
    files = content(setup_files(ACCESS, ()))
    assert files["sources"] == (
        "deb http://mirror.example/debian @SUITE@ main\ndeb http://mirror.example/security @SUITE@-security main\n"
    )
    assert files["pip.conf"] == "[global]\nindex-url = https://me:secret@packages.example/simple\n"
    assert "export https_proxy=http://me:secret@proxy:3128\n" in files["environment"]
    assert files["ca-bundle"] == "PEM"
    assert content(access_files(HostAccess())) == {"90dayfly-host": ""}


def test_a_base_that_is_no_debian_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "environment").write_text("")
    (tmp_path / "os-release").write_text('ID=fedora\nPRETTY_NAME="Fedora 43"\n')
    script = baker._INSTALL.replace("/etc/os-release", str(tmp_path / "os-release")).replace(
        baker._SETUP, str(tmp_path)
    )
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=10)
    assert done.returncode == 1
    assert done.stdout == "the base is Fedora 43: a bake needs a Debian, 12 or newer\n"


async def test_an_installation_that_fails_keeps_its_last_words(images: FakeImages) -> None:
    with pytest.raises(BakeFailed, match="installation of the tools ended with exit code 100") as caught:
        await ensure(images, FakeTools(images, printed("E: Unable to locate package"), code=100))
    assert caught.value.evidence == {"output": "E: Unable to locate package"}
    with pytest.raises(DiskFull):
        await ensure(images, FakeTools(images, printed("cannot write: No space left on device"), code=1))
    assert [image.references for image in images.stored.values()] == [(BASE,)]


async def test_a_base_that_is_not_there_is_pulled() -> None:
    images = FakeImages()
    images.registry[BASE] = images.add(BASE)
    await images.remove(BASE)
    said: list[str] = []
    await ensure_baker(BASE, ACCESS, images=images, tools=FakeTools(images, READY), on_line=said.append)
    assert said[0] == f"pulling {BASE}"


async def test_a_base_that_cannot_be_had_is_said_with_what_to_do() -> None:
    images = FakeImages()
    with pytest.raises(
        ImageMissing, match=r"debian:bookworm-slim, is not on the engine.*docker import.*DAYFLY_BAKE_BASE"
    ):
        await ensure(images, FakeTools(images, READY))
