"""controllers/registry_caches.sh in a real shell, with a stand-in for docker-registry: the content's bound is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

PROGRAM = files("dayfly.controllers").joinpath("registry_caches.sh")
KIB = 1024
LIMIT_KIB = 1000
SECONDS = 30


class Caches:
    """The folders of the program, and the program."""

    def __init__(self, folder: Path) -> None:
        self.content, self.sockets, self._programs = folder / "content", folder / "sockets", folder / "bin"
        self.starts, self.log = folder / "starts", folder / "log"
        for made in (self.content, self.sockets, self._programs):
            made.mkdir()
        self.registry('echo "$2" >> "$STARTS"; exec sleep 1000')
        self._process: subprocess.Popen[bytes] | None = None

    def registry(self, script: str) -> None:
        program = self._programs / "docker-registry"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def blob(self, digest: str, *, kib: int, age: int, cache: str = "docker.io") -> Path:
        """A blob that was read last `age` seconds ago."""
        folder = self.content / cache / "docker/registry/v2/blobs/sha256" / digest[:2] / digest
        folder.mkdir(parents=True)
        data, written = folder / "data", self.content.parent / digest
        written.write_bytes(os.urandom(kib * KIB))
        at = time.time() - age
        os.utime(written, (at, at))
        # Whole: the program may run, and look, at any time.
        return written.rename(data)

    def start(self, *names: str, reserve_kib: int = 0) -> None:
        environment = os.environ | {
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "STARTS": str(self.starts),
            "CONTENT": str(self.content),
            "SOCKETS": str(self.sockets),
            "CONFIGURATION": "/etc/dayfly",
            "LIMIT_KIB": str(LIMIT_KIB),
            "RESERVE_KIB": str(reserve_kib),
            "INTERVAL": "0.2",
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", str(PROGRAM), *names], env=environment, start_new_session=True, stderr=log
            )

    def end(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def until(what: str, holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < ends, what
        time.sleep(0.05)


@pytest.fixture
def caches(tmp_path: Path) -> Iterator[Caches]:
    made = Caches(tmp_path)
    yield made
    made.end()


def test_the_least_recently_read_blobs_go_and_the_bound_is_kept(caches: Caches) -> None:
    old = [caches.blob(f"a{number}", kib=200, age=5000 - number) for number in range(4)]
    kept = caches.blob("bb", kib=200, age=10, cache="quay.io")
    caches.start("docker.io", "quay.io")
    new = caches.blob("cc", kib=400, age=0, cache="quay.io")
    until("the oldest are gone", lambda: not old[0].exists() and not old[1].exists())
    time.sleep(1)
    assert kept.exists()
    assert new.exists()
    assert old[3].exists(), "no more than is needed, and a tenth"


def test_with_little_room_on_the_disk_all_blobs_go(caches: Caches) -> None:
    blob = caches.blob("aa", kib=100, age=10)
    caches.start("docker.io", reserve_kib=2**50)
    until("the disk is left to others", lambda: not blob.exists())


def test_content_without_blobs_goes_when_it_exceeds_the_bound(caches: Caches) -> None:
    upload = caches.content / "docker.io/docker/registry/v2/repositories/a/_uploads/1/data"
    upload.parent.mkdir(parents=True)
    upload.write_bytes(os.urandom(2 * LIMIT_KIB * KIB))
    caches.start("docker.io")
    until("the upload is gone", lambda: not upload.exists())
    assert "all is removed" in caches.log.read_text()


def test_what_is_no_longer_listed_goes_at_the_start_with_empty_blobs(caches: Caches) -> None:
    former = caches.blob("aa", kib=1, age=10, cache="former.example")
    empty = caches.blob("ee", kib=0, age=10)
    kept = caches.blob("bb", kib=1, age=10)
    (caches.sockets / "former.example.sock").touch()
    caches.start("docker.io")
    until("the former cache is gone", lambda: not former.exists())
    until("its socket is gone", lambda: not list(caches.sockets.iterdir()))
    until("the empty blob is gone", lambda: not empty.exists())
    assert kept.exists()


def test_a_cache_that_ends_starts_again_without_its_schedule_and_others_serve(caches: Caches) -> None:
    caches.registry('echo "$2" >> "$STARTS"; case $2 in *quay*) exec sleep 1000 ;; esac; exit 1')
    schedule = caches.content / "docker.io/scheduler-state.json"
    schedule.parent.mkdir()
    schedule.write_text("{ torn")
    caches.start("docker.io", "quay.io")
    until("docker.io started twice", lambda: started(caches).count("/etc/dayfly/cache-docker.io.yml") > 1)
    assert not schedule.exists()
    until("quay.io serves", lambda: "/etc/dayfly/cache-quay.io.yml" in started(caches))
    assert started(caches).count("/etc/dayfly/cache-quay.io.yml") == 1


def started(caches: Caches) -> list[str]:
    return caches.starts.read_text().splitlines() if caches.starts.exists() else []
