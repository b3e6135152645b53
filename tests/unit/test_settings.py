"""Settings: former variables are refused."""

from __future__ import annotations

import pytest

from dayfly.cli.errors import CommandError
from dayfly.cli.server_settings import server_settings
from dayfly.settings import RENAMED, Settings


@pytest.mark.parametrize("old", [*RENAMED, *map(str.lower, RENAMED)])
def test_a_variable_that_was_renamed_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch, old: str) -> None:
    monkeypatch.setenv(old, "60")
    with pytest.raises(CommandError) as refused:
        server_settings()
    new = RENAMED[old.upper()]
    assert refused.value.code == "bad_settings"
    assert refused.value.detail == f"{old.upper()} was renamed in 0.3.0: set {new} instead, and unset {old.upper()}"


def test_each_new_name_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_ORPHAN_GRACE_SECONDS", "60")
    assert server_settings().orphan_grace_seconds == 60
    assert set(RENAMED.values()) <= {f"DAYFLY_{name.upper()}" for name in Settings.model_fields}


def test_an_invalid_value_is_told_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_LISTEN_PORT", "many")
    with pytest.raises(CommandError, match=r"^DAYFLY_LISTEN_PORT: Input should be a valid integer"):
        server_settings()


def test_an_invalid_option_is_told_with_its_name() -> None:
    with pytest.raises(CommandError, match=r"^--address: must be an IP address"):
        server_settings(listen_address="lab.example")


WRONG = {
    "state_dir": (),
    "cache_dir": (),
    "docker_config": (),
    "secrets_key_file": (),
    "secrets_key": (),
    "registry_cache_logins": (),
    "registry_caches": (
        "docker.io=registry-1.docker.io",
        "docker.io=ftp://registry-1.docker.io",
        "docker.io=https://user:secret@registry-1.docker.io",
        "docker.io=https://registry-1.docker.io/v2",
        "docker.io=https://registry-1.docker.io:0",
        "docker.io=https://registry-1.docker.io?secret=1",
        "https://registry-1.docker.io",
        "registry:5000",
        "localhost:5000",
        "127.0.0.1:5000",
        "quay.io:99999",
        "index.docker.io",
        "quay.io,quay.io",
        "quay.io/coreos",
        "*",
        ",".join(f"r{number}.example" for number in range(17)),
        f"{'a' * 60}.lab",
        '["quay.io", 1]',
    ),
    "insecure_registries": ("http://lab:5000", "lab:99999", "lab:0", "lab/dayfly", "a b", '["a", 1]', "*"),
    "database_url": (
        "mysql://u:secret@host/x",
        "postgresql://host/x",
        "dayfly.db",
        "postgresql+asyncpg://",
        "sqlite+aiosqlite:///",
        "postgresql+asyncpg://u:secret@host:abc/db",
        "postgresql+asyncpg://u:secret@host:99999/db",
        "postgresql+asyncpg://u:secret@[::1:5432/db",
        "sqlite+aiosqlite:///:memory:",
        "sqlite+aiosqlite:///?timeout=3",
        "sqlite+aiosqlite:///file:dayfly?mode=memory&uri=true",
    ),
    "instance": ("A", "a b", "-", "a" * 64),
    "listen_address": ("here", "127.0.0.1:80", "1.2.3"),
    "host_names": ("lab.example:8700", "http://lab.example", "a b", "a..b", "[a", '["a", 1]', "*.example"),
    "docker_host": (
        "/var/run/docker.sock",
        "unix://",
        "unix://a/b",
        "npipe://x",
        "tcp://:99999",
        "tcp://h:x",
        "tcp://",
        "tcp://a..b:1",
    ),
    "publish_address": ("lab.example", "0"),
    "advertise_host": ("http://lab.example", "lab.example:80", "-"),
    "port_range": ("40000", "2-1", "0-1", "1-65536", "a-b"),
    "debian_mirror": ("mirror.example", "http://mirror.example/a b"),
    "debian_security_mirror": ("mirror.example",),
    "dnf_repositories": ("mirror.example", "https://user:secret@mirror.example", '["https://mirror.example", 1]'),
    "kubernetes_packages": ("mirror.example", "ftp://mirror.example", "https://user:secret@mirror.example/k8s"),
    "kubernetes_packages_key": (),
    "crio_packages": ("mirror.example", "https://user:secret@mirror.example/crio"),
    "crio_packages_key": (),
    "bake_registries": (
        "registry.k8s.io",
        "registry.k8s.io=mirror.example",
        "registry.k8s.io=https://user:secret@mirror.example",
        "https://registry.k8s.io=https://mirror.example",
        "registry.k8s.io=https://a.example,registry.k8s.io=https://b.example",
    ),
    "bake_registry_logins": (),
    "bake_downloads": (
        "https://download.example/",
        "download.example=https://mirror.example",
        "https://download.example/=https://user:secret@mirror.example/",
        "https://a.example/=https://b.example/,https://a.example/=https://c.example/",
    ),
    "bake_certificate_authorities": (),
    "bake_base": ("UPPER", "a/../b", "a:b:c"),
    "webhook_networks": ("10.0.0.0/33", "10.0.0.1/8", "lab.example", "*", '["10.0.0.0/8", 1]'),
    "bakes": ("on", "true"),
    "rebuilds": ("../bare", "bare:now", "Bare", "bare,bare:promote", '["bare", 1]'),
    "accelerator": ("fast",),
    "template_auto": ("perhaps",),
    "loopback_is_operator": ("perhaps",),
    "listen_socket": (),
    "oidc_file": (),
    "tls": ("on", "true"),
    "tls_certificate": (),
    "tls_key": (),
    "log_format": ("xml",),
    "log_level": ("loud",),
}
"""Setting that is no number → values that are refused. Any path may be a folder."""


