"""Addresses that replace upstream's. Not here: the refusals of settings (test_settings.py)."""

from __future__ import annotations

import pytest

from dayfly.bake_settings import BakeSettings
from dayfly.domain.bake_addresses import BakeAddresses, read_downloads, read_registries
from dayfly.settings import Settings


def test_without_settings_everything_comes_from_upstream() -> None:
    addresses = Settings().bake_addresses
    assert addresses == BakeAddresses()
    assert addresses.kubernetes_packages == "https://pkgs.k8s.io/core:/stable:"
    assert not addresses.has_own_kubernetes
    assert addresses.download("https://download.example/a") == "https://download.example/a"


def test_the_longest_beginning_of_an_address_is_replaced() -> None:
    pairs = read_downloads(
        ["https://a.example/=https://mirror.example/a/", "https://a.example/b/=http://mirror.example/?x=1&file="]
    )
    addresses = BakeAddresses(downloads=pairs)
    assert addresses.download("https://a.example/c/d.img") == "https://mirror.example/a/c/d.img"
    assert addresses.download("https://a.example/b/d.img") == "http://mirror.example/?x=1&file=d.img"


def test_a_registry_has_one_address() -> None:
    assert read_registries([" Registry.K8s.io = http://mirror.example:5000/k8s/ ", "quay.io=https://q.example"]) == (
        ("quay.io", "https://q.example"),
        ("registry.k8s.io", "http://mirror.example:5000/k8s"),
    )


def test_every_address_reaches_a_bake_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "DAYFLY_DEBIAN_MIRROR": "https://debian.example/debian",
        "DAYFLY_DEBIAN_SECURITY_MIRROR": "https://debian.example/security",
        "DAYFLY_DNF_REPOSITORIES": '["https://dnf.example/$releasever"]',
        "DAYFLY_KUBERNETES_PACKAGES": "https://k8s.example/packages",
        "DAYFLY_KUBERNETES_PACKAGES_KEY": "/keys/kubernetes",
        "DAYFLY_CRIO_PACKAGES": "https://crio.example",
        "DAYFLY_CRIO_PACKAGES_KEY": "/keys/crio",
        "DAYFLY_BAKE_REGISTRIES": '["registry.k8s.io=https://mirror.example"]',
        "DAYFLY_BAKE_REGISTRY_LOGINS": "/keys/logins",
        "DAYFLY_BAKE_DOWNLOADS": '["https://a.example/=https://b.example/?x=1,2"]',
        "DAYFLY_BAKE_CERTIFICATE_AUTHORITIES": "/keys/ca",
    }
    assert set(given) | {"DAYFLY_BAKE_BASE"} == {f"DAYFLY_{name.upper()}" for name in BakeSettings.model_fields}
    assert Settings().address_variables() == {}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    passed = settings.address_variables()
    assert passed == given
    assert [str(path) for path in settings.address_files()] == [v for v in given.values() if v.startswith("/keys/")]
    for name in given:
        monkeypatch.delenv(name)
    for name, value in passed.items():
        monkeypatch.setenv(name, value)
    assert Settings().bake_addresses == settings.bake_addresses
