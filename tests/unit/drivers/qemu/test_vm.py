"""Saving, loading and querying machines: QEMU is faked; shell and files are real."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dayfly.domain.cluster import qemu_cmdline
from dayfly.drivers.interfaces import ExecResult
from dayfly.errors import CommandFailed, DiskFull, LeaseLost
from tests.support.played_qemu import NODE, Lab, make_lab


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return make_lab(tmp_path, monkeypatch)


async def test_what_a_dead_worker_was_saving_does_not_stop_a_machine_that_goes_on(lab: Lab) -> None:
    lab.qemu.status, lab.qemu.under_way = "paused", 1000
    await lab.machines.resume(NODE)
    assert lab.qemu.asked.index("migrate_cancel") < lab.qemu.asked.index("cont")
    lab.qemu.under_way = 1000
    await lab.save()
    assert lab.qemu.under_way == 0


async def test_what_a_dead_worker_began_to_load_is_waited_for(lab: Lab) -> None:
    lab.qemu.status, lab.qemu.under_way = "inmigrate", 3
    await lab.machines.load(NODE, str(lab.folder), ram="whole", timeout=10)
    assert "migrate-incoming" not in lab.qemu.asked


async def test_memory_that_forks_can_map_is_a_sparse_file_beside_the_state(lab: Lab) -> None:
    size = await lab.save()
    assert lab.qemu.capabilities == {"x-ignore-shared": True, "mapped-ram": False}
    assert lab.left() == ["disk.qcow2", "node01", "ram", "state"]
    ram = lab.folder / qemu_cmdline.RAM
    assert ram.stat().st_size == 64 << 20
    assert ram.read_bytes()[:6] == b"memory"
    assert size < 1 << 20, "what is empty takes no room"
    assert await lab.machines.saved(NODE, str(lab.folder))


async def test_memory_that_is_read_once_lies_within_the_state_and_a_kept_disk_is_not_copied(lab: Lab) -> None:
    await lab.save(ram="whole", disk=False)
    assert lab.qemu.capabilities == {"x-ignore-shared": False, "mapped-ram": True}
    assert lab.left() == ["node01", "state"]


async def test_saved_again_it_replaces_what_was_there_and_is_never_half_there(lab: Lab) -> None:
    await lab.save()
    lab.qemu.state = b"later"
    # Its own earlier save left it so; QEMU saves no such machine.
    assert lab.qemu.status == "postmigrate"
    await lab.save(ram="whole", disk=False)
    assert (lab.folder / qemu_cmdline.STATE).read_bytes() == b"later"
    assert lab.left() == ["node01", "state"]
    assert lab.qemu.asked.count("cont") == 1


async def test_a_fork_whose_memory_is_partly_its_templates(lab: Lab) -> None:
    lab.qemu.share = False
    with pytest.raises(CommandFailed, match="cannot be shared"):
        await lab.save()
    assert lab.qemu.status == "running"
    assert lab.left() == []
    await lab.save(ram="whole")
    assert lab.left() == ["disk.qcow2", "node01", "state"]


@pytest.mark.parametrize(
    ("told", "kind"),
    [("Unable to write to file: No space left on device", DiskFull), ("State blocked by device", CommandFailed)],
)
async def test_qemu_that_cannot_save_leaves_nothing_and_what_was_there(
    lab: Lab, told: str, kind: type[Exception]
) -> None:
    await lab.save()
    before = lab.left()
    lab.qemu.fate = {"status": "failed", "error-desc": told}
    with pytest.raises(kind, match=told):
        await lab.save()
    assert lab.left() == before
    assert await lab.machines.saved(NODE, str(lab.folder))


async def test_a_disk_that_cannot_be_copied_leaves_nothing_and_a_machine_that_can_go_on(lab: Lab) -> None:
    (lab.root / "disk.qcow2").unlink()
    with pytest.raises(CommandFailed, match=r"disk\.qcow2"):
        await lab.save()
    assert lab.left() == []
    assert not await lab.machines.saved(NODE, str(lab.folder))
    await lab.machines.resume(NODE)
    assert await lab.machines.status(NODE) == "running"


async def test_a_save_that_does_not_end(lab: Lab) -> None:
    lab.qemu.fate = {"status": "active"}
    with pytest.raises(CommandFailed, match=r"not complete within 0.2 s"):
        await lab.save(timeout=0.2)
    assert lab.left() == []


async def test_what_a_killed_worker_left_is_cleared_away_with_the_next_save(lab: Lab) -> None:
    for name in ("node01.new-1234", "node01.old"):
        (lab.folder.parent / name).mkdir(parents=True)
    assert not await lab.machines.saved(NODE, str(lab.folder))
    await lab.save(ram="whole", disk=False)
    assert lab.left() == ["node01", "state"]


async def test_whose_claim_is_anothers_by_now_changes_nothing(lab: Lab) -> None:
    await lab.save(fence=2)
    before, lab.qemu.state = lab.left(), b"later"
    lab.qemu.asked.clear()
    with pytest.raises(LeaseLost):
        await lab.save(fence=1)
    with pytest.raises(LeaseLost):
        await lab.machines.discard(NODE, str(lab.folder.parent), fence=lab.fence(1))
    assert lab.left() == before
    assert (lab.folder / qemu_cmdline.STATE).read_bytes() == b"state"
    assert lab.qemu.asked == []


async def test_what_was_begun_under_a_claim_that_is_lost_meanwhile_does_not_count(lab: Lab) -> None:
    await lab.machines.discard(NODE, str(lab.folder), fence=lab.fence(1))
    lab.qemu.when_saved = lambda: (lab.root / "fence").write_text("2\n")
    with pytest.raises(LeaseLost):
        await lab.save(fence=1)
    assert lab.left() == []


async def test_a_machine_that_somebody_lets_go_on_is_not_saved(lab: Lab) -> None:
    lab.qemu.when_saved = lambda: setattr(lab.qemu, "status", "running")
    with pytest.raises(CommandFailed, match="another worker resumed the machine"):
        await lab.save()
    assert lab.left() == []


async def test_loaded_it_stands_still(lab: Lab) -> None:
    await lab.save(ram="whole")
    lab.qemu.status, lab.qemu.state = "inmigrate", b""
    await lab.machines.load(NODE, str(lab.folder), ram="whole", timeout=10)
    assert (await lab.machines.status(NODE), lab.qemu.state) == ("paused", b"state")
    assert lab.qemu.capabilities == {"x-ignore-shared": False, "mapped-ram": True}


async def test_loaded_it_goes_on_when_all_else_is_done_however_long_that_takes(lab: Lab) -> None:
    await lab.save(ram="whole")
    lab.qemu.status = "inmigrate"
    loaded, others = asyncio.Event(), asyncio.Event()

    async def then() -> None:
        loaded.set()
        await others.wait()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(lab.machines.load(NODE, str(lab.folder), ram="whole", timeout=1, then=then))
        await loaded.wait()
        await asyncio.sleep(1.1)
        assert lab.qemu.status == "paused"
        others.set()
    assert lab.qemu.status == "running"


async def test_loaded_in_vain_it_does_not_go_on(lab: Lab) -> None:
    await lab.save(ram="whole")
    lab.qemu.status = "inmigrate"

    async def then() -> None:
        raise CommandFailed("another was not loaded")

    with pytest.raises(CommandFailed, match="another"):
        await lab.machines.load(NODE, str(lab.folder), ram="whole", timeout=10, then=then)
    assert lab.qemu.status == "paused"


async def test_nothing_goes_on_before_it_is_loaded(lab: Lab) -> None:
    lab.qemu.status = "inmigrate"
    with pytest.raises(CommandFailed, match="not loaded yet"):
        await lab.machines.resume(NODE)
    assert lab.qemu.status == "inmigrate"


async def test_a_state_that_does_not_fit(lab: Lab) -> None:
    await lab.save()
    lab.qemu.status, lab.qemu.fate = "inmigrate", {"status": "failed", "error-desc": "Unknown savevm section"}
    with pytest.raises(CommandFailed, match="Unknown savevm section"):
        await lab.machines.load(NODE, str(lab.folder), ram="shared", timeout=10)


async def test_where_nothing_is_saved_qemus_own_words_are_told(lab: Lab) -> None:
    lab.qemu.status = "inmigrate"
    with pytest.raises(CommandFailed, match="Failed to open"):
        await lab.machines.load(NODE, str(lab.folder), ram="whole", timeout=10)


async def test_discarded_with_all_that_is_below_and_again(lab: Lab) -> None:
    await lab.save()
    for _ in range(2):
        await lab.machines.discard(NODE, str(lab.folder.parent), fence=lab.fence(1))
        assert not lab.folder.parent.exists()


async def test_memory_by_the_kernels_own_accounting(lab: Lab) -> None:
    memory = await lab.machines.memory(NODE)
    assert (memory.shared_bytes, memory.private_bytes, memory.proportional_bytes) == (42 << 10, 58 << 10, 70 << 10)
    for text in ("nothing\n", f"Pss:  {'9' * 5000} kB\n"):
        (lab.root / "rollup").write_text(text)
        with pytest.raises(CommandFailed, match="accounting"):
            await lab.machines.memory(NODE)


@pytest.mark.parametrize("printed", [b"", b"\xff", b"many", b"9" * 5000], ids=lambda printed: str(printed[:4]))
async def test_a_size_that_is_none_is_a_failure(lab: Lab, monkeypatch: pytest.MonkeyPatch, printed: bytes) -> None:
    run = lab.engine.exec

    async def hostile(name: str, argv: Sequence[str], **rest: Any) -> ExecResult:
        ended = await run(name, argv, **rest)
        return ExecResult(ended.exit_code, printed, b"") if "du --summarize" in argv[2] else ended

    monkeypatch.setattr(lab.engine, "exec", hostile)
    with pytest.raises(CommandFailed, match=r"size of .* is not known"):
        await lab.save()


async def test_the_size_so_far_is_that_of_what_is_being_written(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = list[int]()
    execute = lab.engine.exec

    async def watched(name: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> ExecResult:
        if "cp --sparse" in argv[2]:
            sizes.append(await lab.machines.size_so_far(NODE, str(lab.folder)))
        return await execute(name, argv, stdin=stdin, timeout=timeout)

    monkeypatch.setattr(lab.engine, "exec", watched)
    assert await lab.machines.size_so_far(NODE, str(lab.folder)) == 0
    lab.qemu.state = b"x" * (1 << 20)
    whole = await lab.save(ram="whole")
    (first,) = sizes
    assert 1 << 20 <= first < whole
    assert await lab.machines.size_so_far(NODE, str(lab.folder)) == whole
    lab.qemu.state = b""
    await lab.save(ram="whole")
    assert sizes[1] < 1 << 20, "the earlier snapshot does not count"


async def test_a_look_that_was_killed_does_not_say_that_nothing_is_saved(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: object, **__: object) -> ExecResult:
        return ExecResult(137, b"", b"")

    monkeypatch.setattr(lab.engine, "exec", killed)
    with pytest.raises(CommandFailed, match="exit code 137"):
        await lab.machines.saved(NODE, str(lab.folder))


async def test_one_whose_saving_never_ends_does_not_go_on(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dayfly.drivers.qemu.vm._SHORT_SECONDS", 0.1)
    lab.qemu.status, lab.qemu.under_way = "paused", 1
    monkeypatch.setattr(lab.qemu, "fate", {"status": "cancelling"})
    with pytest.raises(CommandFailed, match="does not cancel the running snapshot"):
        await lab.machines.resume(NODE)
    assert "cont" not in lab.qemu.asked
