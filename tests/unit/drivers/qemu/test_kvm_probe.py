"""The KVM probe: its conclusion from a booted kernel's output, and the lifetime of its result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dayfly.drivers.interfaces import ExecResult
from dayfly.drivers.qemu.accelerators import Accelerators
from dayfly.drivers.qemu.kvm_probe import AcceleratorAnswer, probe_kvm
from dayfly.errors import EngineRefused, EngineUnavailable
from dayfly.testing.fakes import FakeImages

IMAGE = "dayfly/bare:latest"
BOOTED = ExecResult(0, b"[    0.000000] Linux version 6.1.0\nKernel panic - not syncing\n", b"")


@pytest.fixture
def images() -> FakeImages:
    made = FakeImages()
    made.add(IMAGE)
    made.run_result = BOOTED
    return made


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "kvm"
    path.touch()
    return path


async def _probe(images: FakeImages, device: Path, **more: object) -> AcceleratorAnswer:
    cache = device.parent / "state" / "kvm.json"
    return await probe_kvm(images, IMAGE, cache_file=cache, device=device, **more)  # type: ignore[arg-type]


async def test_a_kernel_that_boots_means_kvm(images: FakeImages, device: Path) -> None:
    answer = await _probe(images, device)

    assert answer.accelerator == "kvm"
    assert "kvm" in images.runs[0]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (None, "still ran after 10 s"),
        (ExecResult(1, b"", b"qemu: Could not access KVM kernel module: Permission denied\n"), "Permission denied"),
        (ExecResult(1, b"", b""), "exit code 1"),
        (ExecResult(0, b"", b""), "without having run a kernel"),
    ],
)
async def test_anything_else_means_emulation_and_says_why(
    images: FakeImages, device: Path, result: ExecResult | None, said: str
) -> None:
    images.run_result = result

    answer = await _probe(images, device)

    assert answer.accelerator == "tcg"
    assert said in answer.reason


async def test_an_image_without_a_kernel_is_no_answer(images: FakeImages, device: Path) -> None:
    images.run_result = ExecResult(1, b"", b"qemu: could not open kernel file '/dayfly/vmlinuz': No such file\n")
    first = await _probe(images, device)
    images.run_result = BOOTED

    assert (first.accelerator, first.reason) == (
        "tcg",
        f"KVM is not tested yet: the image {IMAGE} has no kernel to boot",
    )
    assert (await _probe(images, device)).accelerator == "kvm", "the first answer is not kept"


async def test_what_is_configured_is_not_taken_for_a_test(images: FakeImages, tmp_path: Path) -> None:
    images.run_result = ExecResult(1, b"", b"qemu: no KVM\n")
    accelerators = Accelerators(images, "kvm", tmp_path / "kvm.json")

    assert (await accelerators.probe(IMAGE)).accelerator == "kvm"
    assert (await accelerators.test_kvm(IMAGE)).accelerator == "tcg"


async def test_it_is_tried_once_per_boot_of_the_host(images: FakeImages, device: Path) -> None:
    images.run_result = None
    first = await _probe(images, device)
    images.run_result = BOOTED

    second = await _probe(images, device)

    assert (second.accelerator, second.reason) == (first.accelerator, first.reason)
    assert images.calls["run"] == 1
    cache = device.parent / "state" / "kvm.json"
    assert (first.remembered, second.remembered) == ("", str(cache))
    assert cache.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in cache.parent.iterdir()] == ["kvm.json"]


async def test_another_boot_of_the_host_is_tried_anew(images: FakeImages, device: Path) -> None:
    await _probe(images, device)
    cache = device.parent / "state" / "kvm.json"
    cache.write_text(json.dumps(json.loads(cache.read_text()) | {"boot_id": "another"}))

    await _probe(images, device)

    assert images.calls["run"] == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"boot_id": 1}', "null"])
async def test_a_memory_that_cannot_be_read_is_none(images: FakeImages, device: Path, text: str) -> None:
    cache = device.parent / "state" / "kvm.json"
    cache.parent.mkdir()
    cache.write_text(text)

    assert (await _probe(images, device)).accelerator == "kvm"


async def test_a_device_that_only_the_engine_sees_will_do(images: FakeImages, device: Path) -> None:
    """In a container of our own there is no /dev/kvm."""
    assert (await _probe(images, device.with_name("none"))).accelerator == "kvm"


async def test_without_an_image_the_answer_is_not_remembered(images: FakeImages, device: Path) -> None:
    await images.remove(IMAGE)
    missing = await _probe(images, device)
    images.add(IMAGE)

    found = await _probe(images, device)

    assert (missing.accelerator, found.accelerator) == ("tcg", "kvm")


async def test_a_device_the_engine_does_not_hand_out_is_not_remembered(images: FakeImages, device: Path) -> None:
    images.fail_next("run", EngineRefused("no such device"))
    refused = await _probe(images, device)

    assert refused.accelerator == "tcg"
    assert (await _probe(images, device)).accelerator == "kvm"


async def test_an_engine_that_is_down_is_no_answer(images: FakeImages, device: Path) -> None:
    images.fail_next("run", EngineUnavailable("down"))

    with pytest.raises(EngineUnavailable):
        await _probe(images, device)


@pytest.mark.parametrize("setting", ["kvm", "tcg"])
async def test_what_the_operator_sets_is_not_questioned(images: FakeImages, device: Path, setting: str) -> None:
    answer = await _probe(images, device, setting=setting)

    assert answer.accelerator == setting
    assert images.calls["run"] == 0
