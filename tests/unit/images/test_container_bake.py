"""A bake in a container: privileges, input, and the parsing of its lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from dayfly.clock import SystemClock
from dayfly.drivers.interfaces import OutputLine
from dayfly.errors import BakeFailed, DayflyError, DiskFull, ImageBroken, Internal
from dayfly.images import container_bake
from dayfly.images.baker import CA_BUNDLE
from dayfly.images.container_bake import (
    CAPABILITIES,
    bake_in_container,
    bake_tool,
    error_line,
    own_files,
    progress_line,
    result_line,
)
from dayfly.images.host_access import HostAccess
from dayfly.images.progress import Progress
from dayfly.testing.fake_images import FakeImages
from tests.support.tools import FakeTools, printed

ACCESS = HostAccess(proxies={"http_proxy": "http://proxy:3128"}, ca_bundle=b"PEM", folders=(Path("/srv/wheels"),))


def test_the_container_may_do_exactly_this() -> None:
    tool = bake_tool("bare", "dayfly/baker:1", ACCESS, {})
    assert set(tool.capabilities) == {
        *("SYS_ADMIN", "SYS_CHROOT", "MKNOD", "CHOWN", "DAC_OVERRIDE", "FOWNER"),
        *("FSETID", "SETUID", "SETGID", "SETFCAP", "NET_ADMIN"),
    }
    assert all(CAPABILITIES.values()), "each with its reason"
    assert tool.mounts_file_systems
    assert tool.volumes == {"dayfly-bake-cache": "/var/cache/dayfly"}
    assert tool.folders == (), "nothing of the host's files"
    assert tool.grace_seconds > 0


def test_the_container_is_told_where_engine_and_cache_are() -> None:
    tool = bake_tool("bare", "dayfly/baker:1", ACCESS, {"DAYFLY_INSTANCE": "lab", "DAYFLY_CACHE_DIR": "/elsewhere"})
    assert tuple(tool.command[1:]) == ("-m", "dayfly.cli.bake_in_container", "bare")
    environment = tool.environment
    assert environment["DAYFLY_DOCKER_HOST"] == f"unix://{tool.engine_socket}"
    assert environment["DAYFLY_CACHE_DIR"].startswith("/var/cache/dayfly/")
    assert environment["DAYFLY_INSTANCE"] == "lab"
    assert environment["http_proxy"] == "http://proxy:3128"
    assert environment["SSL_CERT_FILE"] == CA_BUNDLE


def test_the_container_reads_the_files_that_settings_name() -> None:
    tool = bake_tool("bare", "dayfly/baker:1", ACCESS, {}, (Path("/keys/kubernetes"),))
    assert tool.folders == (Path("/keys/kubernetes"),)


def test_this_installation_is_laid_out_as_a_checkout() -> None:
    files = {file.path: file for file in own_files()}
    assert "/opt/dayfly/service/dayfly/images/bake.py" in files
    assert files["/opt/dayfly/provisioning/base/enter"].mode == 0o755
    assert files["/opt/dayfly/provisioning/recipes/bare.yaml"].mode == 0o644
    assert not any("__pycache__" in path or "/_assets/" in path for path in files)


@pytest.fixture
def images() -> FakeImages:
    images = FakeImages()
    images.add("debian:1")
    return images


class Job:
    def __init__(self, images: FakeImages, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = images
        self.reported: list[Progress] = []
        monkeypatch.setattr(container_bake, "look_at_host", lambda: ACCESS)

        async def ready(*_: object, **__: object) -> str:
            return "dayfly/baker:1"

        monkeypatch.setattr(container_bake, "ensure_baker", ready)

    async def run(self, output: tuple[OutputLine, ...], code: int | None = 0) -> str:
        tools = FakeTools(self.images, output, code)
        try:
            return await bake_in_container(
                "bare",
                base="debian:1",
                images=self.images,
                tools=tools,
                report=self.reported.append,
                clock=SystemClock(),
                settings={},
            )
        finally:
            assert tools.running == 0


@pytest.fixture
def job(images: FakeImages, monkeypatch: pytest.MonkeyPatch) -> Job:
    return Job(images, monkeypatch)


async def test_progress_and_result_come_through(job: Job) -> None:
    steps = [Progress("base", "running", 1.5, "unpacking"), Progress("base", "done", 3.0)]
    steps.append(Progress("node", "failed", 1.0, "the engine refused", "no such path"))
    lines = (*map(progress_line, steps), "a line of some library", "[1]", result_line("sha256:1"))
    assert await job.run(printed(*lines)) == "sha256:1"
    assert [step for step in job.reported if step.phase != "baker"] == steps
    assert [step.state for step in job.reported if step.phase == "baker"] == ["running", "done"]


@pytest.mark.parametrize(
    "error",
    [
        BakeFailed("phase base: mmdebstrap ended with exit code 25", evidence={"output": "E: no such package"}),
        DiskFull("phase node: no space left", evidence={"output": "x"}),
        ImageBroken("`true` ended with exit code 1"),
        Internal("a defect"),
    ],
)
async def test_a_failure_keeps_code_message_and_evidence(job: Job, error: DayflyError) -> None:
    with pytest.raises(type(error)) as caught:
        await job.run(printed(error_line(error)), code=1)
    assert (type(caught.value), caught.value.message, caught.value.evidence) == (
        type(error),
        error.message,
        error.evidence,
    )


async def test_an_error_that_this_version_does_not_know_is_a_failed_bake(job: Job) -> None:
    unknown = error_line(BakeFailed("new")).replace("bake_failed", "of_tomorrow")
    with pytest.raises(BakeFailed, match="new"):
        await job.run(printed(unknown))


@pytest.mark.parametrize(("code", "said"), [(137, "exit code 137"), (None, "its exit code is not known")])
async def test_an_end_without_a_result_is_a_failure_with_the_last_words(job: Job, code: int | None, said: str) -> None:
    output = (*printed("{}"), OutputLine("stderr", "MemoryError"), OutputLine("stderr", result_line("sha256:1")))
    with pytest.raises(BakeFailed, match=said) as caught:
        await job.run(output, code)
    assert "MemoryError" in caught.value.evidence["output"]
