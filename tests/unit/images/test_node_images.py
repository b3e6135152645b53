"""Transfer of node images between engines and registries."""

from __future__ import annotations

import pytest

from dayfly.domain.image import ImageManifest, NodeSize
from dayfly.drivers.interfaces import TransferProgress
from dayfly.errors import BadName, EngineRefused, ImageMissing, NotANodeImage
from dayfly.images.node_images import ensure_image, list_images, pull_image, push_image, resolve_image
from dayfly.testing.fakes import FakeImages
from tests.support.specs import make_manifest

SIZE = NodeSize(vcpus=1, memory_mib=256, disk_gib=8)
MANIFEST = ImageManifest(recipe="bare", control_plane=SIZE, worker=SIZE, minimum=SIZE, digest="0123456789abcdef")
TARGET = "127.0.0.1:5000/dayfly/bare:1"


def ignore(_: TransferProgress) -> None: ...


@pytest.fixture
def images() -> FakeImages:
    images = FakeImages()
    images.add_node_image("dayfly/bare:latest", MANIFEST.model_dump_json())
    return images


async def test_what_was_pushed_is_pulled_elsewhere_under_its_own_names(images: FakeImages) -> None:
    seen: list[TransferProgress] = []
    await push_image(images, "bare", TARGET, seen.append)
    assert seen
    assert (await images.inspect("dayfly/bare:latest")).references == ("dayfly/bare:latest",), "no tag is left behind"
    elsewhere = FakeImages()
    elsewhere.registry = images.registry
    pulled = await pull_image(elsewhere, TARGET, ignore)
    assert pulled.manifest == MANIFEST
    assert set(pulled.info.references) == {"dayfly/bare:latest", "dayfly/bare:0123456789ab"}


@pytest.mark.parametrize(
    "recipe", ["service", "toolbox", "postgres", "baker", "x-base", "test-x", "../x", "", "a/b", "A"]
)
async def test_a_pulled_image_cannot_call_itself_as_dayflys_own(images: FakeImages, recipe: str) -> None:
    source = f"127.0.0.1:5000/dayfly/{recipe if recipe.islower() and '/' not in recipe else 'x'}:1"
    hostile = FakeImages().add_node_image("x:1", MANIFEST.model_copy(update={"recipe": recipe}).model_dump_json())
    images.registry[source] = hostile
    with pytest.raises(BadName):
        await pull_image(images, source, ignore)
    with pytest.raises(ImageMissing):
        await images.inspect(source)
    with pytest.raises(BadName):
        await pull_image(images, source, ignore, name=recipe)
    assert [image.references for image in images.stored.values()] == [("dayfly/bare:latest",)]


async def test_a_pulled_image_replaces_no_image_that_was_not_named(images: FakeImages) -> None:
    source = "127.0.0.1:5000/lab/k8s:1"
    another = MANIFEST.model_copy(update={"digest": "f" * 64})
    images.registry[source] = FakeImages().add_node_image("x:1", another.model_dump_json())
    before = await images.inspect("dayfly/bare:latest")
    with pytest.raises(BadName, match="is of recipe bare, not k8s: choose its name with --as"):
        await pull_image(images, source, ignore)
    assert await images.inspect("dayfly/bare:latest") == before
    pulled = await pull_image(images, source, ignore, name="lab-bare")
    assert set(pulled.info.references) == {"dayfly/lab-bare:latest", f"dayfly/lab-bare:{'f' * 12}"}
    assert await images.inspect("dayfly/bare:latest") == before


@pytest.mark.parametrize("digest", ["", "short", "../../../../x", "0123456789AB"])
async def test_a_pulled_image_without_a_digest_is_refused(images: FakeImages, digest: str) -> None:
    hostile = MANIFEST.model_copy(update={"digest": digest})
    images.registry[TARGET] = FakeImages().add_node_image("x:1", hostile.model_dump_json())
    with pytest.raises(NotANodeImage):
        await pull_image(images, TARGET, ignore)
    with pytest.raises(ImageMissing):
        await images.inspect(TARGET)


async def test_an_image_is_pulled_by_its_digest(images: FakeImages) -> None:
    source = f"127.0.0.1:5000/dayfly/bare@sha256:{'a' * 64}"
    await push_image(images, "bare", TARGET, ignore)
    images.registry[source] = images.registry[TARGET]
    assert set((await pull_image(images, source, ignore)).info.references) == {
        "dayfly/bare:latest",
        "dayfly/bare:0123456789ab",
    }


OF_NO_REGISTRY = ("bare", "dayfly/service:latest", "docker.io/dayfly/service:latest", "index.docker.io/dayfly/bare")


@pytest.mark.parametrize(
    "source",
    ["lab:5000/a/../b", "", "a b", "sha256:" + "a" * 64, "http://x/y", "lab:5000/x@sha256:12", *OF_NO_REGISTRY],
)
async def test_what_is_in_no_registry_of_its_own_is_not_pulled(images: FakeImages, source: str) -> None:
    images.registry[source] = FakeImages().add_node_image("x:1", MANIFEST.model_dump_json())
    with pytest.raises(BadName):
        await pull_image(images, source, ignore)
    assert images.calls["pull"] == 0


