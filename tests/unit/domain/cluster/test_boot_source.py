"""Boot sources: as text, and their location."""

from __future__ import annotations

import pytest

from dayfly.domain.cluster.boot_source import HIBERNATION, IMAGE, TEMPLATE, BootSource
from dayfly.vocabulary import CHECKPOINT_NAME


@pytest.mark.parametrize("origin", [IMAGE, TEMPLATE, HIBERNATION, BootSource("checkpoint", "clean-1")])
def test_an_origin_is_what_its_text_says(origin: BootSource) -> None:
    assert BootSource.parse(str(origin)) == origin


@pytest.mark.parametrize("text", ["", "disk", "Image", ":one", "checkpoints:one"])
def test_nothing_else_is_an_origin(text: str) -> None:
    with pytest.raises(ValueError, match="not a boot source"):
        BootSource.parse(text)


def test_what_was_saved_lies_apart() -> None:
    saved = [TEMPLATE, HIBERNATION, BootSource("checkpoint", "one"), BootSource("checkpoint", "two")]
    assert len({origin.folder for origin in saved}) == len(saved)
    with pytest.raises(ValueError, match="image"):
        _ = IMAGE.folder


def test_only_who_wakes_up_goes_on_with_its_disks() -> None:
    assert HIBERNATION.keeps_disks
    assert not any(origin.keeps_disks for origin in (IMAGE, TEMPLATE, BootSource("checkpoint", "one")))


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "../a", "a/b", "a" * 41, "a:b", "a\n"])
def test_a_checkpoints_name_is_no_way_out_of_its_folder(name: str) -> None:
    assert not CHECKPOINT_NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["a", "0", "clean-1", "a" * 40])
def test_a_checkpoints_name(name: str) -> None:
    assert CHECKPOINT_NAME.fullmatch(name)
    assert len(str(BootSource("checkpoint", name))) <= 64, "what the database's column takes"
