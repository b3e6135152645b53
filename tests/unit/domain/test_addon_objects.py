"""The objects of a pulled add-on: which, in what order, and with images by digest."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from dayfly.domain.addon import LABEL_ADDON, title
from dayfly.domain.addon_objects import compose, workload_paths
from dayfly.domain.addon_source import KubernetesRange, PinnedImage, PinnedManifest, Replacement, with_registry
from dayfly.errors import InvalidRequest
from tests.support.pulled_addons import DIGEST, MANIFEST, PINNED, make_juice

SHA = "0" * 64


def made(manifest: bytes = MANIFEST, own: list[dict[str, Any]] | None = None, **fields: Any) -> list[dict[str, Any]]:
    source = make_juice(manifest).pulled
    assert source is not None
    pinned = source.manifests[0].model_copy(update=fields)
    source = source.model_copy(update={"manifests": (pinned,)})
    return list(compose("juice", source, [yaml.safe_load_all(manifest)], own or []))


def by_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (item for item in objects if item["kind"] == kind)
    return found


def test_objects_are_created_after_what_they_need() -> None:
    own = {"apiVersion": "juice.example/v1", "kind": "Bar", "metadata": {"name": "own"}}
    found = made(own=[own, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "own"}}])
    assert [title(item) for item in found] == [
        "Namespace juice",
        "CustomResourceDefinition juices.juice.example",
        "ClusterRole press",
        "ServiceAccount own",
        "ConfigMap juice/recipe",
        "Service juice/press",
        "Deployment juice/press",
        "ValidatingWebhookConfiguration juice",
        "Juice juice/orange",
        "Bar own",
    ]


def test_objects_have_the_label_and_nothing_that_the_api_server_writes() -> None:
    found = made()
    assert {item["metadata"]["labels"][LABEL_ADDON] for item in found} == {"juice"}
    deployment = by_kind(found, "Deployment")
    assert deployment["metadata"]["labels"]["app"] == "press"
    assert "creationTimestamp" not in deployment["metadata"]
    assert not any("status" in item for item in found)
    schema = by_kind(found, "CustomResourceDefinition")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema == {"properties": {"description": {"type": "string"}}}


def test_pods_get_images_by_digest_and_so_do_those_that_an_operator_starts() -> None:
    pod = by_kind(made(), "Deployment")["spec"]["template"]["spec"]
    assert [pod["initContainers"][0]["image"], pod["containers"][0]["image"]] == [PINNED, PINNED]
    assert pod["containers"][0]["env"] == [{"name": "WORKER_IMAGE", "value": PINNED}]
    assert b"juice/press:v1" not in str(made()).encode()


@pytest.mark.parametrize(
    "image", ["juice/press:v2", "juice/press", "docker.io/juice/press:v1", f"juice/press@sha256:{'ab' * 32}"]
)
def test_an_image_without_a_digest_of_addon_yaml_is_refused(image: str) -> None:
    content = MANIFEST.replace(b'image: "juice/press:v1", env', f'image: "{image}", env'.encode())
    with pytest.raises(InvalidRequest, match=f"Deployment press has the image {image}, for which addon.yaml has no"):
        made(content)


def test_an_image_that_has_its_digest_already_is_kept() -> None:
    content = MANIFEST.replace(b"juice/press:v1", PINNED.encode())
    assert by_kind(made(content), "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"] == PINNED


def test_an_image_may_be_pulled_from_another_repository() -> None:
    image = PinnedImage(name="gcr.io/tests/press:latest", repository="quay.io/juice/press", digest=DIGEST)
    assert image.reference == f"quay.io/juice/press@{DIGEST}"


def test_only_selected_objects_are_used() -> None:
    assert [item["kind"] for item in made(only=("Service press", "Namespace juice"))] == ["Namespace", "Service"]
    with pytest.raises(InvalidRequest, match=r"juice\.yaml has no Service pot"):
        made(only=("Service press", "Service pot"))


def test_a_namespace_is_given_to_objects_that_have_none_and_need_one() -> None:
    content = MANIFEST.replace(b", namespace: juice", b"")
    namespaces = {item["kind"]: item["metadata"].get("namespace") for item in made(content, namespace="bar")}
    assert {kind for kind, namespace in namespaces.items() if namespace == "bar"} == {
        *("ConfigMap", "Service", "Deployment", "Juice")
    }
    assert {item["metadata"].get("namespace") for item in made(namespace="bar")} == {"juice", None}


def test_the_same_object_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="two objects of its manifests and files are the same"):
        made(own=[{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "juice"}}])


def test_texts_are_replaced_and_must_occur() -> None:
    manifest = PinnedManifest(url="https://a/b", sha256=SHA, replace=(Replacement(old="a: 1", new="a: 2"),))
    assert manifest.replaced("a: 1\nb: a: 1\n") == "a: 2\nb: a: 2\n"
    with pytest.raises(InvalidRequest, match=r"https://a/b has no text 'a: 1', which addon\.yaml replaces"):
        manifest.replaced("a: 3")


def test_the_paths_of_all_workloads_prove_that_the_addon_works() -> None:
    def item(kind: str, **metadata: str) -> dict[str, Any]:
        return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "a", **metadata}}

    assert workload_paths([item("DaemonSet", namespace="n"), item("StatefulSet"), item("ReplicaSet")]) == (
        "/apis/apps/v1/namespaces/n/daemonsets/a",
        "/apis/apps/v1/namespaces/default/statefulsets/a",
    )


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("nginx", "docker.io/library/nginx"),
        ("calico/node", "docker.io/calico/node"),
        ("quay.io/a/b", "quay.io/a/b"),
        ("localhost/a", "localhost/a"),
        ("host:5000/a", "host:5000/a"),
    ],
)
def test_a_repository_without_a_registry_is_of_docker_io(name: str, full: str) -> None:
    assert with_registry(name) == full
    assert PinnedImage(name=f"{name}:v1", digest=DIGEST).source == full


def test_ranges_of_kubernetes_compare_numbers() -> None:
    versions = KubernetesRange(oldest="1.9", newest="1.20")
    assert [versions.has(one) for one in ("v1.8.15", "v1.9.0", "1.20", "v1.20.15", "v1.21.0", "")] == [
        *(False, True, True, True, False, False)
    ]
    with pytest.raises(ValidationError, match="is newer than newest"):
        KubernetesRange(oldest="1.20", newest="1.9")
