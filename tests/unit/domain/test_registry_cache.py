"""The list of registry caches. Not here: its refusals (test_settings.py)."""

from __future__ import annotations

import pytest

from dayfly.domain.registry_cache import read_caches


def test_without_a_url_the_upstream_is_the_registry_itself() -> None:
    hub, quay = read_caches(["quay.io", "docker.io"])
    assert (hub.upstream, quay.upstream) == ("https://registry-1.docker.io", "https://quay.io")
    assert not hub.has_own_upstream
    assert not quay.has_own_upstream
    (mirror,) = read_caches(["quay.io=http://mirror.example"])
    assert mirror.has_own_upstream


def test_no_two_caches_share_a_port_a_socket_or_a_prefix() -> None:
    caches = read_caches(["docker.io", "reg.example:5000", "reg.example", "reg.example:5001"])
    for part in ("port", "socket", "prefix"):
        assert len({getattr(cache, part) for cache in caches}) == len(caches)
    # Both are arguments of socat, which reads `:` as the end of an address, and `,` as the begin of options.
    assert not any(set(cache.socket) & set(":,") for cache in caches)


@pytest.mark.parametrize(
    ("entry", "login"),
    [
        ("docker.io", "docker.io"),
        ("docker.io=https://registry-1.docker.io", "docker.io"),
        ("docker.io=https://mirror.example:5443", "mirror.example:5443"),
        ("quay.io", "quay.io"),
    ],
)
def test_a_login_is_that_of_the_upstream(entry: str, login: str) -> None:
    (cache,) = read_caches([entry])
    assert cache.login_name == login


def test_a_refusal_quotes_no_url() -> None:
    for entry in ("quay.io=https://user:secret@quay.io", "quay.io=https://quay.io/?secret", "https://u:secret@quay.io"):
        with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
            read_caches([entry])
        assert "secret" not in str(refused.value)
