"""The one settings tree. Nothing else reads the environment, but for the docker command's own variables
(drivers/docker/engine_address.py). Names carry units; every default works on a laptop.

Set by environment variables with the prefix `DAYFLY_`, e.g. DAYFLY_STATE_DIR=/var/lib/dayfly.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from dayfly.addresses import is_engine_url
from dayfly.bake_settings import BakeSettings
from dayfly.domain.bake_rebuild import RebuildRule, read_rules
from dayfly.domain.registry_cache import RegistryCache, read_caches
from dayfly.secrets_settings import SecretsSettings
from dayfly.setting_types import as_list, must
from dayfly.tls_settings import TlsSettings

_PROCESS = secrets.token_hex(3)
"""Distinguishes processes with the same host name and pid: containers may share both."""


def _xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback) / "dayfly"


RENAMED: Final = {"DAYFLY_STRAY_GRACE_SECONDS": "DAYFLY_ORPHAN_GRACE_SECONDS"}
"""Variables of 0.2.0 with another name: one that is set is refused, because it would have no effect."""


Seconds = Annotated[float, Field(ge=1, le=1e9, allow_inf_nan=False)]
Interval = Annotated[float, Field(ge=0.1, le=1e9, allow_inf_nan=False)]
"""The time between two looks: a shorter one occupies the process with nothing else."""
Deadline = Annotated[float, Field(ge=0.01, le=300, allow_inf_nan=False)]
"""For what a caller sends: a shorter one ends requests that are sent in one piece."""
Pause = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
WholeSeconds = Annotated[int, Field(gt=0, le=10**9)]
Ratio = Annotated[float, Field(ge=0.01, le=1000, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1000)]
Reserve = Annotated[int, Field(ge=0, le=2**30)]
Port = Annotated[int, Field(ge=1, le=65535)]

_LABEL: Final = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_INSTANCE: Final = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_DATABASES: Final = ("postgresql+asyncpg://…", "sqlite+aiosqlite:///…")


def _ip_address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("must be an IP address, such as 127.0.0.1 or ::1") from None
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError(f"{value} is no network, such as 10.0.0.0/8 or fd00::/8") from None


def _host_name(value: str) -> str:
    try:
        return value if _HOST_NAME.fullmatch(value) else _ip_address(value)
    except ValueError:
        raise ValueError(f"{value!r} is neither a host name nor an IP address; write neither port nor scheme") from None


def _address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        return None


def _is_range(value: str) -> bool:
    first, dash, last = value.partition("-")
    return bool(dash) and first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65536


def _database_url(value: str) -> str:
    # The value may hold a password: no message quotes it.
    if not any(re.fullmatch(f"{re.escape(form[:-1])}.+", value) for form in _DATABASES):
        raise ValueError(f"must be {' or '.join(_DATABASES)}")
    # Not at the top: SQLAlchemy takes longer to import than all the rest, and few commands have a database.
    from sqlalchemy import make_url  # noqa: PLC0415
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise ValueError("cannot be parsed as a URL: check its port, and percent-encode the password") from None
    if url.port is not None and not 0 < url.port < 65536:
        raise ValueError(f"the port must be 1 to 65535, and not {url.port}")
    # The name `file:…` is a URI of SQLite's, which may name memory, too.
    if url.get_backend_name() == "sqlite" and (url.database in (None, "", ":memory:") or "uri" in url.query):
        raise ValueError("a SQLite database needs a file: sqlite+aiosqlite:////var/lib/dayfly/dayfly.db")
    return value


def _host_name_or_any(value: str) -> str:
    """As the API compares it with the name in a Host header: in lower case, without the dot that ends a DNS name."""
    return value if value == "*" else _host_name(value.removesuffix(".")).lower()


def _registry_caches(value: tuple[str, ...]) -> tuple[str, ...]:
    read_caches(value)
    return value


def _rebuilds(value: tuple[str, ...]) -> tuple[str, ...]:
    read_rules(value)
    return value


def _registry(value: str) -> str:
    host, _, port = value.rpartition(":")
    if port.isdigit() and not 0 < int(port) < 65536:
        raise ValueError(f"the port of {value} must be 1 to 65535")
    _host_name(host if port.isdigit() and host else value)
    return value


Address = Annotated[str, AfterValidator(_ip_address)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
HostName = Annotated[str, AfterValidator(_host_name)]
RegistryCaches = Annotated[tuple[str, ...], NoDecode, BeforeValidator(as_list), AfterValidator(_registry_caches)]
HostNames = Annotated[tuple[Annotated[str, AfterValidator(_host_name_or_any)], ...], NoDecode, BeforeValidator(as_list)]
Rebuilds = Annotated[tuple[str, ...], NoDecode, BeforeValidator(as_list), AfterValidator(_rebuilds)]
Registries = Annotated[tuple[Annotated[str, AfterValidator(_registry)], ...], NoDecode, BeforeValidator(as_list)]
Networks = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], NoDecode, BeforeValidator(as_list)]
Instance = Annotated[
    str,
    must(_INSTANCE.fullmatch, "must be 1 to 63 lower-case letters and digits, with `-`, `.` or `_` between them"),
]
EngineUrl = Annotated[str, must(is_engine_url, "must be a URL, such as unix:///var/run/docker.sock or tcp://host:2376")]
PortRange = Annotated[str, must(_is_range, "a port range has the form 40000-40999")]


class Settings(BakeSettings, SecretsSettings, TlsSettings):
    """The settings of this installation. An empty variable counts as unset."""

    model_config = SettingsConfigDict(env_prefix="DAYFLY_", env_ignore_empty=True, frozen=True)

    state_dir: Path = Field(default_factory=lambda: _xdg("XDG_STATE_HOME", ".local/state"))
    """Folder of the SQLite database, of the key of its secrets, and of the cached KVM probe."""
    cache_dir: Path = Field(default_factory=lambda: _xdg("XDG_CACHE_HOME", ".cache"))
    """The bakes' cache, named by content hash. May be deleted at any time."""
    database_url: DatabaseUrl | None = None
    """`postgresql+asyncpg://…`, or `sqlite+aiosqlite:///…` for one process; unset: SQLite under `state_dir`."""
    instance: Instance = "default"
    """The installation's name, which labels its containers, networks and volumes. Unique on an engine."""

    listen_address: Address = "127.0.0.1"
    listen_port: Port = 8700
    host_names: HostNames = ()
    """Accepted host names in requests' Host header, in addition to loopback's, as `lab.example,10.0.0.5`; `*`: any."""
    listen_socket: Path | None = None
    """A unix socket on which the API listens as well. Root and the server's own user are operators there, without a
    token; the file's mode lets nobody else in. Unset: none."""
    loopback_is_operator: bool = False
    """Whether a request from this host needs no token: every user and program of this host is an operator then, as the
    whole network is through a proxy on this host that does not add a header such as X-Forwarded-For. Other requests
    need a token: the first start shows the operator's on the terminal, or writes it to `operator-token` in
    `state_dir`."""
    worker_metrics_port: Port | None = None
    """The port of /metrics of a `dayfly worker` or `dayfly builder`, on `listen_address`; unset: they open no port.
    `dayfly serve` and `dayfly api` show metrics on their own port."""
    max_connections: int = Field(default=1000, ge=16, le=100_000)
    """Open HTTP connections of one process. Beyond, the connection that waits longest for its caller is closed."""
    max_held_responses: int = Field(default=500, ge=1, le=100_000)
    """Responses that one process holds at once (`?wait=`, followed consoles), at most half of its connections. Beyond:
    503 `too_many_waits`, or for a request that changed something its response at once."""
    max_event_streams: int = Field(default=250, ge=1, le=100_000)
    """Streams of events (`text/event-stream`) that one process serves at once, at most a quarter of its connections.
    Beyond: 503 `too_many_streams`."""
    rate_limit_per_minute: Annotated[int, Field(ge=1, le=10**9)] = 60_000
    """Requests of one principal that one process answers in a minute. Beyond: 429 `rate_limited` with a Retry-After."""
    header_timeout_seconds: Deadline = 10.0
    """The time that callers have to send a request's headers; then the connection is closed."""
    body_timeout_seconds: Deadline = 20.0
    """The time that callers have to send a request's body; then 408 `body_too_slow`."""

    oidc_file: Path | None = None
    """The file of OIDC issuers and rules (TOML), whose tokens are accepted then. `dayfly oidc check FILE` checks one; a
    changed file is used within a second, unless it has an error."""

    docker_host: EngineUrl | None = None
    """The engine's URL, `unix:///var/run/docker.sock`; unset: as the docker command finds it."""
    docker_config: Path = Field(
        default_factory=lambda: Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    )
    """The file with `docker login`'s logins of registries, for pushes and pulls of images."""
    insecure_registries: Registries = ()
    """Registries of node images, as `lab:5000,10.0.0.5`, that Podman uses without TLS or whatever their certificate.
    Docker reads its own configuration (`insecure-registries`), and so does every engine for certificate authorities."""
    publish_address: Address = "127.0.0.1"
    """The host address of clusters' published ports. Any address but loopback exposes the ports to the network."""
    advertise_host: HostName | None = None
    """The host in endpoints shown to callers, and in the certificates of new clusters' API servers; unset:
    `publish_address`."""
    port_range: PortRange | None = None
    """The range of clusters' published ports, as `40000-40999`; unset: 20000-29999, outside of the kernel's ephemeral
    range."""

    registry_caches: RegistryCaches = ()
    """Public registries that clusters' nodes pull from through caches of this installation, as
    `docker.io=https://registry-1.docker.io,quay.io`; the URL may be that of a mirror. Empty: no caches."""
    registry_cache_gib: Annotated[int, Field(ge=1, le=2**20)] = 20
    """The disk for the content of all registry caches. Beyond, the content that was read least recently is removed."""
    registry_cache_logins: Path | None = None
    """A file as `docker login` writes it, with the caches' logins (user and password). Every cluster can pull what
    these logins can. Unset: the caches pull anonymously."""

    webhook_networks: Networks = ()
    """Networks that webhooks may call beside public addresses, as `10.0.0.0/8,fd00::/8`. The API's callers choose the
    addresses: with `127.0.0.0/8` they reach every service of the worker's host that listens there."""

    bakes: Literal["off", "serve", "separate"] = "off"
    """Bakes over HTTP, which need root: `serve`: `dayfly serve` carries them out; `separate`: `dayfly builder`
    processes do, on PostgreSQL; `off`: requests for bakes are refused (bakes_off)."""
    bake_concurrency: Count = 1
    """Bakes over HTTP that run at once on one host."""
    bake_attempts: Count = 3
    """How often a bake over HTTP is begun whose builder ended, or whose engine did not answer, before it fails."""

    rebuilds: Rebuilds = ()
    """Recipes that builders bake again when their base, roles or packages have news, as `bare,k8s-debian:promote`.
    With `:promote` the recipe's name moves to the new image; else the image waits for its promotion. Empty: none."""
    rebuild_check_seconds: Annotated[float, Field(ge=60, le=1e9, allow_inf_nan=False)] = 24 * 3600.0
    """How often each of `rebuilds` is compared with what its sources have."""

    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    """`auto` tries KVM once per host boot, and falls back to emulation (tcg)."""

    boot_limit_seconds: Seconds | None = None
    """Timeout of a node's boot, until SSH answers; unset: by accelerator (domain/cluster/timeouts.py)."""

    worker_concurrency: Count = 16
    """Clusters that one worker process reconciles concurrently."""
    lease_seconds: Seconds = 30.0
    """Duration of a lease, renewed after a third: other workers take over a dead worker's clusters after this time."""
    step_attempts: Count = 3
    """Attempts of a step with retryable errors before the cluster fails."""
    retry_backoff_seconds: Pause = 2.0
    """Back-off before the second attempt of a step; doubled before each further attempt."""
    restart_limit: Annotated[int, Field(ge=0, le=1000)] = 5
    """Restarts in a row of an exited VM before its cluster fails."""
    restart_backoff_seconds: Pause = 1.0
    """Back-off before the restart of a VM; doubled for each restart in a row."""
    restart_window_seconds: Seconds = 3600.0
    """After so long without an exit, the count of restarts in a row begins again."""
    poll_seconds: Interval = 5.0
    """How often workers poll for work, in case a notification was lost."""
    survey_seconds: Interval = 60.0
    """How often the engine's objects are compared with the records, in addition to engine events and the start."""

    cpu_overcommit: Ratio = 4.0
    """vCPUs of clusters for each logical CPU of the host."""
    memory_overcommit: Ratio = 1.0
    """MiB of clusters for each MiB of the host's memory beyond the reserve."""
    disk_overcommit: Ratio = 4.0
    """GiB of clusters for each GiB of the host's disk beyond the reserve. Disks are thin; few are ever full."""
    fork_memory_overcommit: Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)] = 1.0
    """MiB of a template's forks for each MiB reserved: forks share the pages that they have not written. 1: a fork's
    whole memory is reserved."""
    reserve_memory_mib: Reserve = 1024
    """The host's memory that is not for clusters."""
    reserve_disk_gib: Reserve = 5
    """The host's disk that is not for clusters."""
    pressure_limit_percent: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] = 60.0
    """Above this pressure (PSI, or load on a kernel without PSI) clusters boot one after the other."""

    max_ttl_seconds: WholeSeconds = 7 * 24 * 3600
    """The longest time to live, extensions included."""
    default_ttl_seconds: WholeSeconds | None = None
    """The time to live of requests without one; unset: such clusters do not expire."""
    max_hold_seconds: WholeSeconds = 24 * 3600
    """The longest hold, from the time of its request."""
    template_auto: bool = False
    """Build a template for every shape that a cluster without a template has."""
    template_max_age_seconds: Seconds = 7 * 24 * 3600.0
    """An older template is retired, and rebuilt if it is in use."""
    template_unused_seconds: Seconds = 3 * 24 * 3600.0
    """A template without a new fork for so long is retired, unless a pool needs it."""
    template_retry_seconds: Pause = 3600.0
    """Back-off before a failed template is rebuilt automatically."""
    pool_retry_seconds: Pause = 60.0
    """Back-off before a failed pool member is replaced."""

    retired_image_seconds: Annotated[float, Field(ge=60, le=1e9, allow_inf_nan=False)] = 7 * 24 * 3600.0
    """How long a retired node image stays on the engine; one that a cluster, template or pool uses stays longer."""
    orphan_grace_seconds: Pause = 600.0
    """Grace period of objects with this installation's label whose owner was never on record; then they are removed."""
    history_seconds: Pause = 30 * 24 * 3600.0
    """How long the record of a deleted cluster is kept, with its steps and events; those of bakes, and the changes of
    images' names, but for those that a rollback returns to."""
    usage_seconds: Pause = 400 * 24 * 3600.0
    """How long usage is kept after the cluster released what it used."""
    audit_seconds: Pause = 400 * 24 * 3600.0
    """How long entries of the audit are kept."""

    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="before")
    @classmethod
    def _refuse_renamed(cls, given: Any) -> Any:
        found = {name.upper() for name in os.environ}
        for old, new in RENAMED.items():
            if old in found:
                raise ValueError(f"{old} was renamed in 0.3.0: set {new} instead, and unset {old}")
        return given

    @model_validator(mode="after")
    def _check_ttl(self) -> Self:
        if self.default_ttl_seconds is not None and self.default_ttl_seconds > self.max_ttl_seconds:
            raise ValueError(
                f"DAYFLY_DEFAULT_TTL_SECONDS is {self.default_ttl_seconds}, more than DAYFLY_MAX_TTL_SECONDS, "
                f"{self.max_ttl_seconds}"
            )
        return self

    @property
    def rebuild_rules(self) -> tuple[RebuildRule, ...]:
        """The recipes that are rebuilt."""
        return read_rules(self.rebuilds)

    @property
    def caches(self) -> tuple[RegistryCache, ...]:
        """The registry caches, by name."""
        return read_caches(self.registry_caches)

    def is_cached(self, registry: str) -> bool:
        """Whether nodes pull images of `registry` (`docker.io`, as in names of images) through a cache."""
        return any(cache.name == registry for cache in self.caches)

    def environment(self, *names: str) -> dict[str, str]:
        """Environment variables that pass these settings to another process; unset settings are left out."""
        values = ((name, getattr(self, name)) for name in names)
        return {f"DAYFLY_{name.upper()}": str(value) for name, value in values if value is not None}

    @property
    def database(self) -> str:
        """The database's URL, or the default."""
        return self.database_url or f"sqlite+aiosqlite:///{self.state_dir}/dayfly.db"

    @property
    def database_file(self) -> Path | None:
        """The SQLite file; None for PostgreSQL."""
        scheme, _, path = self.database.partition(":///")
        return Path(path) if scheme.startswith("sqlite") else None

    @property
    def advertised(self) -> str:
        """The host of endpoints shown to callers."""
        return self.advertise_host or self.publish_address

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """Accepted host names in the Host header, against DNS rebinding by web pages; None accepts any."""
        if "*" in self.host_names:
            return None
        return frozenset({"localhost", "127.0.0.1", "::1", self.listen_address, *self.host_names})

    @property
    def certificate_names(self) -> frozenset[str]:
        """The host names and addresses of the API, for a certificate of the installation's own authority."""
        listened = () if ipaddress.ip_address(self.listen_address).is_unspecified else (self.listen_address,)
        given = ("localhost", "127.0.0.1", "::1", *listened, self.host_name.lower(), *self.host_names)
        # Without zones (`%eth0`), which mean something on one machine only; a machine's own name may be no host name.
        names = (name.partition("%")[0] for name in given if name != "*")
        return frozenset(str(_address(name) or name) for name in names if _address(name) or _HOST_NAME.fullmatch(name))

    @property
    def of_bakes(self) -> Self:
        """For bakes: an instance of their own. A service on the engine would remove unknown containers of its own."""
        return self.model_copy(update={"instance": f"{self.instance}.bake"})

    @property
    def host_name(self) -> str:
        """The host of this process; in a container, the container."""
        return socket.gethostname()

    @property
    def worker_name(self) -> str:
        """The owner of leases: unique among the processes that share a database."""
        return f"{self.host_name}:{os.getpid()}:{_PROCESS}"
