"""A bake as a whole, with instant phases: order, names, failures."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dayfly import assets
from dayfly.domain.bake_addresses import BakeAddresses
from dayfly.domain.cluster.naming import LABEL_CONTENTS, LABEL_IMAGE
from dayfly.domain.image import ImageContents, ImageManifest, read_contents
from dayfly.domain.scheduling.resources import CLUSTER_OVERHEAD_MIB, NODE_OVERHEAD_MIB, Resources
from dayfly.errors import (
    BakeFailed,
    ConformanceFailed,
    DiskFull,
    EngineRefused,
    EngineUnavailable,
    ImageBroken,
    InvalidRequest,
)
from dayfly.images import bake as module
from dayfly.images.apt import Source, Sources
from dayfly.images.disk import FILES
from dayfly.images.plan import make_plan
from dayfly.images.progress import OnLine, Progress
from dayfly.images.recipe import Recipe, load_recipe
from dayfly.testing.fakes import FakeImages
from tests.support.clock import FakeClock

DIGEST = make_plan("bare", assets.provisioning()).keys.image
FINAL = f"dayfly/bare:{DIGEST[:12]}"
LATEST = "dayfly/bare:latest"


class Kitchen:
    """Phases that only write marks; `fail`: phase → exception, `hang`: a phase that never ends."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.images = FakeImages()
        self.made: list[str] = []
        self.progress: list[Progress] = []
        self.verified: list[tuple[str, ImageManifest]] = []
        self.fail: dict[str, BaseException] = {}
        self.inputs: dict[str, Any] | None = None
        """What the play of the last node read."""
        self.hang = ""
        self.hanging = asyncio.Event()
        self.waiting = asyncio.Event()
        """A phase waits for another bake."""

    async def bake(self, recipe: str | Recipe = "bare", addresses: BakeAddresses | None = None, **options: Any) -> str:
        return await module.bake(
            recipe,
            images=self.images,
            builder=self.images,
            cache_dir=self.cache,
            report=self.report,
            verify=self.verify,
            clock=FakeClock(),
            addresses=addresses,
            **options,
        )

    def report(self, progress: Progress) -> None:
        self.progress.append(progress)
        if progress.state == "waiting":
            self.waiting.set()

    async def verify(self, image_id: str, manifest: ImageManifest, progress: OnLine) -> None:
        await self.step("verify")
        self.verified.append((image_id, manifest))

    async def rootfs(self, what: object, target: Path, **_: Any) -> None:
        name = "toolbox" if target.suffix == ".tar" else "base"
        await self.step(name)
        mark(target if name == "base" else target.parent, name)

    async def node(self, recipe: Recipe, target: Path, *, base: Path, **_: Any) -> None:
        self.inputs = inputs_of(recipe)
        await self.step("node")
        assert marks(base) == {"base"}
        mark(target / "rootfs", "node")
        status = target / "rootfs/var/lib/dpkg/status"
        status.parent.mkdir(parents=True)
        status.write_text("Package: zlib1g\nStatus: install ok installed\nVersion: 1:1.2\n")

    async def disk(self, rootfs: Path, target: Path, **_: Any) -> None:
        await self.step("disk")
        assert marks(rootfs) == {"node", "var"}
        for name in FILES:
            mark(target, name)

    async def step(self, name: str) -> None:
        await asyncio.sleep(0)
        if name in self.fail:
            raise self.fail.pop(name)
        if name == self.hang:
            self.hanging.set()
            await asyncio.Event().wait()
        self.made.append(name)

    def references(self) -> set[str]:
        return {name for image in self.images.stored.values() for name in image.references if "toolbox" not in name}

    def states(self, phase: str) -> list[str]:
        return [progress.state for progress in self.progress if progress.phase == phase]


def inputs_of(recipe: Recipe) -> dict[str, Any] | None:
    """What the play of `recipe` reads; None for a play that reads nothing."""
    file = recipe.vars.get("bake_addresses_file")
    found: dict[str, Any] | None = json.loads(Path(str(file)).read_text()) if file else None
    return found


