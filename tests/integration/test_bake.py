"""Bakes on a real host and a real engine: images, and leftovers of interrupted bakes and full disks."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dayfly import assets
from dayfly.client import Client
from dayfly.domain.image import ImageManifest
from dayfly.drivers.docker.images import DockerImages
from dayfly.errors import BakeFailed, DiskFull
from dayfly.images.bake import bake
from dayfly.images.progress import OnLine, Progress
from tests.support.images import variant
from tests.support.service import docker


@pytest.fixture
def recipe(tmp_path: Path) -> tuple[str, Path]:
    """A recipe of our own, in a provisioning/ of our own: `bare` with nothing but what a boot needs."""
    root = Path(shutil.copytree(assets.provisioning(), tmp_path / "provisioning"))
    name = f"test-{secrets.token_hex(4)}"
    text = (root / "recipes" / "bare.yaml").read_text().replace("name: bare", f"name: {name}")
    (root / "recipes" / f"{name}.yaml").write_text(text)
    return name, root


@pytest.fixture
async def images() -> AsyncIterator[DockerImages]:
    images = DockerImages()
    yield images
    await images.close()


class Bake:
    """A bake with its own cache, and all its reports."""

    def __init__(self, images: DockerImages, recipe: tuple[str, Path], cache: Path) -> None:
        self.images, self.cache = images, cache
        self.name, self.root = recipe
        self.reported: list[Progress] = []
        self.on_report: Callable[[Progress], object] = lambda _: None

    async def run(self) -> str:
        return await bake(
            self.name,
            images=self.images,
            builder=self.images,
            cache_dir=self.cache,
            report=self._report,
            verify=self._verify,
            provisioning=self.root,
        )

    def assert_nothing_half_made(self) -> None:
        assert [path.name for path in self.cache.glob(".new-*")] == []
        assert str(self.cache) not in Path("/proc/self/mountinfo").read_text()
        assert processes_in(self.cache) == []
        assert self.name not in docker("images", "--format", "{{.Repository}}:{{.Tag}}")

    def _report(self, progress: Progress) -> None:
        self.reported.append(progress)
        self.on_report(progress)

    async def _verify(self, image_id: str, manifest: ImageManifest, progress: OnLine) -> None:
        raise AssertionError("none of these bakes gets as far")


def processes_in(folder: Path) -> list[str]:
    """The command lines of all processes that name `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder) in words:
            found.append(words)
    return found


async def test_a_bake_that_is_interrupted_leaves_nothing_half_made(
    images: DockerImages, recipe: tuple[str, Path], tmp_path: Path
) -> None:
    job = Bake(images, recipe, tmp_path / "cache")
    unpacking = asyncio.Event()

    def note(progress: Progress) -> None:
        if "extracting" in progress.message:
            unpacking.set()

    job.on_report = note
    async with asyncio.timeout(300), asyncio.TaskGroup() as group:
        task = group.create_task(job.run())
        await unpacking.wait()
        assert processes_in(job.cache)
        task.cancel()
    assert task.cancelled()
    job.assert_nothing_half_made()


@contextmanager
def small_file_system(folder: Path, size_mib: int) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


async def test_a_disk_that_is_full_is_called_by_its_name(
    images: DockerImages, recipe: tuple[str, Path], tmp_path: Path
) -> None:
    with small_file_system(tmp_path / "small", 96) as folder:
        job = Bake(images, recipe, folder / "cache")
        with pytest.raises(DiskFull) as caught:
            async with asyncio.timeout(600):
                await job.run()
        assert caught.value.evidence["output"]
        assert [path.name for path in job.cache.glob(".new-*")] == []
        assert job.name not in docker("images", "--format", "{{.Repository}}:{{.Tag}}")


async def test_a_package_that_does_not_exist_fails_with_what_apt_said(
    images: DockerImages, recipe: tuple[str, Path], tmp_path: Path
) -> None:
    name, root = recipe
    with (root / "recipes" / f"{name}.yaml").open("a") as file:
        file.write("packages: [no-such-package-at-all]\n")
    job = Bake(images, recipe, tmp_path / "cache")
    with pytest.raises(BakeFailed, match="phase base: mmdebstrap ended") as caught:
        async with asyncio.timeout(300):
            await job.run()
    assert "no-such-package-at-all" in caught.value.evidence["output"]
    job.assert_nothing_half_made()


def test_what_was_baked_is_not_baked_again() -> None:
    before = docker("image", "inspect", "--format", "{{.Id}}", "dayfly/bare:latest").strip()
    command = [sys.executable, "-m", "dayfly.cli.main", "image", "bake", "bare"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert before in done.stdout
    reported = [line for line in (done.stdout + done.stderr).splitlines() if before not in line]
    assert len(reported) == 1, "a phase ran"
    assert "exists and is verified" in reported[0]


def test_an_image_holds_no_key_no_name_and_no_mirror(tmp_path: Path) -> None:
    container = docker("create", "dayfly/bare:latest", "true").strip()
    try:
        docker("cp", f"{container}:/dayfly/disk.qcow2", str(tmp_path / "disk.qcow2"))
    finally:
        docker("rm", "-f", "-v", container)
    raw = tmp_path / "disk.raw"
    convert: list[str | Path] = ["qemu-img", "convert", "-O", "raw", tmp_path / "disk.qcow2", raw]
    subprocess.run(convert, check=True, timeout=120)

    def look(command: str) -> str:
        argv: list[str | Path] = ["debugfs", "-R", command, raw]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout

    assert "sshd_config" in look("ls -p /etc/ssh")
    assert "ssh_host" not in look("ls -p /etc/ssh")
    assert "authorized_keys" not in look("ls -p /root/.ssh")
    assert look("cat /etc/machine-id").strip() == ""
    assert look("cat /etc/resolv.conf") == "nameserver 192.168.66.2\n"
    assert "sources.list\n" not in look("ls -p /etc/apt").replace("/", "\n")
    assert ".list" not in look("ls -p /etc/apt/sources.list.d")


@pytest.mark.vm
def test_an_image_goes_through_a_clusters_own_registry(client: Client) -> None:
    name = f"pulled-{secrets.token_hex(4)}"
    cluster = client.create(image="bare", name=f"r-{secrets.token_hex(4)}", workers=0)
    try:
        client.wait_ready(cluster.id, timeout_seconds=300)
        target = f"{client.registry(cluster.id).push}/dayfly/{name}:1"
        with variant("dayfly/bare:latest", recipe=name, digest=secrets.token_hex(32)) as reference:
            pushed = docker("image", "inspect", "--format", "{{.Id}}", reference).strip()
            image_command("push", reference, target)
        # The engine no longer has the variant and its names: the next pull comes from the registry.
        assert name not in docker("images", "--format", "{{.Repository}}:{{.Tag}}")
        image_command("pull", target)
        try:
            pulled = docker("image", "inspect", "--format", "{{.Id}}", f"dayfly/{name}:latest").strip()
            assert pulled == pushed
            assert name in image_command("list")
        finally:
            docker("image", "rm", "--force", pushed)
    finally:
        client.delete(cluster.id)
        client.wait_deleted(cluster.id)


def image_command(*arguments: str) -> str:
    command = [sys.executable, "-m", "dayfly.cli.main", "image", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
