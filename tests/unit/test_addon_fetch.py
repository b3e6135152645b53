"""The command that fetches manifests stores what has the pinned digest, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from dayfly import addon_fetch
from dayfly.addon_fetch import fetch_addon
from dayfly.addon_manifests import AddonManifests, sha256
from dayfly.domain.addon import AddonDefinition
from dayfly.domain.addon_source import PinnedManifest
from dayfly.errors import AddonContentDiffers, AddonFetchFailed, InvalidRequest
from tests.support.pulled_addons import MANIFEST, URL, make_juice, serving

MORE = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "addons"


@pytest.fixture
def manifests(folder: Path) -> AddonManifests:
    return AddonManifests(folder, lambda _: None)


def stored(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_manifest_is_downloaded_and_named_by_its_digest(manifests: AddonManifests, folder: Path) -> None:
    juice = make_juice()
    assert manifests.why_unavailable(juice) == (
        "its manifests are not on the server: run `dayfly addon fetch juice` there"
    )
    with serving(MANIFEST) as transport:
        assert fetch_addon(juice, manifests, transport=transport) == (URL,)
        assert fetch_addon(juice, manifests, transport=transport) == (URL,)
    assert stored(folder) == [sha256(MANIFEST)]
    assert (folder / sha256(MANIFEST)).read_bytes() == MANIFEST
    assert (folder / sha256(MANIFEST)).stat().st_mode & 0o777 == 0o644
    assert manifests.why_unavailable(juice) is None


@pytest.mark.parametrize("content", [MANIFEST + b"\n", MANIFEST[:-1], b""])
def test_other_content_is_refused(manifests: AddonManifests, folder: Path, tmp_path: Path, content: bytes) -> None:
    with serving(content) as transport, pytest.raises(AddonContentDiffers) as refused:
        fetch_addon(make_juice(), manifests, transport=transport)
    assert refused.value.code == "addon_content_differs"
    assert refused.value.message == f"{URL} has the SHA-256 {sha256(content)}; expected: {sha256(MANIFEST)}"
    file = tmp_path / "juice.yaml"
    file.write_bytes(content)
    with pytest.raises(AddonContentDiffers, match=f"juice.yaml has the SHA-256 {sha256(content)}; expected: "):
        fetch_addon(make_juice(), manifests, [file])
    assert stored(folder) == []


def test_a_download_that_breaks_off_stores_nothing(manifests: AddonManifests, folder: Path) -> None:
    with (
        serving(MANIFEST[:50], length=len(MANIFEST)) as transport,
        pytest.raises(AddonFetchFailed, match=f"{URL} cannot be downloaded: ") as failed,
    ):
        fetch_addon(make_juice(), manifests, transport=transport)
    assert (failed.value.code, failed.value.retryable) == ("addon_fetch_failed", True)
    with serving(b"gone", status=404) as transport, pytest.raises(AddonFetchFailed, match="with status 404"):
        fetch_addon(make_juice(), manifests, transport=transport)
    assert stored(folder) == []


def test_a_download_without_end_is_cut_off(manifests: AddonManifests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addon_fetch, "_MAX_BYTES", 100)
    with serving(MANIFEST) as transport, pytest.raises(AddonFetchFailed, match="has more than 0 MiB"):
        fetch_addon(make_juice(), manifests, transport=transport)


def test_files_are_told_apart_by_their_content(manifests: AddonManifests, folder: Path, tmp_path: Path) -> None:
    second = PinnedManifest(url="https://juice.example/v1/more.yaml", sha256=sha256(MORE))
    juice = make_juice(MANIFEST, "juice", second)
    files = [tmp_path / "one", tmp_path / "two"]
    files[0].write_bytes(MORE)
    files[1].write_bytes(MANIFEST)
    with pytest.raises(InvalidRequest, match=f"no file was given for {URL}"):
        fetch_addon(juice, manifests, files[:1])
    assert stored(folder) == []
    with pytest.raises(AddonFetchFailed, match="gone cannot be read: No such file"):
        fetch_addon(juice, manifests, [tmp_path / "gone"])
    fetch_addon(juice, manifests, files)
    assert stored(folder) == sorted([sha256(MORE), sha256(MANIFEST)])


def test_a_manifest_that_makes_no_addon_is_not_stored(manifests: AddonManifests, folder: Path, tmp_path: Path) -> None:
    content = MANIFEST.replace(b'image: "juice/press:v1"}]\n', b'image: "juice/soap:v1"}]\n')
    (tmp_path / "juice.yaml").write_bytes(content)
    with pytest.raises(InvalidRequest, match="Deployment press has the image juice/soap:v1, for which"):
        fetch_addon(make_juice(content), manifests, [tmp_path / "juice.yaml"])
    assert stored(folder) == []


def test_a_baked_addon_has_nothing_to_fetch(manifests: AddonManifests) -> None:
    tea = AddonDefinition(name="tea", description="Tea.", recipes=("k8s-test",))
    with pytest.raises(InvalidRequest, match="the add-on tea is baked into node images: there is nothing to fetch"):
        fetch_addon(tea, manifests)
    assert (manifests.why_unavailable(tea), manifests.complete(tea)) == (None, tea.of_cluster())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AddonFetchFailed, match="file/addons cannot be written: Not a directory"):
        AddonManifests(tmp_path / "file" / "addons", lambda _: None).store(MANIFEST)