def test_each_setting_that_is_no_number_is_in_the_table() -> None:
    schema = Settings.model_json_schema()["properties"]
    kinds = {
        name: {one.get("type") for one in field.get("anyOf", [field])} - {"null"} for name, field in schema.items()
    }
    assert {name for name, found in kinds.items() if found.isdisjoint({"integer", "number"})} == WRONG.keys()


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name not in WRONG])
@pytest.mark.parametrize("value", ["-1", "1e30", "inf", "nan", "many", "9" * 30])
def test_each_number_has_bounds(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"DAYFLY_{name.upper()}", value)
    with pytest.raises(CommandError, match=rf"^DAYFLY_{name.upper()}: [^\n]+$"):
        server_settings()


def durations() -> list[str]:
    """The settings that are durations: 0 is a value of some, and means at once."""
    return [name for name in Settings.model_fields if name.endswith("_seconds")]


@pytest.mark.parametrize("name", durations())
def test_a_duration_is_zero_or_long_enough_for_what_it_bounds(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"DAYFLY_{name.upper()}", "0")
    try:
        server_settings()
    except CommandError:
        monkeypatch.setenv(f"DAYFLY_{name.upper()}", "0.000001")
        with pytest.raises(CommandError, match=rf"^DAYFLY_{name.upper()}: [^\n]+$"):
            server_settings()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_each_wrong_value_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"DAYFLY_{name.upper()}", value)
    with pytest.raises(CommandError, match=rf"^DAYFLY_{name.upper()}: [^\n]+$") as refused:
        server_settings()
    assert "secret" not in str(refused.value.detail)
    assert "Value error" not in str(refused.value.detail)


def test_a_list_is_written_with_commas_or_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    for written in ("lab.example, 10.0.0.5", '["lab.example", "10.0.0.5"]'):
        monkeypatch.setenv("DAYFLY_HOST_NAMES", written)
        assert server_settings().host_names == ("lab.example", "10.0.0.5")
    monkeypatch.setenv("DAYFLY_HOST_NAMES", "Lab.Example,dns.example.,2001:DB8::1")
    assert server_settings().host_names == ("lab.example", "dns.example", "2001:db8::1")
    monkeypatch.setenv("DAYFLY_HOST_NAMES", "*")
    assert server_settings().allowed_hosts is None


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_variable_is_as_an_unset_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"DAYFLY_{name.upper()}", "")
    assert server_settings() == Settings()


def test_registry_caches_are_read_in_one_order_whatever_the_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not server_settings().is_cached("docker.io")
    monkeypatch.setenv("DAYFLY_REGISTRY_CACHES", "Quay.io, docker.io=https://mirror.example:5443/ ,reg.example:5000")
    settings = server_settings()
    assert [(cache.name, cache.upstream, cache.port) for cache in settings.caches] == [
        ("docker.io", "https://mirror.example:5443", 5001),
        ("quay.io", "https://quay.io", 5002),
        ("reg.example:5000", "https://reg.example:5000", 5003),
    ]
    assert [settings.is_cached(name) for name in ("docker.io", "quay.io", "ghcr.io")] == [True, True, False]


def test_a_default_time_to_live_over_the_longest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_DEFAULT_TTL_SECONDS", "700000")
    with pytest.raises(CommandError, match=r"^DAYFLY_DEFAULT_TTL_SECONDS is 700000, more than DAYFLY_MAX_TTL_SECONDS"):
        server_settings()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"TLS": "files"}, "DAYFLY_TLS=files needs DAYFLY_TLS_CERTIFICATE"),
        ({"TLS_CERTIFICATE": "/a.pem"}, "DAYFLY_TLS is off: DAYFLY_TLS_CERTIFICATE and DAYFLY_TLS_KEY are for "),
        ({"TLS": "authority", "TLS_KEY": "/a.key"}, "DAYFLY_TLS is authority: "),
    ],
)
def test_files_of_tls_are_not_forgotten(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], sentence: str) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"DAYFLY_{name}", value)
    with pytest.raises(CommandError, match=f"^{sentence}"):
        server_settings()
