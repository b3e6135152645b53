"""DockerImages against a real engine: created images, leftovers, and failures."""

from __future__ import annotations

import asyncio
import gzip
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiodocker import Docker
from aiodocker.containers import DockerContainer

from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.docker.images import DockerImages
from dayfly.errors import BakeFailed, EngineRefused, EngineUnavailable, ImageMissing
from tests.support.socket_proxy import CuttableSocket
from tests.support.steps import busybox, engine, images, instance, pack_busybox

__all__ = ["busybox", "engine", "images", "instance"]
pytestmark = pytest.mark.docker


@pytest.fixture
async def docker() -> AsyncIterator[Docker]:
    async with Docker() as client:
        yield client


@pytest.fixture
async def reference(images: DockerImages) -> AsyncIterator[str]:
    name = f"dayfly-test/{secrets.token_hex(4)}:v1"
    yield name
    await images.remove(name)


async def _all_images(docker: Docker) -> set[str]:
    return {image["Id"] for image in await docker.images.list(all=True)}


async def _all_containers(docker: Docker) -> set[str]:
    return {container.id for container in await docker.containers.list(all=True)}


@pytest.fixture
async def base(images: DockerImages, tmp_path: Path) -> AsyncIterator[str]:
    """An image with a shell and a command, as toolboxes have."""
    name = f"dayfly-test/{secrets.token_hex(4)}:base"
    pack_busybox(tmp_path / "base.tar")
    await images.import_rootfs(tmp_path / "base.tar", name, changes=['CMD ["/bin/sh"]', "LABEL base=yes"])
    yield name
    await images.remove(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """To be added. Its own mode is not to become that of `/`."""
    made = tmp_path / "added"
    (made / "dayfly").mkdir(parents=True)
    made.chmod(0o700)
    (made / "dayfly" / "disk").write_text("the disk")
    return made


@pytest.fixture
def slow_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs, and does not come to an end."""
    program = tmp_path / "bin" / "tar"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n/bin/tar "$@"\nexec sleep 60\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
async def test_a_root_file_system_becomes_an_image(
    images: DockerImages, reference: str, tmp_path: Path, packed: bool
) -> None:
    tar = tmp_path / "rootfs.tar"
    pack_busybox(tar)
    if packed:
        tar.write_bytes(gzip.compress(tar.read_bytes()))

    made = await images.import_rootfs(tar, reference, changes=['LABEL a.b="c d"', "ENV WHO=me"])

    info = await images.inspect(reference)
    assert (info.id, info.references, info.labels) == (made, (reference,), {"a.b": "c d"})
    ended = await images.run(reference, ["sh", "-c", "echo $WHO"], timeout=30)
    assert ended is not None
    assert ended.stdout == b"me\n"


async def test_a_root_file_system_that_is_none(images: DockerImages, reference: str, tmp_path: Path) -> None:
    tar = tmp_path / "rootfs.tar"
    tar.write_bytes(b"this is no tar" * 100)

    with pytest.raises(BakeFailed):
        await images.import_rootfs(tar, reference)
    with pytest.raises(ImageMissing):
        await images.inspect(reference)


async def test_files_are_added_to_an_image(
    images: DockerImages, docker: Docker, base: str, folder: Path, reference: str
) -> None:
    before = await _all_containers(docker)
    # More than one chunk, to test streaming.
    (folder / "dayfly" / "disk").write_bytes(b"d" * 5_000_000)

    made = await images.add_files(base, folder, reference, labels={"dayfly.image": '{"a": "b"}'})

    info = await images.inspect(reference)
    assert info.id == made
    assert info.labels == {"dayfly.image": '{"a": "b"}', "base": "yes"}
    ended = await images.run(
        reference, ["sh", "-c", "cat /dayfly/disk | tail -c 3; stat -c ' %u %a' / /dayfly"], timeout=30
    )
    assert ended is not None
    # Podman's own mode of a container's root is 555.
    assert ended.stdout in {b"ddd 0 755\n 0 755\n", b"ddd 0 555\n 0 755\n"}
    assert (await docker.images.inspect(reference))["Config"]["Cmd"] == ["/bin/sh"]
    assert reference in {name for image in await images.list(label="dayfly.image") for name in image.references}
    assert await _all_containers(docker) == before


async def test_files_of_an_image_are_read_without_running_it(
    images: DockerImages, docker: Docker, base: str, folder: Path, reference: str, tmp_path: Path
) -> None:
    (folder / "dayfly" / "disk").write_bytes(b"d" * 5_000_000)
    made = await images.add_files(base, folder, reference, labels={})
    before = await _all_containers(docker)
    target = tmp_path / "target"
    target.mkdir()

    await images.read_files(made, "/dayfly", target, reader="one")

    assert (target / "dayfly" / "disk").read_bytes() == b"d" * 5_000_000
    with pytest.raises((EngineRefused, ImageMissing)):
        await images.read_files(made, "/none", target, reader="one")
    assert await _all_containers(docker) == before


@pytest.mark.usefixtures("slow_tar")
async def test_adding_that_is_given_up_leaves_nothing(
    images: DockerImages, docker: Docker, base: str, folder: Path, reference: str
) -> None:
    before = await _all_images(docker), await _all_containers(docker)
    adding = asyncio.create_task(images.add_files(base, folder, reference, labels={}))
    async with asyncio.timeout(30):
        while await _all_containers(docker) == before[1]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    # The files are being sent by then.
    await asyncio.sleep(0.5)

    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding

    assert (await _all_images(docker), await _all_containers(docker)) == before


async def test_adding_that_is_given_up_at_the_last_moment_leaves_what_has_its_name(
    images: DockerImages,
    docker: Docker,
    base: str,
    folder: Path,
    reference: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = await _all_images(docker), await _all_containers(docker)
    committing, commit = asyncio.Event(), DockerContainer.commit

    async def noted(self: DockerContainer, **options: Any) -> dict[str, Any]:
        committing.set()
        return await commit(self, **options)

    monkeypatch.setattr(DockerContainer, "commit", noted)
    adding = asyncio.create_task(images.add_files(base, folder, reference, labels={}))
    await committing.wait()

    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding

    # The engine completes it anyhow: it is there by now, not some time later.
    await images.inspect(reference)
    await images.remove(reference)
    assert (await _all_images(docker), await _all_containers(docker)) == before


@pytest.mark.usefixtures("slow_tar")
async def test_what_was_left_by_who_was_killed_is_removed_by_the_next(
    images: DockerImages,
    docker: Docker,
    base: str,
    folder: Path,
    reference: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = await _all_containers(docker)
    with CuttableSocket(tmp_path / "engine.sock") as away:
        killed = DockerImages(away.url)
        adding = asyncio.create_task(killed.add_files(base, folder, reference, labels={}))
        async with asyncio.timeout(30):
            while await _all_containers(docker) == before:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        away.cut()
        adding.cancel()
        await asyncio.gather(adding, return_exceptions=True)
        await killed.close()
    assert len(await _all_containers(docker) - before) == 1

    monkeypatch.undo()
    await images.add_files(base, folder, reference, labels={})

    assert await _all_containers(docker) == before


async def test_what_a_second_bake_replaces_is_deleted(
    images: DockerImages, docker: Docker, base: str, folder: Path, reference: str
) -> None:
    before = await _all_images(docker)
    first = await images.add_files(base, folder, reference, labels={})
    (folder / "dayfly" / "disk").write_text("another")

    second = await images.add_files(base, folder, reference, labels={})

    assert (await images.inspect(reference)).id == second
    assert first not in await _all_images(docker)
    await images.remove(reference)
    assert await _all_images(docker) - before == set()


async def test_what_cannot_be_added(
    images: DockerImages, docker: Docker, base: str, folder: Path, reference: str, slow_tar: None, tmp_path: Path
) -> None:
    before = await _all_images(docker), await _all_containers(docker)
    with pytest.raises(ImageMissing):
        await images.add_files("dayfly-test/none:v1", folder, reference, labels={})
    (tmp_path / "bin" / "tar").write_text("#!/bin/sh\nseq 10000\n")
    with pytest.raises(BakeFailed, match="archive/tar"):
        await images.add_files(base, folder, reference, labels={})
    with pytest.raises(BakeFailed):
        await images.import_rootfs(tmp_path / "none.tar", reference)
    assert (await _all_images(docker), await _all_containers(docker)) == before


async def test_a_folder_that_cannot_be_packed(
    images: DockerImages, docker: Docker, base: str, folder: Path, reference: str, slow_tar: None, tmp_path: Path
) -> None:
    before = await _all_containers(docker)
    (tmp_path / "bin" / "tar").write_text("#!/bin/sh\necho cannot read >&2\nexit 2\n")

    with pytest.raises(BakeFailed) as failed:
        await images.add_files(base, folder, reference, labels={})

    assert failed.value.evidence == {"stderr": "cannot read\n"}
    assert await _all_containers(docker) == before


async def test_tags_come_and_go_and_the_image_with_the_last(
    images: DockerImages, docker: Docker, base: str, folder: Path, reference: str
) -> None:
    made = await images.add_files(base, folder, reference, labels={})
    other = reference.replace(":v1", ":v2")
    await images.tag(reference, other)
    assert (await images.inspect(other)).id == made

    await images.remove(reference)
    assert (await images.inspect(other)).references == (other,)
    await images.remove(other)

    assert made not in await _all_images(docker)
    await images.remove(other)


async def test_a_one_shot_runs_without_privileges_or_network_and_is_gone(
    images: DockerImages, docker: Docker, busybox: str
) -> None:
    ended = await images.run(
        busybox,
        ["sh", "-c", "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; ls /sys/class/net; echo e >&2; exit 5"],
        timeout=30,
    )

    assert ended is not None
    assert ended.exit_code == 5
    assert ended.stderr == b"e\n"
    facts = ended.stdout.decode().split()
    assert facts == ["CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1", "lo"]
    assert await _one_shots(docker, busybox) == []


async def test_a_one_shot_that_overruns_is_killed(images: DockerImages, docker: Docker, busybox: str) -> None:
    assert await images.run(busybox, ["sleep", "3600"], timeout=0.3) is None
    assert await _one_shots(docker, busybox) == []


async def test_a_one_shot_that_is_given_up_is_killed(images: DockerImages, docker: Docker, busybox: str) -> None:
    running = asyncio.create_task(images.run(busybox, ["sleep", "3600"], timeout=3600))
    async with asyncio.timeout(30):
        while not await _one_shots(docker, busybox):  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert await _one_shots(docker, busybox) == []


async def test_a_one_shot_whose_process_was_killed_is_among_what_its_installation_has(
    busybox: str, engine: DockerEngine, instance: str
) -> None:
    images = DockerImages(instance=instance)
    running = asyncio.create_task(images.run(busybox, ["sleep", "60"], timeout=50))
    async with asyncio.timeout(20):
        while not (held := await engine.list_resources()):  # noqa: ASYNC110 - another process would poll too
            await asyncio.sleep(0.05)
    assert [(each.kind, each.cluster_id) for each in held] == [("container", "")]

    await engine.discard(held[0])

    assert await engine.list_resources() == ()
    await asyncio.gather(running, return_exceptions=True)
    await images.close()


async def test_a_one_shot_that_an_engine_kept_is_gone_after_the_next(
    tmp_path: Path, busybox: str, engine: DockerEngine, instance: str
) -> None:
    with CuttableSocket(tmp_path / "engine.sock") as away:
        images = DockerImages(away.url, instance=instance)
        running = asyncio.create_task(images.run(busybox, ["sleep", "60"], timeout=50))
        async with asyncio.timeout(20):
            while not any(each.running for each in await engine.list_resources()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        away.cut()
        with pytest.raises(EngineUnavailable):
            await running
        assert len(await engine.list_resources()) == 1
        away.give_back()
        assert await images.run(busybox, ["true"], timeout=50) is not None
        await images.close()
    assert await engine.list_resources() == ()


async def test_a_one_shot_of_nothing(images: DockerImages, busybox: str) -> None:
    with pytest.raises(ImageMissing):
        await images.run("dayfly-test/none:v1", ["true"], timeout=5)
    with pytest.raises(EngineRefused):
        await images.run(busybox, ["true"], devices=("/dev/none",), timeout=5)
    with pytest.raises(EngineRefused):
        await images.run(busybox, ["/no-such-program"], timeout=5)


async def test_transfers_that_cannot_be(images: DockerImages, docker: Docker, busybox: str) -> None:
    unreachable = f"127.0.0.1:1/x/{secrets.token_hex(4)}:v1"
    with pytest.raises(EngineRefused) as refused:
        _ = [step async for step in images.pull(unreachable)]
    assert "refused" in refused.value.operator_detail
    with pytest.raises(ImageMissing):
        _ = [step async for step in images.push(unreachable)]
    await images.tag(busybox, unreachable)
    try:
        with pytest.raises(EngineRefused) as refused:
            _ = [step async for step in images.push(unreachable)]
        assert "refused" in refused.value.operator_detail
    finally:
        await images.remove(unreachable)


async def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    nowhere = DockerImages(f"unix://{tmp_path}/none.sock")
    tar = tmp_path / "rootfs.tar"
    pack_busybox(tar)
    calls = [
        nowhere.inspect("x"),
        nowhere.list(label="x"),
        nowhere.tag("x", "y"),
        nowhere.remove("x"),
        nowhere.run("x", ["true"], timeout=1),
        nowhere.import_rootfs(tar, "x:y"),
        nowhere.add_files("x:y", tmp_path, "x:y", labels={}),
        anext(nowhere.push("x:y")),
        anext(nowhere.pull("x:y")),
    ]

    results = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(result) for result in results} == {EngineUnavailable}
    await nowhere.close()


async def _one_shots(docker: Docker, image: str) -> list[str]:
    filters = {"label": ["dayfly.role=one-shot"], "ancestor": [image]}
    return [found.id for found in await docker.containers.list(all=True, filters=filters)]
