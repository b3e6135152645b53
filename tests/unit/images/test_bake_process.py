"""A bake in a process of its own: its lines, its errors, and its end with its builder's."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dayfly.domain.bake import BakedImage, BakeOrder
from dayfly.domain.image import ImageManifest
from dayfly.domain.scheduling.resources import Resources
from dayfly.errors import BakeFailed, DiskFull, NotANodeImage, NotFound
from dayfly.images.bake_process import ROOM, bake_command, bake_in_process, order_from, order_line
from dayfly.images.container_bake import error_line, progress_line, result_line, room_line
from dayfly.images.process import SANDBOX
from dayfly.images.progress import Progress
from dayfly.testing.fake_images import FakeImages
from tests.support.specs import make_manifest

ORDER = BakeOrder("bare", {"count": 1, "flag": True, "names": ["a"]}, {"name": "x", "deep": {"a": [1]}})
MANIFEST: ImageManifest = make_manifest().model_copy(update={"digest": "0123456789abcdef" * 4})
READ = "import sys, json; order = json.loads(sys.stdin.readline())\n"
ENDS = "print('begun', flush=True)\nassert sys.stdin.read() == ''\n"


@pytest.fixture
def images() -> FakeImages:
    return FakeImages()


async def run(program: str, images: FakeImages, reported: list[Progress] | None = None) -> BakedImage:
    report = (reported if reported is not None else []).append
    command = (sys.executable, "-c", READ + program)
    return await bake_in_process(ORDER, report, images=images, command=command, clean_up_seconds=10)


def printing(*lines: str) -> str:
    return "".join(f"print({line!r}, flush=True)\n" for line in lines)


def test_an_order_is_a_line() -> None:
    for conformance in (None, (), ("a", "b")):
        order = replace(ORDER, conformance=conformance)
        assert order_from(order_line(order)) == order
    assert order_line(ORDER).count(b"\n") == 1


async def test_progress_and_the_image_come_through(images: FakeImages) -> None:
    image = images.add_node_image("dayfly/bare:latest", MANIFEST.model_dump_json())
    reported: list[Progress] = []
    step = Progress("base", "running", 1.0, "unpacking")
    program = printing(progress_line(step), "no event", result_line(image.id))
    assert await run(program, images, reported) == BakedImage("dayfly/bare:0123456789ab", image.id)
    assert reported == [step]


async def test_the_process_reads_the_order(images: FakeImages) -> None:
    with pytest.raises(BakeFailed) as caught:
        await run("print(json.dumps(order, sort_keys=True))", images)
    assert caught.value.evidence["output"] == json.dumps(vars(ORDER), sort_keys=True)
    assert "the bake's process ended with exit code 0" in caught.value.message


async def test_an_error_has_its_code_and_keeps_the_detail_from_callers(images: FakeImages) -> None:
    error = DiskFull("phase base: full", evidence={"output": "x" * 100_000}, operator_detail="a path of the server")
    with pytest.raises(DiskFull) as caught:
        await run(printing(error_line(error)) + ENDS, images)
    assert (caught.value.message, caught.value.evidence) == (error.message, error.evidence)
    assert caught.value.operator_detail == "a path of the server"


async def test_an_image_that_is_none_is_refused(images: FakeImages) -> None:
    plain = images.add("dayfly/bare:latest")
    with pytest.raises(NotANodeImage):
        await run(printing(result_line(plain.id)), images)


async def test_the_process_waits_for_room_of_its_builder(images: FakeImages) -> None:
    image = images.add_node_image("dayfly/bare:latest", MANIFEST.model_dump_json())
    needs, asked = Resources(2, 2048, 10), list[Resources]()

    async def room(wanted: Resources) -> None:
        asked.append(wanted)

    program = READ + printing(room_line(needs)) + f"assert sys.stdin.readline().encode() == {ROOM!r}\n"
    command = (sys.executable, "-c", program + printing(result_line(image.id)))
    for given in (room, None):
        made = await bake_in_process(ORDER, print, images=images, room=given, command=command, clean_up_seconds=10)
        assert made.id == image.id
    assert asked == [needs]


async def test_a_program_that_does_not_exist_fails(images: FakeImages) -> None:
    with pytest.raises(BakeFailed, match="cannot be started"):
        await bake_in_process(ORDER, print, images=images, command=("/nowhere/at-all",))


async def test_a_cancelled_bake_has_cleaned_up_when_the_caller_goes_on(images: FakeImages, tmp_path: Path) -> None:
    mark = tmp_path / "cleaned"
    reported: list[Progress] = []
    more = "print('y' * 1_000_000, flush=True)\n"  # a pipe that nobody reads is full at 64 KiB
    program = printing(progress_line(Progress("base", "running"))) + ENDS + more + f"open({str(mark)!r}, 'w')"
    task = asyncio.create_task(run(program, images, reported))
    async with asyncio.timeout(20):
        while not reported:  # noqa: ASYNC110 - a report of another process
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task}, timeout=20)
    assert task.cancelled()
    assert mark.exists()


async def test_a_process_that_does_not_end_is_killed_with_its_children(images: FakeImages, tmp_path: Path) -> None:
    """In namespaces, as under bake_command(): a child in a session of its own ends, too."""
    mark = tmp_path / "child"
    child = f"import time; open({str(mark)!r}, 'w').close(); time.sleep(600)"
    program = f"import subprocess; subprocess.run([sys.executable, '-c', {child!r}], start_new_session=True)"
    command = (*SANDBOX, sys.executable, "-c", READ + program)
    task = asyncio.create_task(
        bake_in_process(ORDER, lambda _: None, images=images, command=command, clean_up_seconds=0.2)
    )
    async with asyncio.timeout(20):
        while not mark.exists():  # noqa: ASYNC110 - a file of another process
            await asyncio.sleep(0.01)
    assert processes_with(str(mark))
    task.cancel()
    await asyncio.wait({task}, timeout=20)
    assert task.cancelled()
    async with asyncio.timeout(20):
        while processes_with(str(mark)):  # noqa: ASYNC110 - processes of a namespace that ended
            await asyncio.sleep(0.01)


def processes_with(word: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if word in line and int(process.name) != os.getpid():
            found.append(line)
    return found


async def test_the_real_program_refuses_an_order_of_nothing(images: FakeImages) -> None:
    with pytest.raises(NotFound, match="no recipe 'no-such'"):
        await bake_in_process(BakeOrder("no-such"), lambda _: None, images=images, command=bake_command())


async def test_the_keys_of_secrets_are_not_handed_on(images: FakeImages, monkeypatch: pytest.MonkeyPatch) -> None:
    image = images.add_node_image("dayfly/bare:latest", MANIFEST.model_dump_json())
    monkeypatch.setenv("DAYFLY_SECRETS_KEY", "a key")
    monkeypatch.setenv("DAYFLY_DEBIAN_MIRROR", "http://mirror")
    check = "import os\nassert 'DAYFLY_SECRETS_KEY' not in os.environ\nassert 'DAYFLY_DEBIAN_MIRROR' in os.environ\n"
    assert (await run(check + printing(result_line(image.id)), images)).id == image.id
