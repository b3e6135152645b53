"""The label that says what is inside a node image."""

from __future__ import annotations

from pathlib import Path

from dayfly.domain.cluster.naming import LABEL_CONTENTS
from dayfly.domain.image import ImageContents, read_contents
from dayfly.images.contents import LabellingBuilder, installed_packages
from dayfly.testing.fake_images import FakeImages
from tests.support.node_images import manifest_of

STATUS = """\
Package: zlib1g
Status: install ok installed
Version: 1:1.2.13.dfsg-1
Description: library
 Package: not a field

Package: gone
Status: deinstall ok config-files
Version: 1.0

Package: base-files
Version: 12.4
Status: install ok installed
"""


def test_the_installed_packages_are_read(tmp_path: Path) -> None:
    assert installed_packages(tmp_path) is None
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    assert installed_packages(tmp_path) == {"base-files": "12.4", "zlib1g": "1:1.2.13.dfsg-1"}


def test_a_label_of_the_image_below_is_none_of_a_layer() -> None:
    manifest = manifest_of("a" * 12)
    own = ImageContents(digest="a" * 12, base="debian-12", packages={"one": "1"})
    assert read_contents(own.model_dump_json(), manifest) == own
    assert read_contents(own.model_copy(update={"digest": "b" * 12}).model_dump_json(), manifest) is None
    assert read_contents(None, manifest) is None
    assert read_contents("{", manifest) is None


async def test_the_label_is_beside_the_others(tmp_path: Path) -> None:
    images, contents = FakeImages(), ImageContents(digest="a" * 12)
    below = images.add("dayfly/toolbox:1")
    made = await LabellingBuilder(images, contents).add_files(below.id, tmp_path, "dayfly/bare:1", labels={"a": "b"})
    assert images.stored[made].labels.items() >= {"a": "b", LABEL_CONTENTS: contents.model_dump_json()}.items()