def mark(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(name)


def marks(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kitchen]:
    kitchen = Kitchen(tmp_path / "cache")
    monkeypatch.setattr(module, "make_rootfs", kitchen.rootfs)
    monkeypatch.setattr(module, "make_node", kitchen.node)
    monkeypatch.setattr(module, "make_disk", kitchen.disk)
    monkeypatch.setattr(module, "check_host", lambda: None)
    yield kitchen
    assert not list(kitchen.cache.glob(".new-*")), "nothing half-made may stay"
    assert not any("unfinished" in name for name in kitchen.references())


async def test_a_verified_image_gets_its_names_and_its_manifest(kitchen: Kitchen) -> None:
    image_id = await kitchen.bake()
    assert kitchen.references() == {FINAL, LATEST}
    image = await kitchen.images.inspect(LATEST)
    assert image.id == image_id
    manifest = ImageManifest.model_validate_json(image.labels[LABEL_IMAGE])
    assert manifest.digest == DIGEST
    contents = read_contents(image.labels[LABEL_CONTENTS], manifest)
    packages = {"zlib1g": "1:1.2"}
    assert contents == ImageContents(digest=DIGEST, base="debian-12", packages=packages, inputs=DIGEST)
    assert kitchen.verified == [(image_id, manifest)]
    assert sorted(kitchen.made) == ["base", "disk", "node", "toolbox", "verify"]
    assert kitchen.states("verify") == ["running", "done"]


async def test_a_bake_that_waited_for_another_says_what_runs_then(kitchen: Kitchen) -> None:
    kitchen.hang = "disk"
    first = asyncio.create_task(kitchen.bake())
    await kitchen.hanging.wait()
    kitchen.progress.clear()
    second = asyncio.create_task(kitchen.bake())
    await kitchen.waiting.wait()
    kitchen.hang = ""
    first.cancel()
    await asyncio.wait({first})
    await second
    messages = [progress.message for progress in kitchen.progress if progress.phase == "image"]
    assert messages[:2] == ["another bake of this recipe runs", "the phases before it run"]
    assert kitchen.states("image") == ["waiting", "waiting", "running", "done"]


async def test_the_second_bake_makes_nothing(kitchen: Kitchen) -> None:
    image_id = await kitchen.bake()
    kitchen.made.clear()
    await kitchen.images.remove(LATEST)
    assert await kitchen.bake() == image_id
    assert kitchen.made == []
    assert kitchen.references() == {FINAL, LATEST}


async def test_an_image_that_was_removed_comes_from_the_cache_and_is_verified_again(kitchen: Kitchen) -> None:
    await kitchen.bake()
    kitchen.made.clear()
    kitchen.images.stored.clear()
    await kitchen.bake()
    assert kitchen.made == ["verify"]
    assert kitchen.states("disk")[-1] == "cached"


async def test_an_image_that_is_there_needs_no_host_that_can_bake(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot_bake() -> None:
        raise BakeFailed("this user is not root")

    monkeypatch.setattr(module, "check_host", cannot_bake)
    with pytest.raises(BakeFailed, match="not root"):
        await kitchen.bake()
    assert not await module.is_baked("bare", kitchen.images)
    kitchen.images.add(FINAL)
    assert await module.is_baked("bare", kitchen.images)
    await kitchen.bake()
    assert kitchen.references() == {FINAL, LATEST}


@pytest.mark.parametrize("phase", ["toolbox", "base", "node", "disk", "verify"])
async def test_a_failing_phase_is_named_with_its_evidence_and_the_next_bake_goes_on(
    kitchen: Kitchen, phase: str
) -> None:
    kitchen.fail[phase] = BakeFailed("it broke", evidence={"output": "why"})
    with pytest.raises(BakeFailed, match=f"phase {phase}: it broke") as caught:
        await kitchen.bake()
    assert caught.value.evidence == {"output": "why"}
    assert kitchen.states(phase)[-1] == "failed"
    assert kitchen.references() == set()
    await kitchen.bake()
    assert kitchen.references() == {FINAL, LATEST}


async def test_a_call_that_took_too_long_is_a_sentence(kitchen: Kitchen) -> None:
    kitchen.fail["base"] = TimeoutError()
    with pytest.raises(BakeFailed, match=r"^phase base: a call within it took longer than its limit$"):
        await kitchen.bake()


async def test_a_bake_whose_verification_fails_leaves_the_former_image_in_its_place(kitchen: Kitchen) -> None:
    former = kitchen.images.add(LATEST)
    kitchen.fail["verify"] = ImageBroken("it does not boot")
    with pytest.raises(ImageBroken, match="does not boot"):
        await kitchen.bake()
    assert (await kitchen.images.inspect(LATEST)).id == former.id
    assert kitchen.references() == {LATEST}


@pytest.mark.parametrize("phase", ["toolbox", "base", "node", "disk", "verify"])
async def test_an_interrupted_bake_leaves_no_half_image(kitchen: Kitchen, phase: str) -> None:
    kitchen.hang = phase
    async with asyncio.TaskGroup() as group:
        task = group.create_task(kitchen.bake())
        await kitchen.hanging.wait()
        task.cancel()
    assert kitchen.references() == set()
    kitchen.hang = ""
    await kitchen.bake()


async def test_an_image_that_a_killed_bake_left_unfinished_is_cleared_away(kitchen: Kitchen) -> None:
    kitchen.images.add("dayfly/bare:unfinished")
    await kitchen.bake()
    assert kitchen.references() == {FINAL, LATEST}


async def test_a_full_disk_is_called_by_its_name(kitchen: Kitchen) -> None:
    kitchen.fail["disk"] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(DiskFull, match="phase disk"):
        await kitchen.bake()


async def test_an_engine_that_is_gone_is_called_by_its_name(kitchen: Kitchen) -> None:
    kitchen.images.fail_next("add_files", EngineUnavailable("no answer"))
    with pytest.raises(EngineUnavailable, match="phase image: no answer"):
        await kitchen.bake()


async def test_of_former_images_the_newest_stays_and_whatever_is_in_use(kitchen: Kitchen) -> None:
    oldest, older, former = (f"dayfly/bare:{letter * 12}" for letter in "abc")
    for reference in (oldest, older, former, "dayfly/bare:mine", "dayfly/other:aaaaaaaaaaaa"):
        kitchen.images.add_node_image(reference, reference)
    kept = {former, "dayfly/bare:mine", "dayfly/other:aaaaaaaaaaaa", FINAL, LATEST}
    await kitchen.bake()
    assert kitchen.references() == kept
    kitchen.images.add_node_image(newer := "dayfly/bare:dddddddddddd", "newer")
    kitchen.images.fail_next("remove", EngineRefused("a container is using it"))
    await kitchen.bake()
    assert kitchen.references() == kept | {newer}


async def test_a_former_image_with_another_name_keeps_all_of_its_names(kitchen: Kitchen) -> None:
    names = ("dayfly/bare:latest", "dayfly/in-use:default-0123456789ab", "dayfly/bare:promoted-0123456789ab")
    baked = [f"dayfly/bare:{letter * 12}" for letter in "abc"]
    for reference, name in zip(baked, names, strict=True):
        image = kitchen.images.add_node_image(reference, reference)
        await kitchen.images.tag(image.id, name)
    for number in range(3):
        kitchen.images.add_node_image(f"dayfly/bare:{number:012d}", f"{number}")
    await kitchen.bake(takes_name=False)
    assert kitchen.references() == {*baked, *names, "dayfly/bare:000000000002", FINAL}


async def test_a_rebuild_makes_all_anew_but_the_toolbox_and_says_of_which_state_it_is(kitchen: Kitchen) -> None:
    image_id = await kitchen.bake()
    kitchen.made.clear()
    rebuilt = await kitchen.bake(takes_name=False, state="a")
    assert sorted(kitchen.made) == ["base", "disk", "node", "verify"]
    assert (await kitchen.images.inspect(LATEST)).id == image_id
    found = {}
    for one in (image_id, rebuilt):
        labels = kitchen.images.stored[one].labels
        manifest = ImageManifest.model_validate_json(labels[LABEL_IMAGE])
        contents = read_contents(labels[LABEL_CONTENTS], manifest)
        assert contents is not None
        found[one] = (contents.inputs, contents.state, contents.variant)
    assert found == {image_id: (DIGEST, "", False), rebuilt: (DIGEST, "a", False)}
    kitchen.made.clear()
    assert await kitchen.bake(takes_name=False, state="a") == rebuilt
    assert kitchen.made == []


async def test_a_bake_that_does_not_take_the_name_leaves_it_where_it_is(kitchen: Kitchen) -> None:
    image_id = await kitchen.bake()
    other = load_recipe("bare").model_copy(update={"vars": {"one": 1}})
    variant = await kitchen.bake(other, takes_name=False)
    assert variant != image_id
    digest = make_plan(other, assets.provisioning()).keys.image
    assert kitchen.references() == {FINAL, LATEST, f"dayfly/bare:{digest[:12]}"}
    assert (await kitchen.images.inspect(LATEST)).id == image_id
    assert '"variant":true' in kitchen.images.stored[variant].labels[LABEL_CONTENTS]
    assert await kitchen.bake(other, takes_name=False) == variant, "it exists already"
    assert (await kitchen.images.inspect(LATEST)).id == image_id


async def test_a_verification_asks_for_the_room_of_its_cluster(kitchen: Kitchen) -> None:
    asked: list[Resources] = []

    async def room(needs: Resources) -> None:
        assert "verify" not in kitchen.made
        asked.append(needs)

    await kitchen.bake(room=room)
    assert asked == [Resources(1, 512 + NODE_OVERHEAD_MIB + CLUSTER_OVERHEAD_MIB, 8)]
    await kitchen.bake(room=room)
    assert len(asked) == 1, "an image that exists is not verified again"


async def test_with_a_conformance_list_an_image_that_exists_is_verified_again(kitchen: Kitchen) -> None:
    image_id = await kitchen.bake()
    kitchen.fail["verify"] = ConformanceFailed("1 of 2 conformance specs failed", evidence={"failed": "one"})
    with pytest.raises(ConformanceFailed, match="phase verify: 1 of 2") as caught:
        await kitchen.bake(conformance=())
    assert caught.value.evidence == {"failed": "one"}
    assert kitchen.references() == {FINAL, LATEST}, "the image stays"
    assert await kitchen.bake(conformance=()) == image_id
    assert [one[0] for one in kitchen.verified] == [image_id, image_id]


async def test_the_addresses_of_a_bake_reach_its_play_and_stay_nowhere(
    kitchen: Kitchen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sources(suite: str, **_: Any) -> Sources:
        found = (Source("https://mirror.example/debian", suite),)
        return Sources(found, (), "DAYFLY_DEBIAN_MIRROR", Path("/keyring"))

    monkeypatch.setattr(module, "find_sources", sources)
    (tmp_path / "key").write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----")
    (tmp_path / "logins").write_text('{"auths": {"mirror.example": {"auth": "c2VjcmV0"}}}')
    address = "http://mirror.example/k8s"
    given = BakeAddresses(
        kubernetes_packages=address, kubernetes_key=tmp_path / "key", registry_logins=tmp_path / "logins"
    )
    await kitchen.bake("k8s-1.36", given)
    assert kitchen.inputs is not None
    assert kitchen.inputs["kubernetes_packages"] == address
    assert kitchen.inputs["logins"] == {"mirror.example": {"auth": "c2VjcmV0"}}
    assert kitchen.inputs["apt_sources"] == "deb [signed-by=/keyring] https://mirror.example/debian trixie main"
    assert "dayfly/k8s-1.36:latest" in kitchen.references()
    kept = [path for path in kitchen.cache.rglob("*") if path.is_file() and "c2VjcmV0" in path.read_text()]
    assert kept == []


async def test_settings_that_a_recipe_cannot_use_are_refused_before_anything_is_made(kitchen: Kitchen) -> None:
    with pytest.raises(InvalidRequest, match="DAYFLY_KUBERNETES_PACKAGES_KEY"):
        await kitchen.bake("k8s-1.36", BakeAddresses(kubernetes_packages="http://mirror.example"))
    assert kitchen.made == []