async def test_a_reference_that_was_there_stays(images: FakeImages) -> None:
    await push_image(images, "bare", TARGET, ignore)
    await images.tag("dayfly/bare:latest", TARGET)
    await pull_image(images, TARGET, ignore)
    assert TARGET in (await images.inspect("dayfly/bare:latest")).references


async def test_a_push_that_fails_leaves_no_tag(images: FakeImages) -> None:
    images.fail_next("push", EngineRefused("no such host"))
    with pytest.raises(EngineRefused):
        await push_image(images, "bare", TARGET, ignore)
    assert (await images.inspect("dayfly/bare:latest")).references == ("dayfly/bare:latest",)


@pytest.mark.parametrize("target", ["", "lab:5000/Bare", "lab:5000/a/../b", "a b", "lab/x@sha256:" + "0" * 64])
async def test_a_push_to_what_is_no_reference_asks_no_engine(images: FakeImages, target: str) -> None:
    images.fail_next("inspect", EngineRefused("asked"))
    with pytest.raises(BadName, match=r"^[^\n]* is not a reference to push an image to, such as lab:5000/[^\n]*$"):
        await push_image(images, "bare", target, ignore)


async def test_only_node_images_are_pushed(images: FakeImages) -> None:
    images.add("dayfly/else:latest")
    with pytest.raises(NotANodeImage):
        await push_image(images, "else", TARGET, ignore)
    with pytest.raises(ImageMissing):
        await push_image(images, "none", TARGET, ignore)
    assert images.registry == {}


async def test_what_is_no_node_image_is_not_kept_after_a_pull(images: FakeImages) -> None:
    images.registry[TARGET] = FakeImages().add("other:1")
    with pytest.raises(NotANodeImage):
        await pull_image(images, TARGET, ignore)
    with pytest.raises(ImageMissing):
        await images.inspect(TARGET)


async def test_the_list_has_node_images_only_and_leaves_out_what_it_cannot_read(images: FakeImages) -> None:
    images.add("postgres:15")
    images.add_node_image("dayfly/future:latest", '{"schema_version": 3}')
    assert [image.manifest for image in await list_images(images)] == [MANIFEST]


async def test_an_image_of_an_older_dayfly_is_refused_by_name() -> None:
    images = FakeImages()
    old = make_manifest().model_copy(update={"schema_version": 1})
    images.add_node_image("dayfly/bare:latest", old.model_dump_json())
    with pytest.raises(NotANodeImage, match="bake"):
        await resolve_image(images, "dayfly/bare:latest")
    images.add_node_image("dayfly/bare:latest", make_manifest().model_dump_json())
    assert (await resolve_image(images, "dayfly/bare:latest"))[1] == make_manifest()


BY_DIGEST = f"lab:5000/dayfly/bare@sha256:{'1' * 64}"
CUT_OFF = EngineRefused("pulling: the engine refused", operator_detail="error pulling image: unexpected EOF")


async def test_a_transfer_that_was_cut_off_is_resumed(images: FakeImages) -> None:
    seen: list[TransferProgress] = []
    images.fail_next("push", CUT_OFF, times=2)
    await push_image(images, "bare", TARGET, seen.append)
    assert [one.status for one in seen[:2]] == ["cut off: attempt 2 of 3", "cut off: attempt 3 of 3"]
    images.fail_next("pull", CUT_OFF)
    assert (await pull_image(images, TARGET, ignore)).manifest == MANIFEST


async def test_a_transfer_is_given_up_after_three_attempts_and_at_once_where_another_changes_nothing(
    images: FakeImages,
) -> None:
    images.fail_next("push", CUT_OFF, times=3)
    with pytest.raises(EngineRefused):
        await push_image(images, "bare", TARGET, ignore)
    assert images.calls["push"] == 3
    images.fail_next("push", EngineRefused("no such host"))
    with pytest.raises(EngineRefused):
        await push_image(images, "bare", TARGET, ignore)
    assert images.calls["push"] == 4


async def test_an_image_that_a_bake_needs_is_pulled_once_and_gets_no_other_name(images: FakeImages) -> None:
    images.registry[BY_DIGEST] = FakeImages().add_node_image("x:1", MANIFEST.model_dump_json() + " ")
    image_id, manifest = await ensure_image(images, BY_DIGEST, ignore)
    assert manifest == MANIFEST
    assert (await images.inspect(image_id)).references == (BY_DIGEST,)
    assert await ensure_image(images, BY_DIGEST, ignore) == (image_id, manifest)
    assert images.calls["pull"] == 1
    assert (await images.inspect("dayfly/bare:latest")).id != image_id


@pytest.mark.parametrize("label", [None, "{}", MANIFEST.model_copy(update={"digest": "../x"}).model_dump_json()])
async def test_a_pulled_image_that_no_layer_can_be_over_is_removed_again(images: FakeImages, label: str | None) -> None:
    elsewhere = FakeImages()
    images.registry[BY_DIGEST] = elsewhere.add("x:1") if label is None else elsewhere.add_node_image("x:1", label)
    with pytest.raises(NotANodeImage):
        await ensure_image(images, BY_DIGEST, ignore)
    with pytest.raises(ImageMissing):
        await images.inspect(BY_DIGEST)
