"""The user's kubeconfig: entries of several processes, kubectl's lock, and what is removed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dayfly.cli import kubeconfig_file
from dayfly.cli.errors import CommandError
from dayfly.cli.kubeconfig_file import merge_kubeconfig, remove_from_kubeconfigs, user_kubeconfig

_ADDED = yaml.safe_dump(
    {"clusters": [{"name": "x", "cluster": {"server": "https://y"}}], "users": [{"name": "x", "user": {"token": "t"}}]}
)


def merge(path: Path, name: str, *, switch: bool = False) -> None:
    merge_kubeconfig(path, _ADDED, f"dayfly-{name}", f"c-{name}", switch=switch)


def names(path: Path) -> dict[str, list[str]]:
    config = yaml.safe_load(path.read_text())
    return {key: [entry["name"] for entry in config[key]] for key in ("clusters", "users", "contexts")}


def test_eight_processes_keep_eight_entries(tmp_path: Path) -> None:
    path = tmp_path / "config"
    code = (
        "import sys; from pathlib import Path; from dayfly.cli.kubeconfig_file import merge_kubeconfig\n"
        "sys.stdin.read()\n"
        "for round in range(5): merge_kubeconfig("
        "Path(sys.argv[1]), sys.argv[2], 'dayfly-' + sys.argv[3], 'c-' + sys.argv[3], switch=False)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(path), _ADDED, str(number)], stdin=subprocess.PIPE)
        for number in range(8)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait(120) for process in processes] == [0] * 8
    assert {key: sorted(found) for key, found in names(path).items()} == {
        key: [f"dayfly-{number}" for number in range(8)] for key in ("clusters", "users", "contexts")
    }
    assert not Path(f"{path}.lock").exists()


def test_a_lock_that_stays_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "config"
    lock = Path(f"{path}.lock")
    lock.touch()
    waited: list[float] = []
    with (
        pytest.raises(CommandError, match="locked by another process"),
        kubeconfig_file.locked(path, sleep=waited.append),
    ):
        raise AssertionError
    assert lock.exists()
    assert sum(waited) == pytest.approx(10)


def test_a_lock_that_is_released_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "config"
    lock = Path(f"{path}.lock")
    lock.touch()
    with kubeconfig_file.locked(path, sleep=lambda _: lock.unlink()):
        assert lock.exists()
    assert not lock.exists()


def test_a_context_keeps_its_namespace_and_unknown_fields(tmp_path: Path) -> None:
    path = tmp_path / "config"
    merge(path, "a")
    config = yaml.safe_load(path.read_text())
    config["contexts"][0]["context"] |= {"namespace": "team", "new-field": 1}
    config["contexts"][0]["context"]["extensions"].append({"name": "other", "extension": 2})
    config["contexts"][0]["beside"] = 3
    path.write_text(yaml.safe_dump(config))
    merge(path, "b")
    merge(path, "a")
    again = yaml.safe_load(path.read_text())["contexts"]
    assert [entry["name"] for entry in again] == ["dayfly-a", "dayfly-b"]
    assert (again[0]["context"]["namespace"], again[0]["context"]["new-field"], again[0]["beside"]) == ("team", 1, 3)
    assert {one["name"] for one in again[0]["context"]["extensions"]} == {"other", "dayfly"}


def test_the_current_context_changes_on_request_alone(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("current-context: production\n")
    merge(path, "a")
    assert yaml.safe_load(path.read_text())["current-context"] == "production"
    merge(path, "a", switch=True)
    assert yaml.safe_load(path.read_text())["current-context"] == "dayfly-a"


def test_what_was_added_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = tmp_path / "config", tmp_path / "other"
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing:{path}:{other}")
    merge(path, "a", switch=True)
    merge(path, "b")
    merge(other, "a")
    assert remove_from_kubeconfigs("c-a") == [path, other]
    assert names(path) == {key: ["dayfly-b"] for key in ("clusters", "users", "contexts")}
    assert yaml.safe_load(path.read_text())["current-context"] == ""
    assert names(other)["contexts"] == []
    assert remove_from_kubeconfigs("c-a") == []


def test_what_is_not_ours_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(path))
    merge(path, "a")
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    config["contexts"].append({"name": "mine", "context": {"cluster": "dayfly-a", "user": "me"}})
    config["contexts"].append({"name": "dayfly-b", "context": {"cluster": "b", "user": "b"}})
    path.write_text(yaml.safe_dump(config))
    remove_from_kubeconfigs("c-a")
    assert names(path) == {"clusters": ["dayfly-a"], "users": [], "contexts": ["mine", "dayfly-b"]}


@pytest.mark.parametrize("use", [lambda path: merge(path, "one"), lambda _: user_kubeconfig()])
def test_a_home_that_is_not_known_is_one_line(monkeypatch: pytest.MonkeyPatch, use: Callable[[Path], object]) -> None:
    monkeypatch.setenv("KUBECONFIG", "~no-such-user/config")
    with pytest.raises(CommandError, match="~no-such-user/config: no home directory is known"):
        use(Path("~no-such-user/config"))


def test_kubectls_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/first:{tmp_path}/second")
    assert user_kubeconfig() == tmp_path / "second"
    (tmp_path / "first").touch()
    assert user_kubeconfig() == tmp_path / "first"
    monkeypatch.delenv("KUBECONFIG")
    assert user_kubeconfig() == Path.home() / ".kube" / "config"
