"""Names of node images: references, promotions that a rollback returns to, and versions."""

from __future__ import annotations

import pytest

from dayfly.domain.cluster.naming import image_reference
from dayfly.domain.image_catalog import (
    ImageChange,
    NameReference,
    has_version,
    image_of_version,
    is_collectable,
    is_fixed,
    own_name,
    parse_reference,
    promoted_line,
    rollback_target,
)
from dayfly.vocabulary import ImageEvent
from tests.support.node_images import BORN, on_engine

DIGEST = "sha256:" + "ab" * 32


def history(*moves: tuple[str, int | None]) -> tuple[ImageChange, ...]:
    """(image id, former) each; ids from 1."""
    return tuple(
        ImageChange(index, "k8s", image_id, ImageEvent.PROMOTED, BORN, former)
        for index, (image_id, former) in enumerate(moves, 1)
    )


@pytest.mark.parametrize(
    ("given", "meaning"),
    [
        ("k8s-debian", NameReference("k8s-debian")),
        ("k8s-debian@latest", NameReference("k8s-debian")),
        ("dayfly/k8s-debian:latest", NameReference("k8s-debian")),
        ("k8s@1.35", NameReference("k8s", version="1.35")),
        ("dayfly/k8s-1.35@v1.35.2", NameReference("k8s-1.35", version="v1.35.2")),
        (f"k8s@{DIGEST}", NameReference("k8s", digest=DIGEST)),
        (DIGEST, None),
        ("k8s:0123456789ab", None),
        ("lab:5000/dayfly/k8s:latest", None),
        ("team/k8s", None),
        ("lab:5000/dayfly/k8s@" + DIGEST, None),
    ],
)
def test_references(given: str, meaning: NameReference | None) -> None:
    reference = image_reference(given)
    assert parse_reference(reference) == meaning
    assert is_fixed(reference) == (meaning is None or meaning.digest is not None)


def test_an_id_is_its_own_reference() -> None:
    assert image_reference(DIGEST) == DIGEST
    assert image_reference("k8s@latest") == image_reference("k8s") == "dayfly/k8s:latest"


@pytest.mark.parametrize(
    ("version", "prefix", "fits"),
    [
        ("v1.35.2", "1.35", True),
        ("v1.35.2", "v1", True),
        ("v1.35.2", "1.35.2", True),
        ("v1.35.2", "1.3", False),
        ("v1.35.12", "1.35.1", False),
        (None, "1", False),
    ],
)
def test_versions(version: str | None, prefix: str, fits: bool) -> None:
    assert has_version(version, prefix) is fits


def test_a_promotion_that_was_rolled_back_is_not_in_the_line() -> None:
    assert promoted_line(()) == ()
    a_b = history(("a", None), ("b", 1))
    assert [one.image_id for one in promoted_line(a_b)] == ["b", "a"]
    rolled_back = (*a_b, ImageChange(3, "k8s", "a", ImageEvent.ROLLED_BACK, BORN, None))
    assert [one.image_id for one in promoted_line(rolled_back)] == ["a"]
    then_c = (*rolled_back, ImageChange(4, "k8s", "c", ImageEvent.PROMOTED, BORN, 3))
    assert [one.image_id for one in promoted_line(then_c)] == ["c", "a"]
    retired = (*then_c, ImageChange(5, "k8s", "b", ImageEvent.RETIRED, BORN))
    assert promoted_line(retired) == promoted_line(then_c)


def test_a_rollback_passes_over_images_that_are_retired_or_gone() -> None:
    line = promoted_line(history(("a", None), ("b", 1), ("c", 2), ("d", 3)))
    target = rollback_target(line, {"a", "b", "c"}, {"c"})
    assert target is not None
    assert (target.image_id, target.former) == ("b", 1)
    assert rollback_target(line, {"d"}, set()) is None
    assert rollback_target(line[-1:], {"a"}, set()) is None


def test_a_version_is_that_of_the_nearest_promotion_and_without_promotions_the_newest() -> None:
    old, new, other = on_engine(1, "v1.35.1"), on_engine(2, "v1.35.2"), on_engine(3, "v1.36.0")
    images = (other, new, old)
    line = promoted_line(history((old.id, None), (new.id, 1), (other.id, 2)))
    assert image_of_version("k8s", "1.35", line, images, lambda _: True) == new
    assert image_of_version("k8s", "1.35", line, images, lambda one: one != new.id) == old
    assert image_of_version("k8s", "1.36", line[1:], images, lambda _: True) is None, "it was never promoted"
    assert image_of_version("k8s", "1.35", (), images, lambda _: True) == new
    tagged = on_engine(1, "v1.35.1", "dayfly/k8s:latest")
    assert image_of_version("k8s", "1.35", (), (other, new, tagged), lambda _: True) == tagged
    assert image_of_version("bare", "1.35", (), images, lambda _: True) is None


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("dayfly/k8s:latest", "k8s"),
        ("dayfly/k8s-1.35:0123456789ab", "k8s-1.35"),
        ("dayfly/k8s:promoted-0123456789ab", "k8s"),
        ("dayfly/k8s:unfinished", None),
        ("dayfly/k8s:mine", None),
        ("lab:5000/dayfly/k8s:latest", None),
        ("k8s:latest", None),
    ],
)
def test_names_of_this_installation(reference: str, name: str | None) -> None:
    assert own_name(reference) == name
    assert is_collectable(on_engine(1, None, "dayfly/k8s:latest", reference)) is (name is not None)
