"""The manifests of pulled add-ons on this machine, named by their SHA-256, and what is missing before clusters get one.

An operator's command stores them (`dayfly addon fetch`): neither a server nor a cluster downloads any.
Not here: the download (addon_fetch.py), and what becomes of the objects (domain/addon_objects.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from dayfly.domain.addon import Addon, AddonDefinition
from dayfly.domain.addon_objects import compose, workload_paths
from dayfly.domain.addon_source import PinnedImage, PulledSource
from dayfly.errors import AddonContentDiffers, AddonFetchFailed, AddonUnavailable, InvalidRequest
from dayfly.settings import Settings

ImagesUnavailable = Callable[[Iterable[PinnedImage]], str | None]
"""Why nodes cannot pull one of these images; None: they can."""


def pulled_images_available(settings: Settings, images: Iterable[PinnedImage]) -> str | None:
    """Why one of `images` cannot be had through the caches of this installation; None: all can. Nothing is asked.

    Nodes may reach registries themselves, but an add-on is for every cluster: each would pull it anew.
    """
    registries = {image.source.partition("/")[0] for image in images}
    missing = sorted(registry for registry in registries if not settings.is_cached(registry))
    if not missing:
        return None
    return f"this installation has no cache of {', '.join(missing)}: set DAYFLY_REGISTRY_CACHES on the server"


class AddonManifests:
    """The folder of manifests, and complete add-ons made of them."""

    def __init__(self, folder: Path, images_unavailable: ImagesUnavailable) -> None:
        self._folder, self._images_unavailable = folder, images_unavailable
        self._complete: dict[str, Addon] = {}

    @classmethod
    def of(cls, settings: Settings) -> AddonManifests:
        return cls(settings.cache_dir / "addons", lambda images: pulled_images_available(settings, images))

    def why_unavailable(self, addon: AddonDefinition) -> str | None:
        """What is missing before a cluster can have `addon`, and the command or setting for it; None: nothing."""
        if addon.pulled is None:
            return None
        if self.missing(addon.pulled):
            return f"its manifests are not on the server: run `dayfly addon fetch {addon.name}` there"
        return self._images_unavailable(addon.pulled.images)

    def complete(self, addon: AddonDefinition) -> Addon:
        """The add-on as a cluster gets it. Raises AddonUnavailable."""
        if (reason := self.why_unavailable(addon)) is not None:
            raise AddonUnavailable(f"addons: {addon.name} is not available: {reason}")
        if addon.pulled is None:
            return addon.of_cluster()
        known = self._complete.get(addon.name)
        if known is None:
            try:
                known = assemble(addon, {one.sha256: self._read(one.sha256) for one in addon.pulled.manifests})
            except (InvalidRequest, OSError, AddonContentDiffers) as error:
                raise AddonUnavailable(f"addons: {addon.name} is not available: {error}") from error
            self._complete[addon.name] = known
        return known

    def missing(self, source: PulledSource) -> list[str]:
        """The URLs of manifests that are not here."""
        return [one.url for one in source.manifests if not (self._folder / one.sha256).is_file()]

    def store(self, content: bytes) -> str:
        """Keep `content`; its SHA-256. Raises AddonFetchFailed where this machine cannot."""
        digest = sha256(content)
        try:
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor, new = tempfile.mkstemp(dir=self._folder, prefix=".new-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                Path(new).chmod(0o644)  # the service may be another user
                Path(new).replace(self._folder / digest)
            except BaseException:
                Path(new).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise AddonFetchFailed(f"{self._folder} cannot be written: {error.strerror}") from error
        return digest

    def _read(self, digest: str) -> bytes:
        content = (self._folder / digest).read_bytes()
        if (actual := sha256(content)) != digest:
            raise AddonContentDiffers(
                f"{self._folder / digest} has the SHA-256 {actual}: remove it, and fetch it again"
            )
        return content


def assemble(addon: AddonDefinition, contents: Mapping[str, bytes]) -> Addon:
    """`addon` as a cluster gets it, of the manifests' contents by SHA-256. Raises InvalidRequest."""
    if addon.pulled is None:
        return addon.of_cluster()
    documents = []
    for manifest in addon.pulled.manifests:
        try:
            text = contents[manifest.sha256].decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{manifest.url} is not text in UTF-8") from error
        documents.append(_parsed(manifest.url, manifest.replaced(text)))
    objects = compose(addon.name, addon.pulled, documents, addon.objects)
    try:
        json.dumps(objects)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"addons/{addon.name} has a value that is not JSON: {error}") from error
    paths = tuple(dict.fromkeys((*workload_paths(objects), *addon.ready_paths)))
    if not paths:
        raise InvalidRequest(f"addons/{addon.name} has neither workloads nor ready_paths: nothing proves that it works")
    return addon.of_cluster().model_copy(update={"objects": objects, "ready_paths": paths})


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _parsed(url: str, text: str) -> list[Any]:
    # Ten times as fast, where PyYAML has it: definitions have ten thousands of lines.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return list(yaml.load_all(text, Loader=loader))
    except yaml.YAMLError as error:
        raise InvalidRequest(f"{url} is not YAML: {' '.join(str(error).split())}") from error
