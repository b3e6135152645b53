"""Names of containers, volumes and networks."""

from __future__ import annotations

import pytest

from dayfly.domain.cluster.naming import image_reference, node_name, split_tag
from dayfly.vocabulary import CLUSTER_NAME


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("bare", "dayfly/bare:latest"),
        ("bare:0123", "dayfly/bare:0123"),
        ("mine/bare", "mine/bare:latest"),
        ("127.0.0.1:5000/dayfly/bare", "127.0.0.1:5000/dayfly/bare:latest"),
        ("127.0.0.1:5000/dayfly/bare:v1", "127.0.0.1:5000/dayfly/bare:v1"),
    ],
)
def test_image_references_are_made_whole(name: str, reference: str) -> None:
    assert image_reference(name) == reference


def test_a_registrys_port_is_no_tag() -> None:
    assert split_tag("host:5000/a/b") == ("host:5000/a/b", "latest")
    assert split_tag("host:5000/a/b@sha256:12") == ("host:5000/a/b", "sha256:12")
    assert split_tag("a/b:1@sha256:12") == ("a/b", "sha256:12")
    assert image_reference("bare@sha256:12") == "dayfly/bare@sha256:12"


@pytest.mark.parametrize("name", ["a", "demo", "ci-1234", "a" * 40])
def test_good_cluster_names(name: str) -> None:
    assert CLUSTER_NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "1a", "-a", "a-", "A", "a_b", "a.b", "a" * 41, "a\n", "ä", "a/b"])
def test_bad_cluster_names(name: str) -> None:
    assert not CLUSTER_NAME.fullmatch(name)


def test_node_names_have_two_digits() -> None:
    assert [node_name(i) for i in (1, 9, 10, 99)] == ["node01", "node09", "node10", "node99"]
