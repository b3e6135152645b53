"""Node images are found by reference."""

from __future__ import annotations

import pytest

from dayfly.errors import NotANodeImage
from dayfly.images.resolve import resolve_image
from dayfly.testing.fakes import FakeImages
from tests.support.specs import make_manifest


async def test_an_image_of_an_older_dayfly_is_refused_by_name() -> None:
    images = FakeImages()
    old = make_manifest().model_copy(update={"schema_version": 1})
    images.add_node_image("dayfly/bare:latest", old.model_dump_json())
    with pytest.raises(NotANodeImage, match="bake"):
        await resolve_image(images, "dayfly/bare:latest")
    images.add_node_image("dayfly/bare:latest", make_manifest().model_dump_json())
    assert (await resolve_image(images, "dayfly/bare:latest"))[1] == make_manifest()
