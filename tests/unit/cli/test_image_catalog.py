"""`dayfly image list --server | show | promote | rollback | retire`, against a server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner, Result

from dayfly.cli.main import app
from dayfly.client import Client
from dayfly.testing.fake_images import FakeImages
from tests.support.node_images import baked
from tests.unit.cli.conftest import INFRASTRUCTURE

Dayfly = Callable[..., Result]


@pytest.fixture
def engine() -> Iterator[FakeImages]:
    """The images of the server's engine, without those of other tests."""
    INFRASTRUCTURE.stored.stored.clear()
    yield INFRASTRUCTURE.stored
    INFRASTRUCTURE.stored.stored.clear()


def test_a_name_moves_back_and_forth(dayfly: Dayfly, engine: FakeImages) -> None:
    old = baked(engine, "tale", "a" * 12, days=1)
    assert dayfly("image", "promote", "tale").stdout == f"tale stands for {old}\n"
    new = baked(engine, "tale", "b" * 12, "v1.21.0")
    assert dayfly("image", "promote", "tale", new[7:19]).stdout == f"tale stands for {new}\n"
    assert dayfly("image", "rollback", "tale").stdout == f"tale stands for {old}\n"
    retired = dayfly("image", "retire", "tale", new)
    assert retired.stdout == f"{new} is retired: its clusters go on, and no new cluster uses it\n", retired.output
    text = dayfly("image", "show", "tale").stdout
    first, images, history = text.split("\n\n")
    assert first == f"name        tale\nstands for  {old}, promoted"
    rows = [line.split() for line in images.splitlines()]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("KUBERNETES", "STATE", "DIGEST"),
        ("v1.21.0", "retired", new[7:19]),
        ("v1.20.2", "promoted", old[7:19]),
    ]
    assert [line.split()[:2] for line in history.splitlines()] == [
        ["EVENT", "DIGEST"],
        ["retired", new[7:19]],
        ["rolled_back", old[7:19]],
        ["promoted", new[7:19]],
        ["promoted", old[7:19]],
    ]
    shown = json.loads(dayfly("image", "show", "tale", "--json").stdout)
    assert (shown["promoted"], len(shown["history"])) == (old, 4)
    listed = dayfly("image", "list", "--server", "--output", "wide").stdout.splitlines()
    assert listed[0].split()[-3:] == ["BASE", "ADD-ONS", "PARENTS"]
    assert len(listed) == 3
    assert dayfly("image", "list", "--server", "-o", "name").stdout == "tale\ntale\n"


def test_a_retirement_names_its_own_image(dayfly: Dayfly, engine: FakeImages) -> None:
    first, second, third = (baked(engine, "saga", digit * 12) for digit in "abc")
    for image_id in (first, second):
        dayfly("image", "retire", "saga", image_id)
    dayfly("image", "promote", "saga", third)
    for named in (first, first[7:19], f"saga:{'a' * 12}"):
        done = dayfly("image", "retire", "saga", named)
        assert done.stdout == f"{first} is retired: its clusters go on, and no new cluster uses it\n", done.output


def test_a_name_without_promotions(dayfly: Dayfly, engine: FakeImages) -> None:
    only = baked(engine, "plain-one", "a" * 12, None)
    assert dayfly("image", "show", "plain-one").stdout.startswith(
        f"name        plain-one\nstands for  {only}, the last that was baked or pulled\n"
    )
    [_, row] = dayfly("image", "list", "--server").stdout.splitlines()
    assert row.split()[:4] == ["plain-one", "-", "current", "-"]


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (("show", "nothing"), "not_found", 3),
        (("promote", "nothing"), "image_missing", 3),
        (("promote", "tale", "../x"), "invalid_request", 2),
        (("rollback", "nothing"), "conflict", 4),
        (("retire", "tale", "0" * 12), "image_missing", 3),
    ],
)
def test_a_refusal_is_one_line(
    dayfly: Dayfly, engine: FakeImages, arguments: tuple[str, ...], code: str, exit_code: int
) -> None:
    assert not engine.stored
    done = dayfly("image", *arguments)
    assert (done.exit_code, done.stdout) == (exit_code, ""), done.output
    assert done.stderr.startswith(f"error [{code}]: ")
    assert len(done.stderr.splitlines()) <= 2


def test_an_engine_has_no_collected_images(dayfly: Dayfly) -> None:
    done = dayfly("image", "list", "--collected")
    assert done.exit_code == 2
    assert "--collected is for --server" in done.output


def test_the_clients_methods(url: str, engine: FakeImages) -> None:
    image = baked(engine, "method", "a" * 12)
    with Client(url) as client:
        assert client.promote_image("method", idempotency_key="first").promoted == image
        other = baked(engine, "method", "b" * 12)
        assert client.promote_image("method", other).promoted == other
        assert client.rollback_image("method").promoted == image
        assert client.retire_image("method", other).history[0].event == "retired"
        assert [one.digest for one in client.images() if one.promoted] == [image]
        found = client.image("method", collected=True)
    assert {one.digest: one.state for one in found.images} == {image: "present", other: "retired"}


def test_the_catalogs_commands_need_no_server_packages() -> None:
    code = (
        "import sys\n"
        "from dayfly.cli import image_group\n"
        "print([name for name in ('sqlalchemy', 'aiodocker', 'fastapi') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_the_group_has_both_kinds_of_commands() -> None:
    text = CliRunner().invoke(app, ["image", "--help"], env={"COLUMNS": "120"}).output
    for name in ("bake", "recipes", "push", "pull", "list", "show", "promote", "rollback", "retire"):
        assert f" {name} " in text
