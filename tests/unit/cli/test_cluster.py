"""`dayfly cluster …` against a real API without machines."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import Result

from dayfly.client import Client

Dayfly = Callable[..., Result]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_create_and_wait_shows_each_step(dayfly: Dayfly) -> None:
    done = dayfly("cluster", "create", "steps", "--image", "bare", "--workers", "1", "--wait")
    assert done.exit_code == 0, done.output
    assert re.search(r"^\[ +\d+\.\ds\] node02 boot: answers on SSH \(12\.5 s\)$", done.stderr, re.MULTILINE)
    assert done.stdout.startswith("steps is ready (")


def test_create_without_waiting_is_done_at_once(dayfly: Dayfly) -> None:
    done = dayfly("cluster", "create", "slow-one", "--image", "bare")
    assert done.exit_code == 0
    assert re.fullmatch(r"slow-one is pending \(#\d+\)\n", done.stdout)


def test_all_options_reach_the_server(dayfly: Dayfly) -> None:
    done = dayfly(
        *("cluster", "create", "slow-options", "--image", "k8s", "--workers", "2", "--vcpus", "3"),
        *("--memory-mib", "600", "--disk-gib", "9", "--worker-memory-mib", "400", "--label", "a=b=c"),
        *("--ttl", "1h30m", "--readiness", "nodes", "--owner", "ci", "--heartbeat", "1m", "--restart", "never"),
        *("--hold", "1h", "--hold-reason", "a look", "--hold-vms", "stopped", "--json"),
        *("--publish", "web=80", "--publish", "db=node03:5432", "--publish", "shop=192.168.67.10:443"),
    )
    cluster = json.loads(done.stdout)
    assert cluster["control_plane"] == {"vcpus": 3, "memory_mib": 600, "disk_gib": 9}
    assert cluster["workers"] == {"count": 2, "vcpus": 3, "memory_mib": 400, "disk_gib": 9}
    assert cluster["labels"] == {"a": "b=c"}
    assert cluster["ttl_seconds"] == 5400
    assert cluster["readiness"] == "nodes"
    assert (cluster["owner"], cluster["heartbeat_interval_seconds"], cluster["restart"]) == ("ci", 60, "never")
    assert (cluster["hold"]["reason"], cluster["hold"]["vms"]) == ("a look", "stopped")
    assert [tuple(port.values()) for port in cluster["ports"]] == [
        ("web", "node01", None, 80),
        ("db", "node03", None, 5432),
        ("shop", None, "192.168.67.10", 443),
    ]


@pytest.mark.parametrize(
    "given",
    ["web", "80", "web=", "web=x", "web=0", "web=node01", "WEB=80", "web=first:80", "web=1.2.3:80", "web=1.2.3.4"],
)
def test_a_port_that_is_none(dayfly: Dayfly, given: str) -> None:
    done = dayfly("cluster", "create", "none", "--image", "bare", "--publish", given)
    assert done.exit_code == 2
    assert "write NAME=PORT, NAME=NODE:PORT or NAME=ADDRESS:PORT" in re.sub(r"[\s│]+", " ", done.stderr)


@pytest.mark.parametrize("command", [("create", "twice", "--image", "bare"), ("list",)])
def test_a_label_with_two_values(dayfly: Dayfly, command: tuple[str, ...]) -> None:
    done = dayfly("cluster", *command, "--label", "a=1", "--label", "a=2")
    assert done.exit_code == 2
    assert "two values for label 'a'" in re.sub(r"[\s│]+", " ", done.stderr)
    same = dayfly("cluster", *command, "--label", "a=1", "--label", "a=1")
    assert same.exit_code == 0


def test_published_ports_are_shown(dayfly: Dayfly) -> None:
    publish = ("--publish", "web=30080", "--publish", "again=node01:30080", "--publish", "lb=192.168.67.10:80")
    dayfly("cluster", "create", "published", "--image", "k8s", *publish, "--wait")
    shown = dayfly("cluster", "show", "published").stdout
    assert re.search(r"^ports +web=node01:30080, again=node01:30080, lb=192.168.67.10:80$", shown, re.MULTILINE)
    assert re.search(r"^ports/web +127\.0\.0\.1:\d+$", shown, re.MULTILINE)


def test_a_cluster_that_fails(dayfly: Dayfly) -> None:
    done = dayfly("cluster", "create", "bad-one", "--image", "bare", "--wait")
    assert done.exit_code == 7
    assert "error [vm_exited]: cluster bad-one failed at node01 boot: QEMU ended by itself" in done.stderr
    assert "hint: dayfly cluster diagnostics bad-one" in done.stderr
    assert dayfly("cluster", "evidence", "bad-one").stdout == "node01/console\n"
    assert dayfly("cluster", "evidence", "bad-one", "node01/console").stdout == "Kernel panic\n"
    shown = dayfly("cluster", "show", "bad-one").stdout
    assert "error [vm_exited]: QEMU ended by itself" in shown


def test_show_and_list(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "seen", "--image", "k8s", "--label", "show=yes", "--wait")
    shown = dayfly("cluster", "show", "seen", "--wait", "ready").stdout
    for part in ("seen", "ready", "Kubernetes v1.20.2", "show=yes", "ssh/node01", "answers on SSH"):
        assert part in shown
    assert json.loads(dayfly("cluster", "show", "seen", "--json").stdout)["phase"] == "ready"
    header, line = dayfly("cluster", "list", "--label", "show=yes").stdout.splitlines()
    assert header.split() == ["NAME", "ID", "OWNER", "PHASE", "IMAGE", "NODES", "AGE"]
    assert line.split()[0] == "seen"
    assert [one["name"] for one in json.loads(dayfly("cluster", "list", "--label", "show=yes", "--json").stdout)] == [
        "seen"
    ]


def test_delete_and_wait(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "leaving", "--image", "bare", "--wait")
    done = dayfly("cluster", "delete", "leaving", "--wait")
    assert (done.exit_code, done.stdout) == (0, "leaving is deleted\n")
    again = dayfly("cluster", "delete", "leaving")
    assert again.exit_code == 3
    assert again.stderr.startswith("error [not_found]: ")


def test_delete_of_what_does_not_exist(dayfly: Dayfly) -> None:
    for command in (("cluster",), ("pool",), ("template",), ("cluster", "checkpoint")):
        names = ("missing", "before") if "checkpoint" in command else ("missing",)
        assert dayfly(*command, "delete", *names).exit_code == 3
        done = dayfly(*command, "delete", *names, "--ignore-not-found")
        assert (done.exit_code, done.output) == (0, "")


def test_a_deleted_cluster_is_found_by_its_last_name(dayfly: Dayfly, tmp_path: Path) -> None:
    identities = []
    for _ in range(2):
        done = dayfly("cluster", "create", "gone-once", "--image", "bare", "--wait", "--output", "json")
        identities.append(json.loads(done.stdout)["id"])
        dayfly("cluster", "delete", "gone-once", "--wait")
    shown = json.loads(dayfly("cluster", "show", "gone-once", "--output", "json").stdout)
    assert (shown["id"], shown["phase"]) == (identities[1], "deleted")
    path = tmp_path / "diagnostics.tar.gz"
    assert dayfly("cluster", "diagnostics", "gone-once", "--output", str(path)).exit_code == 0
    assert path.stat().st_size > 0


def test_output_formats(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "formats", "--image", "k8s", "--label", "formats=yes", "--ttl", "2h", "--wait")
    listed = ("cluster", "list", "--label", "formats=yes", "--output")
    assert dayfly(*listed, "name").stdout == "formats\n"
    (from_yaml,) = yaml.safe_load(dayfly(*listed, "yaml").stdout)
    assert [from_yaml] == json.loads(dayfly(*listed, "json").stdout)
    header, line = dayfly(*listed, "wide").stdout.splitlines()
    assert header.split()[-4:] == ["EXPIRES", "TEMPLATE", "API", "LABELS"]
    assert "127.0.0.1:" in line
    assert line.endswith("formats=yes")
    assert yaml.safe_load(dayfly("cluster", "show", "formats", "-o", "yaml").stdout)["name"] == "formats"
    assert dayfly("cluster", "show", "formats", "-o", "xml").exit_code == 2
    assert yaml.safe_load(dayfly("version", "-o", "yaml").stdout)["client"]


def test_a_registry(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "pushed", "--image", "k8s", "--wait")
    found = json.loads(dayfly("cluster", "registry", "pushed", "--json").stdout)
    assert dayfly("cluster", "registry", "pushed").stdout == f"push  {found['push']}\npull  {found['pull']}\n"


def test_a_wait_that_is_too_short(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "slow-wait", "--image", "bare")
    done = dayfly("cluster", "show", "slow-wait", "--wait", "ready", "--timeout", "0")
    assert done.exit_code == 6
    assert done.stderr.startswith("error [wait_timeout]: ")


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_a_kubeconfig_is_private(dayfly: Dayfly, tmp_path: Path) -> None:
    path, other = tmp_path / "made" / "config", tmp_path / "other"
    other.write_text("old")
    other.chmod(0o644)
    done = dayfly("cluster", "create", "private", "--image", "k8s", "--kubeconfig", str(path))
    assert done.exit_code == 0, done.output
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert dayfly("cluster", "kubeconfig", "private", "--output", str(other)).exit_code == 0
    assert mode(other) == 0o644
    printed = dayfly("cluster", "kubeconfig", "private").stdout
    assert path.read_text() == other.read_text() == printed
    assert yaml.safe_load(printed)["kind"] == "Config"
    assert [child.name for child in tmp_path.iterdir() if child.name.startswith(".")] == []


def test_a_kubeconfig_is_merged_into_kubectls(dayfly: Dayfly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "real"
    mine = {"name": "mine", "cluster": {"server": "https://x"}}
    path.write_text(yaml.safe_dump({"clusters": [mine], "users": None, "current-context": "mine", "extra": 1}))
    path.chmod(0o600)
    link = tmp_path / "config"
    link.symlink_to(path)
    monkeypatch.setenv("KUBECONFIG", f"{link}:{tmp_path}/second")
    dayfly("cluster", "create", "merged", "--image", "k8s", "--wait")
    for _ in range(2):
        assert dayfly("cluster", "kubeconfig", "merged", "--merge").exit_code == 0
    merged = yaml.safe_load(path.read_text())
    assert link.is_symlink()
    assert mode(path) == 0o600
    assert merged["clusters"][0] == mine
    assert [one["name"] for one in merged["clusters"]] == ["mine", "dayfly-merged"]
    (context,) = merged["contexts"]
    assert (context["name"], context["context"]["cluster"], context["context"]["user"]) == ("dayfly-merged",) * 3
    assert "client-key-data" in merged["users"][0]["user"]
    assert merged["current-context"] == "mine"
    assert merged["extra"] == 1
    assert dayfly("cluster", "kubeconfig", "merged", "--merge", "--switch").exit_code == 0
    assert yaml.safe_load(path.read_text())["current-context"] == "dayfly-merged"
    assert dayfly("cluster", "delete", "merged").exit_code == 0
    left = yaml.safe_load(path.read_text())
    assert (left["clusters"], left["users"], left["contexts"], left["current-context"]) == ([mine], [], [], "")


def test_a_merge_removes_contexts_of_deleted_clusters(
    dayfly: Dayfly, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(path))
    for name in ("ended", "merged-next"):
        dayfly("cluster", "create", name, "--image", "k8s", "--wait")
    dayfly("cluster", "kubeconfig", "ended", "--merge")
    config = yaml.safe_load(path.read_text())
    foreign = {
        "cluster": "x",
        "user": "x",
        "extensions": [{"name": "dayfly", "extension": {"cluster": "feedfeedfeed"}}],
    }
    odd = {"extensions": [{"name": "dayfly", "extension": {"cluster": mark}} for mark in ("../x", 7, None)]}
    config["contexts"] += [{"name": "dayfly-foreign", "context": foreign}, {"name": "odd", "context": odd}]
    path.write_text(yaml.safe_dump(config))
    with Client(url) as client:
        client.delete("ended")  # as an expiry does: without the command line
        client.wait_deleted("ended")
    done = dayfly("cluster", "kubeconfig", "merged-next", "--merge")
    assert done.exit_code == 0
    assert f"{path}: context dayfly-ended was removed: its cluster is deleted" in done.stderr.splitlines()
    left = [one["name"] for one in yaml.safe_load(path.read_text())["contexts"]]
    assert left == ["dayfly-foreign", "odd", "dayfly-merged-next"]


@pytest.mark.parametrize("content", ["- a list", "clusters: 3", "clusters: [3]", "{", "\0"])
def test_a_file_that_is_no_kubeconfig_stays_as_it_is(
    dayfly: Dayfly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(path))
    dayfly("cluster", "create", "unmerged", "--image", "k8s", "--wait")
    done = dayfly("cluster", "kubeconfig", "unmerged", "--merge")
    assert done.exit_code == 1
    assert done.stderr.startswith("error [not_a_kubeconfig]: ")
    assert path.read_text() == content


def test_a_place_that_cannot_be_written(dayfly: Dayfly, tmp_path: Path) -> None:
    dayfly("cluster", "create", "unwritten", "--image", "k8s", "--wait")
    (tmp_path / "file").write_text("")
    done = dayfly("cluster", "kubeconfig", "unwritten", "-o", str(tmp_path / "file" / "config"))
    assert done.exit_code == 1
    assert done.stderr.startswith("error [not_written]: ")


def test_events(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "eventful", "--image", "bare", "--wait")
    lines = dayfly("cluster", "events", "eventful").stdout.splitlines()
    assert any("node01 boot: answers on SSH (12.5 s)" in line for line in lines)
    objects = [json.loads(line) for line in dayfly("cluster", "events", "eventful", "--json").stdout.splitlines()]
    assert len(objects) == len(lines)
    identity = json.loads(dayfly("cluster", "show", "eventful", "--json").stdout)["id"]
    dayfly("cluster", "delete", "eventful")
    followed = dayfly("cluster", "events", identity, "--follow")
    assert followed.exit_code == 0
    assert followed.stdout.splitlines()[: len(lines)] == lines
    assert "deleted" in followed.stdout.splitlines()[-1]


def test_a_console(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "talkative", "--image", "bare", "--wait")
    assert dayfly("cluster", "console", "talkative", "node01", "--tail-bytes", "7").stdout == "login: "
    followed = dayfly("cluster", "console", "talkative", "node01", "--tail-bytes", "7", "--follow")
    assert followed.stdout == "login: café\n"


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `ssh` that writes down how it was called, and what it was given, and ends with 7."""
    record = tmp_path / "record"
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        f'for argument; do printf "%s\\n" "$argument"; done > {record}\n'
        'for argument; do case "$argument" in IdentityFile=*|UserKnownHostsFile=*)\n'
        f'  stat -c "mode %a" "${{argument#*=}}" >> {record}; cat "${{argument#*=}}" >> {record};; esac; done\n'
        "exit 7\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return record


