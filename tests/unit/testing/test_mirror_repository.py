"""The mirror's packages and apt repository, of toy programs, as apt sees them: a real apt, a real server."""

from __future__ import annotations

import subprocess
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dayfly.errors import BakeFailed
from tests.support.mirror.file_server import FileServer, file_server
from tests.support.mirror.packages import NAMES, Programs, make_packages, minor_of
from tests.support.mirror.private_apt import PrivateApt, make_apt
from tests.support.mirror.repository import Repository, sign_again, write_repository
from tests.support.mirror.signing import SigningKey, signing_key

KUBELET = "amd64/kubelet_1.20.2-1.1_amd64.deb"


@dataclass(frozen=True)
class Mirror:
    """A served repository, and an apt that trusts its key."""

    repository: Repository
    server: FileServer
    apt: PrivateApt

    def path(self, name: str) -> str:
        return f"{self.repository.path}/{name}"


@pytest.fixture(scope="module")
def key() -> Iterator[SigningKey]:
    with signing_key() as key:
        yield key


@pytest.fixture(scope="module")
def forger() -> Iterator[SigningKey]:
    with signing_key("forger") as key:
        yield key


@pytest.fixture
async def packages(tmp_path: Path) -> tuple[Path, ...]:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    programs = {name: tmp_path / name for name in ("kubelet", "kubeadm", "kubectl", "crictl")}
    for path in (*programs.values(), plugins / "bridge"):
        path.write_text(f"#!/bin/sh\necho {path.name}\n")
    folder = tmp_path / "packages"
    folder.mkdir()
    toys = Programs(kubernetes="v1.20.2", **programs, plugins=plugins, plugins_version="1.1.1")
    return await make_packages(toys, folder)


@pytest.fixture
async def repository(packages: tuple[Path, ...], key: SigningKey, tmp_path: Path) -> Repository:
    return await write_repository(packages, "v1.20", tmp_path / "mirror", key)


@pytest.fixture
def mirror(repository: Repository, tmp_path: Path) -> Iterator[Mirror]:
    with file_server(repository.root) as server:
        apt = make_apt(tmp_path / "apt", repository.source(server.url, repository.folder / "Release.key"))
        yield Mirror(repository, server, apt)


def fields(package: Path) -> dict[str, str]:
    done = subprocess.run(["dpkg-deb", "--field", package], check=True, capture_output=True, text=True)
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


def contents(package: Path) -> dict[str, str]:
    """Path → mode, owner and group, as tar lists them; files only."""
    done = subprocess.run(["dpkg-deb", "--contents", package], check=True, capture_output=True, text=True)
    words = [line.split() for line in done.stdout.splitlines()]
    return {one[-1].removeprefix("."): f"{one[0]} {one[1]}" for one in words if not one[0].startswith("d")}


def test_names_versions_and_dependencies_are_those_of_upstreams_packages(packages: tuple[Path, ...]) -> None:
    assert [path.name for path in packages] == [
        *("cri-tools_1.20.0-1.1_amd64.deb", "kubeadm_1.20.2-1.1_amd64.deb", "kubectl_1.20.2-1.1_amd64.deb"),
        *("kubelet_1.20.2-1.1_amd64.deb", "kubernetes-cni_1.1.1-1.1_amd64.deb"),
    ]
    found = {one["Package"]: one for one in map(fields, packages)}
    assert tuple(found) == NAMES
    assert found["kubeadm"]["Depends"] == "cri-tools (>= 1.20.0)"
    assert found["kubelet"]["Depends"].startswith("kubernetes-cni (>= 1.1.1), ")
    assert "Depends" not in found["kubectl"]
    assert {one["Architecture"] for one in found.values()} == {"amd64"}


