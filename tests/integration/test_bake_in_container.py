"""Bakes by an ordinary user: in a container of the engine, from an imported base."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import pytest

import dayfly
from dayfly import assets
from dayfly.clock import SystemClock
from dayfly.drivers.docker.images import DockerImages
from dayfly.images.cache import Cache
from dayfly.images.container_bake import CACHE_VOLUME
from dayfly.images.fingerprint import fingerprint
from dayfly.images.recipe import RootFileSystem
from dayfly.images.rootfs import make_rootfs
from dayfly.settings import Settings
from tests.support.guest import until
from tests.support.service import docker
from tests.support.socket_proxy import REAL_SOCKET

pytestmark = [pytest.mark.docker, pytest.mark.bake]

NOBODY = 65534
BASE = "dayfly-test/bake-base:latest"
WHAT = RootFileSystem(suite="bookworm", packages=("debian-archive-keyring",))


@pytest.fixture(scope="module")
def clean() -> Iterator[None]:
    """Remove the images that bakes in containers keep for the next bake, except older ones."""
    images, volumes = baker_images(), docker("volume", "ls", "--quiet").split()
    yield
    for reference in baker_images() - images:
        docker("image", "rm", reference)
    if CACHE_VOLUME not in volumes:
        docker("volume", "rm", "--force", CACHE_VOLUME)


def baker_images() -> set[str]:
    return set(docker("images", "--filter", "label=dayfly.baker", "--format", "{{.Repository}}:{{.Tag}}").split())


@pytest.fixture
async def base(clean: None, tmp_path: Path) -> str:
    """An imported Debian without apt sources; its root file system is cached."""

    async def make(folder: Path) -> None:
        await make_rootfs(WHAT, folder / "rootfs.tar")

    images = DockerImages()
    async with Cache(Settings().cache_dir, SystemClock()) as cache:
        made = await cache.get("test-bake-base", fingerprint(tmp_path, WHAT), make)
        await images.import_rootfs(made / "rootfs.tar", BASE, changes=["LABEL dayfly.test=bake-base"])
    await images.close()
    return BASE


@dataclass
class User:
    """An ordinary user of the engine's group, with an installation that has a recipe of the test's own."""

    folder: Path
    recipe: str

    def start(self) -> subprocess.Popen[str]:
        # A user may read this checkout and its interpreter, wherever root keeps them, and that is all.
        reads = "+dac_read_search"
        group = Path(REAL_SOCKET).stat().st_gid
        argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", f"--groups={group}"]
        argv += [f"--inh-caps={reads}", f"--ambient-caps={reads}"]
        argv += [sys.executable, "-m", "dayfly.cli.main", "image", "bake", self.recipe]
        roots = ("DAYFLY_", "XDG_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(roots)}
        environment |= {
            "HOME": str(self.folder / "home"),
            "PYTHONPATH": str(self.folder / "service"),
            "DAYFLY_BAKE_BASE": BASE,
        }
        return subprocess.Popen(
            argv, env=environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def bake(self, limit: float = 1500.0) -> subprocess.CompletedProcess[str]:
        process = self.start()
        try:
            out, errors = process.communicate(timeout=limit)
        finally:
            process.terminate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)

    def assert_nothing_half_made(self) -> None:
        assert docker("ps", "--all", "--quiet", "--filter", "label=dayfly.role=bake") == ""
        assert list(cache_folder().glob(".new-*")) == []
        assert f"dayfly/{self.recipe}:unfinished" not in docker("images", "--format", "{{.Repository}}:{{.Tag}}")


def cache_folder() -> Path:
    return Path(docker("volume", "inspect", "--format", "{{.Mountpoint}}", CACHE_VOLUME).strip()) / "bake"


@pytest.fixture
def user(base: str, tmp_path: Path) -> Iterator[User]:
    name = f"test-{secrets.token_hex(4)}"
    ignore = shutil.ignore_patterns("__pycache__", "_assets")
    shutil.copytree(Path(dayfly.__file__).parent, tmp_path / "service" / "dayfly", ignore=ignore)
    shutil.copytree(assets.provisioning(), tmp_path / "provisioning")
    recipes = tmp_path / "provisioning" / "recipes"
    (recipes / f"{name}.yaml").write_text((recipes / "bare.yaml").read_text().replace("name: bare", f"name: {name}"))
    (tmp_path / "home").mkdir()
    os.chown(tmp_path / "home", NOBODY, NOBODY)
    yield User(tmp_path, name)
    remove_images(name)
    for made in cache_folder().glob(f"{name}.*"):
        shutil.rmtree(made)


def remove_images(name: str) -> None:
    for reference in docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"dayfly/{name}").split():
        # An examination of the host that another test runs may try KVM with this image: for ten seconds.
        until(f"{reference} is removed", partial(removed, reference), seconds=60)


def removed(reference: str) -> Literal[True] | None:
    try:
        docker("image", "rm", reference)
    except RuntimeError as error:
        if "is using its referenced image" not in str(error):
            raise
        return None
    return True


def test_a_user_bakes_and_the_second_bake_finds_it_all(user: User, long: bool) -> None:
    done = user.bake()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("baking in a container: a bake on this host lacks root")
    assert "✓ verify" in done.stdout
    made = docker("image", "inspect", "--format", "{{.Id}}", f"dayfly/{user.recipe}:latest").strip()
    assert made in done.stdout
    user.assert_nothing_half_made()
    # An image on the engine is found without a container.
    again = user.bake(300)
    assert again.returncode == 0, again.stderr
    assert made in again.stdout
    assert "container" not in again.stdout
    if long:
        assert_cached(user)


def assert_cached(user: User) -> None:
    """A cached image that the engine lacks is found in a container."""
    remove_images(user.recipe)
    cached = user.bake()
    assert cached.returncode == 0, cached.stderr
    assert all(f"= {phase} " in cached.stdout for phase in ("base", "node", "disk")), cached.stdout
    assert "✓ verify" in cached.stdout


@pytest.mark.long
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_bake_leaves_nothing(user: User, by: signal.Signals) -> None:
    process = user.start()
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout, process.stderr:
        try:
            while not process.stdout.readline().startswith("• base"):
                assert process.poll() is None, process.stderr.read()
            time.sleep(3)  # mmdebstrap is under way.
            process.send_signal(by)
            assert process.wait(timeout=120) == 130
            assert "interrupted: unfinished phases were removed" in process.stderr.read()
        finally:
            process.kill()
    user.assert_nothing_half_made()


@pytest.mark.long
def test_a_bake_whose_user_is_gone_ends_by_itself(user: User) -> None:
    process = user.start()
    assert process.stdout is not None
    with process, process.stdout:
        while not process.stdout.readline().startswith("• base"):
            assert process.poll() is None
        process.kill()
    deadline = time.monotonic() + 120
    while docker("ps", "--all", "--quiet", "--filter", "label=dayfly.role=bake"):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    user.assert_nothing_half_made()


@pytest.mark.long
def test_a_failure_has_the_code_and_the_evidence_of_a_bake_on_the_host(user: User) -> None:
    with (user.folder / "provisioning" / "recipes" / f"{user.recipe}.yaml").open("a") as file:
        file.write("packages: [no-such-package-at-all]\n")
    done = user.bake()
    assert done.returncode == 1
    assert "error [bake_failed]: phase base: mmdebstrap ended with exit code" in done.stderr
    assert "--- output\n" in done.stderr
    assert "no-such-package-at-all" in done.stderr
    user.assert_nothing_half_made()
