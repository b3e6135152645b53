"""Each check of the doctor, on hosts made of a folder and a few lambdas."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

import pytest

from dayfly.doctor.checks import GIB, Check, Host
from dayfly.doctor.examine import Subject, examine
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.drivers.interfaces import EngineInfo, ImageInfo
from dayfly.drivers.qemu.kvm_probe import AcceleratorAnswer
from dayfly.errors import DatabaseInUse, EngineUnavailable, Failure
from dayfly.images.host import TOOLS

INFO = EngineInfo(
    version="20.10.24",
    kernel="6.1.0",
    cpus=2,
    memory_bytes=24 * GIB,
    storage_driver="overlay2",
    cgroup_version=1,
    cgroup_driver="cgroupfs",
    root="/var/lib/docker",
    ipv4_forwarding=True,
    api_version="1.41",
    min_api_version="1.12",
    image_store="overlay2 graph driver",
)
IMAGE = ImageInfo("sha256:1", ("dayfly/bare:latest",), {}, 1, datetime(2026, 1, 1, tzinfo=UTC))


T = TypeVar("T")


def answers(value: T | Exception) -> Callable[[], Awaitable[T]]:
    """A function that answers with `value`, or raises it."""

    async def answer() -> T:
        if isinstance(value, Exception):
            raise value
        return value

    return answer


@pytest.fixture
def healthy(tmp_path: Path) -> Subject:
    for folder in (
        "dev/net",
        "proc/sys/net/ipv4",
        "proc/sys/net/netfilter",
        "sys/class/net/docker0/bridge",
        "var/lib/docker",
        "usr/share/keyrings",
    ):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "dev/net/tun").touch()
    (tmp_path / "proc/sys/net/ipv4/ip_forward").write_text("1\n")
    (tmp_path / "proc/sys/net/netfilter/nf_conntrack_max").write_text("65536\n")
    (tmp_path / "usr/share/keyrings/debian-archive-keyring.gpg").touch()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 99 kB\nMemAvailable: 16777216 kB\n")

    async def kvm() -> AcceleratorAnswer:
        return AcceleratorAnswer("kvm", "a kernel booted and ended in 0.4 s", 0.0)

    return Subject(
        engine_info=answers(INFO),
        node_images=answers((IMAGE,)),
        probe=kvm,
        ping_database=answers(None),
        database_file=Path("/state/dayfly.db"),
        wanted="auto",
        state_dir=Path("/state"),
        cache_dir=Path("/cache/dayfly"),
        host=Host(
            root=tmp_path,
            which=lambda tool: f"/usr/bin/{tool}",
            disk_free=lambda _: 50 * GIB,
            cores=lambda: 2,
            user_id=lambda: 0,
            has_module=lambda _: True,
        ),
    )


async def report(subject: Subject) -> dict[str, Check]:
    checks = await examine(subject)
    assert len({check.name for check in checks}) == len(checks)
    return {check.name: check for check in checks}


async def test_a_healthy_host_has_nothing_to_mend(healthy: Subject) -> None:
    checks = await report(healthy)
    assert {check.status for check in checks.values()} == {"ok"}
    assert {check.advice for check in checks.values()} == {""}
    assert "20.10.24" in checks["engine"].found
    assert "version 1" in checks["cgroups"].found


@pytest.mark.parametrize(
    ("name", "version", "found"),
    [
        ("Docker", "20.10.24+dfsg1", "lets other hosts route to containers"),
        ("Docker", "28.5.2", "refuses packets of other hosts"),
        ("Podman", "5.4.2", "lets other hosts route to containers"),
        ("Docker", "dev", "lets other hosts route to containers"),
    ],
)
async def test_what_the_engine_protects_by_itself_is_said(
    healthy: Subject, name: str, version: str, found: str
) -> None:
    info = replace(await healthy.engine_info(), name=name, version=version)
    assert found in (await report(replace(healthy, engine_info=answers(info))))["neighbours"].found


async def test_registry_caches_are_checked_where_there_are_some(healthy: Subject) -> None:
    assert "registry caches" not in await report(healthy)
    check = Check("registry caches", "ok", "docker.io; 0.0 of 20 GiB")
    assert (await report(replace(healthy, check_caches=answers(check))))["registry caches"] == check


@pytest.mark.parametrize(
    ("loopback", "status", "words"),
    [
        (True, "warn", "every user and program of this host is an operator"),
        (False, "ok", "every request needs a token"),
    ],
)
async def test_it_says_who_may_do_everything(healthy: Subject, loopback: bool, status: str, words: str) -> None:
    check = (await report(replace(healthy, loopback_is_operator=loopback)))["authentication"]
    assert check.status == status
    assert words in check.found


async def test_the_engine_is_called_by_its_name_with_what_it_does_not_do(healthy: Subject) -> None:
    podman = replace(INFO, name="Podman", version="5.4.2", image_store="storage", limitations=("x",))
    found = (await report(replace(healthy, engine_info=answers(podman))))["engine"].found
    assert found == ("Podman 5.4.2 on Linux 6.1.0; API 1.41, oldest 1.12; image store: storage; it x")


async def test_an_engine_that_is_down_fails_and_the_rest_is_still_told(healthy: Subject) -> None:
    checks = await report(replace(healthy, engine_info=answers(EngineUnavailable("no engine at /run/x.sock"))))
    assert (checks["engine"].status, checks["engine"].found) == (
        "fail",
        "there is no /var/run/docker.sock: the engine does not run",
    )
    assert "systemctl start docker" in checks["engine"].advice
    assert (checks["accelerator"].status, checks["accelerator"].advice) == ("warn", "repair the engine first")
    assert checks["tun"].status == "ok"
    assert "node images" not in checks


async def test_an_operator_sees_the_engines_text(healthy: Subject) -> None:
    down = EngineUnavailable("the engine cannot be reached", operator_detail="no route to host")
    subject = replace(healthy, engine_info=answers(down), engine_address=("tcp://lab:2376", "DOCKER_HOST"))
    found = (await report(subject))["engine"].found
    assert found == "tcp://lab:2376 (DOCKER_HOST): the engine cannot be reached (details: no route to host)"


async def test_missing_tun_and_forwarding_fail_with_the_command_that_mends_them(healthy: Subject) -> None:
    healthy.host.path("/dev/net/tun").unlink()
    healthy.host.path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    checks = await report(healthy)
    assert (checks["tun"].status, checks["tun"].advice) == ("fail", "modprobe tun")
    assert (checks["forwarding"].status, checks["forwarding"].advice) == ("fail", "sysctl -w net.ipv4.ip_forward=1")


async def test_the_engine_is_believed_where_the_host_tells_nothing(healthy: Subject) -> None:
    healthy.host.path("/proc/sys/net/ipv4/ip_forward").unlink()
    healthy.host.path("/proc/meminfo").unlink()
    checks = await report(healthy)
    assert checks["forwarding"].status == "ok"
    assert checks["memory"].found == "24.0 GiB in all; how much of it is free is not known"


async def test_what_nobody_reports_is_not_claimed(healthy: Subject) -> None:
    healthy.host.path("/proc/sys/net/ipv4/ip_forward").unlink()
    checks = await report(replace(healthy, engine_info=answers(EngineUnavailable("down"))))
    assert checks["forwarding"].status == "warn"
    assert checks["forwarding"].found == "neither the host nor the engine reports whether IPv4 forwarding is on"


@pytest.mark.parametrize("root", ["/elsewhere/docker", f"/var/lib/docker/{'x' * 300}"])
async def test_the_disk_of_an_engine_elsewhere_is_not_measured(healthy: Subject, root: str) -> None:
    """A name that is too long, in place of a folder that this user cannot read."""
    check = (await report(replace(healthy, engine_info=answers(replace(INFO, root=root)))))["engine disk"]
    assert check.status == "warn"
    assert check.found.startswith(f"the free space at {root} is not known")


async def test_a_remote_engine_is_not_taken_for_this_machine(healthy: Subject) -> None:
    subject = replace(healthy, engine_address=("ssh://lab", "DOCKER_HOST"))
    sentence = "the checks of kernel, memory and disk are of this machine, whatever the engine's is"
    assert (await report(subject))["engine"].found.endswith(f"; {sentence}")
    assert sentence not in (await report(healthy))["engine"].found


async def test_an_answer_that_is_remembered_is_called_so(healthy: Subject) -> None:
    async def probe() -> AcceleratorAnswer:
        return AcceleratorAnswer("tcg", "QEMU failed on KVM", 0.0, "/state/kvm-probe.json")

    check = (await report(replace(healthy, probe=probe)))["accelerator"]
    assert check.found == "tcg: QEMU failed on KVM (tested earlier since this host booted)"
    assert "remove /state/kvm-probe.json and run dayfly doctor again" in check.advice
    check = (await report(replace(healthy, probe=probe, wanted="kvm")))["accelerator"]
    assert check.found.endswith("but: QEMU failed on KVM (tested earlier since this host booted)")


@pytest.mark.parametrize(
    ("wanted", "accelerator", "status"),
    [
        ("auto", "kvm", "ok"),
        ("auto", "tcg", "warn"),
        ("kvm", "kvm", "ok"),
        ("kvm", "tcg", "fail"),
        ("tcg", "tcg", "ok"),
    ],
)
async def test_the_accelerator_is_judged_by_what_was_asked_for(
    healthy: Subject, wanted: Literal["auto", "kvm", "tcg"], accelerator: Accelerator, status: str
) -> None:
    async def probe() -> AcceleratorAnswer:
        return AcceleratorAnswer(accelerator, "because", 0.0)

    check = (await report(replace(healthy, wanted=wanted, probe=probe)))["accelerator"]
    assert check.status == status
    if wanted != "tcg":
        assert "because" in check.found


async def test_without_an_image_nothing_is_claimed_of_kvm(healthy: Subject) -> None:
    async def nothing_to_boot() -> None:
        return None

    subject = replace(healthy, probe=nothing_to_boot)
    check = (await report(subject))["accelerator"]
    assert (check.status, check.found.split(";")[0]) == ("warn", "no /dev/kvm")
    healthy.host.path("/dev/kvm").touch()
    assert (await report(subject))["accelerator"].found.startswith("/dev/kvm;")


async def test_a_probe_that_breaks_is_a_failed_check(healthy: Subject) -> None:
    async def probe() -> AcceleratorAnswer:
        raise Failure("no image to boot")

    check = (await report(replace(healthy, probe=probe)))["accelerator"]
    assert (check.status, check.found) == ("fail", "no image to boot")


@pytest.mark.parametrize(("mib", "status"), [(1024, "fail"), (3 * 1024, "warn"), (8 * 1024, "ok")])
async def test_memory(healthy: Subject, mib: int, status: str) -> None:
    healthy.host.path("/proc/meminfo").write_text(f"MemAvailable: {mib * 1024} kB\n")
    assert (await report(healthy))["memory"].status == status


@pytest.mark.parametrize(
    ("gib", "engine", "cache"), [(1, "fail", "warn"), (5, "warn", "warn"), (12, "ok", "warn"), (20, "ok", "ok")]
)
async def test_disk(healthy: Subject, gib: int, engine: str, cache: str) -> None:
    checks = await report(replace(healthy, host=replace(healthy.host, disk_free=lambda _: gib * GIB)))
    assert (checks["engine disk"].status, checks["cache disk"].status) == (engine, cache)


async def test_one_core_and_vfs_are_worth_a_warning(healthy: Subject) -> None:
    checks = await report(replace(healthy, engine_info=answers(replace(INFO, cpus=1, storage_driver="vfs"))))
    assert (checks["cores"].status, checks["storage driver"].status) == ("warn", "warn")


async def test_what_is_missing_is_named_with_its_package(healthy: Subject) -> None:
    host = replace(healthy.host, which=lambda tool: None if tool == "qemu-img" else tool)
    check = (await report(replace(healthy, host=host)))["bake tools"]
    assert (check.status, check.found) == ("warn", "missing: qemu-img; images are baked in a container of the engine")
    assert check.advice.endswith("apt-get install qemu-utils")


async def test_a_bake_needs_root_ansible_and_debians_keyring_beside_its_programs(healthy: Subject) -> None:
    healthy.host.path("/usr/share/keyrings/debian-archive-keyring.gpg").unlink()
    host = replace(healthy.host, user_id=lambda: 1000, has_module=lambda _: False)
    check = (await report(replace(healthy, host=host)))["bake tools"]
    sentence = "images are baked in a container of the engine"
    assert (check.status, check.found) == ("warn", f"missing: root, Debian's keyring, ansible-core; {sentence}")
    assert "sudo" in check.advice
    assert "apt-get install debian-archive-keyring" in check.advice
    assert "pip install 'dayfly[bake]'" in check.advice


async def test_no_node_image_says_how_to_make_one(healthy: Subject) -> None:
    check = (await report(replace(healthy, node_images=answers(()))))["node images"]
    assert check.status == "warn"
    assert "dayfly image bake bare" in check.advice


async def test_a_database_that_does_not_answer_fails(healthy: Subject) -> None:
    async def refuses() -> None:
        raise Failure("connection refused")

    check = (await report(replace(healthy, database_file=None, ping_database=refuses)))["database"]
    assert (check.status, check.found) == ("fail", "PostgreSQL: connection refused")


async def test_a_sqlite_file_that_the_service_has_open_is_in_order(healthy: Subject) -> None:
    async def refuses() -> None:
        raise DatabaseInUse("another process has it")

    healthy.host.path("/state").mkdir(parents=True, exist_ok=True)
    healthy.host.path("/state/dayfly.db").touch()
    check = (await report(replace(healthy, ping_database=refuses)))["database"]
    expected = "SQLite at /state/dayfly.db; another process, such as the service, has it open"
    assert (check.status, check.found) == ("ok", expected)


async def test_a_sqlite_file_that_cannot_be_opened_names_the_file_and_its_settings(healthy: Subject) -> None:
    healthy.host.path("/state").mkdir(parents=True, exist_ok=True)
    healthy.host.path("/state/dayfly.db").touch()
    check = (await report(replace(healthy, ping_database=answers(Failure("it is no database")))))["database"]
    assert (check.status, check.found) == ("fail", "SQLite at /state/dayfly.db: it is no database")
    assert "DAYFLY_STATE_DIR" in check.advice


async def test_a_sqlite_file_that_is_not_there_yet_is_not_asked(healthy: Subject) -> None:
    async def refuses() -> None:
        raise Failure("nobody should ask")

    check = (await report(replace(healthy, ping_database=refuses)))["database"]
    assert check.status == "ok"
    assert not healthy.host.path("/state/dayfly.db").exists()


async def test_unloaded_kernel_modules_are_named(healthy: Subject) -> None:
    healthy.host.path("/sys/class/net/docker0/bridge").rmdir()
    check = (await report(healthy))["kernel network"]
    assert (check.status, check.found) == ("warn", "not loaded: bridge")


def test_the_scripts_install_every_package_that_bakes_need() -> None:
    library = (Path(__file__).parents[2] / "deploy" / "lib.sh").read_text()
    listed = library.partition("BAKE_PACKAGES=(")[2].partition(")")[0].split()
    on_every_debian = {"apt", "coreutils", "util-linux", "debian-archive-keyring"}
    assert set(TOOLS.values()) - on_every_debian == set(listed) - on_every_debian