def test_programs_units_and_plugins_have_upstreams_paths(packages: tuple[Path, ...]) -> None:
    cri_tools, kubeadm, kubectl, kubelet, plugins = map(contents, packages)
    program = "-rwxr-xr-x root/root"
    assert cri_tools == {"/usr/bin/crictl": program}
    assert kubectl == {"/usr/bin/kubectl": program}
    assert plugins == {"/opt/cni/bin/bridge": program}
    drop_in = "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf"
    assert kubeadm == {"/usr/bin/kubeadm": program, drop_in: "-rw-r--r-- root/root"}
    assert kubelet["/usr/bin/kubelet"] == program
    assert {"/usr/lib/systemd/system/kubelet.service", "/etc/default/kubelet"} <= set(kubelet)


def test_the_minor_version_of_an_address() -> None:
    assert minor_of("v1.36.4") == "v1.36"
    with pytest.raises(AssertionError, match="not a version"):
        minor_of("1.36")


async def test_apt_fetches_what_the_key_has_signed(mirror: Mirror) -> None:
    await mirror.apt.update()
    assert (await mirror.apt.show("kubeadm"))["Filename"].removeprefix("./") == "amd64/kubeadm_1.20.2-1.1_amd64.deb"
    package = await mirror.apt.download("kubelet")
    assert package.read_bytes() == (mirror.repository.folder / KUBELET).read_bytes()
    assert mirror.repository.path == "core:/stable:/v1.20/deb"
    assert KUBELET in mirror.repository.packages()


async def test_release_and_its_signature_apart_do_as_well_as_inrelease(mirror: Mirror) -> None:
    mirror.server.missing.add(mirror.path("InRelease"))
    await mirror.apt.update()
    assert mirror.path("Release.gpg") in {asked.path for asked in mirror.server.asked}


async def test_apt_refuses_the_signature_of_another_key(mirror: Mirror, forger: SigningKey) -> None:
    await sign_again(mirror.repository, forger)
    await refused(mirror.apt.update(), "NO_PUBKEY")


async def test_apt_refuses_a_repository_by_a_foreign_key(mirror: Mirror, forger: SigningKey, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.asc"
    foreign.write_bytes(forger.public)
    apt = make_apt(tmp_path / "second", mirror.repository.source(mirror.server.url, foreign))
    await refused(apt.update(), "NO_PUBKEY")


async def test_a_forgers_repository_has_the_key_of_another(
    packages: tuple[Path, ...], key: SigningKey, forger: SigningKey, tmp_path: Path
) -> None:
    made = await write_repository(packages, "v1.20", tmp_path / "forged", key, signer=forger)
    assert (made.folder / "Release.key").read_bytes() == key.public
    with file_server(made.root) as server:
        apt = make_apt(tmp_path / "second", made.source(server.url, made.folder / "Release.key"))
        await refused(apt.update(), "NO_PUBKEY")


async def test_apt_refuses_a_package_that_was_changed_after_the_signature(mirror: Mirror) -> None:
    path = mirror.repository.folder / KUBELET
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    await mirror.apt.update()
    await refused(mirror.apt.download("kubelet"), "Hash Sum mismatch")


async def test_a_missing_repository_and_a_missing_package(mirror: Mirror) -> None:
    mirror.server.missing |= {mirror.path(name) for name in ("InRelease", "Release", "Release.gpg")}
    await refused(mirror.apt.update(), "does not have a Release file")
    mirror.server.missing = {mirror.path(KUBELET)}
    await mirror.apt.update()
    await refused(mirror.apt.download("kubelet"), "404")


async def test_a_mirror_that_dies_half_way_can_come_back(mirror: Mirror) -> None:
    await mirror.apt.update()
    size = (mirror.repository.folder / KUBELET).stat().st_size
    mirror.server.dies_after[mirror.path(KUBELET)] = size // 2
    await refused(mirror.apt.download("kubelet"), "Failed to fetch")
    mirror.server.dies_after.clear()
    package = await mirror.apt.download("kubelet")
    assert package.read_bytes() == (mirror.repository.folder / KUBELET).read_bytes()


async def refused(action: Awaitable[object], reason: str) -> None:
    """`action` fails, and apt's output has `reason`."""
    with pytest.raises(BakeFailed) as failed:
        await action
    assert reason in str(failed.value.evidence["output"])