def test_ssh_pins_the_host_and_cleans_up(dayfly: Dayfly, fake_ssh: Path) -> None:
    dayfly("cluster", "create", "entered", "--image", "bare", "--workers", "1", "--wait")
    done = dayfly("cluster", "ssh", "entered", "node02", "--", "ls", "-l", "--", "/a b")
    assert done.exit_code == 7, done.output
    said = fake_ssh.read_text()
    assert "StrictHostKeyChecking=yes" in said
    assert "-l\nroot\n--\n127.0.0.1\nls\n-l\n--\n/a b\n" in said
    assert said.count("mode 600\n") == 2
    assert "BEGIN OPENSSH PRIVATE KEY" in said
    assert re.search(r"^\[127\.0\.0\.1\]:\d+ ssh-ed25519 \S+$", said, re.MULTILINE)
    found = re.search(r"^IdentityFile=(.+)$", said, re.MULTILINE)
    assert found is not None
    assert not Path(found[1]).parent.exists()


def test_ssh_without_a_node_is_the_first(dayfly: Dayfly, fake_ssh: Path) -> None:
    dayfly("cluster", "create", "entered-first", "--image", "bare", "--wait")
    assert dayfly("cluster", "ssh", "entered-first", "--", "true").exit_code == 7
    assert fake_ssh.read_text().splitlines().count("true") == 1
    missing = dayfly("cluster", "ssh", "entered-first", "node09")
    assert missing.exit_code == 3
    assert missing.stderr.startswith("error [not_found]: ")


def test_no_ssh_on_this_machine(dayfly: Dayfly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dayfly("cluster", "create", "unentered", "--image", "bare", "--wait")
    monkeypatch.setenv("PATH", str(tmp_path))
    done = dayfly("cluster", "ssh", "unentered")
    assert done.stderr.startswith("error [ssh_missing]: ")


def test_a_checkpoint_that_is_called_like_a_path(dayfly: Dayfly) -> None:
    dayfly("cluster", "create", "dot1", "--image", "bare", "--wait")
    refused = dayfly("cluster", "checkpoint", "delete", "dot1", "..")
    assert (refused.exit_code, refused.stderr) == (2, "error [invalid_request]: '..' is not a name or id\n")
    assert json.loads(dayfly("cluster", "show", "dot1", "--json").stdout)["desired"] == "present"
