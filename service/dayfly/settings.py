"""The one settings tree. Nothing else reads the environment. Names carry units; every default works on a laptop.

Set by environment variables with the prefix `DAYFLY_`, e.g. DAYFLY_STATE_DIR=/var/lib/dayfly.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_PROCESS = secrets.token_hex(3)
"""Containers of one host have its name, and number their processes alike."""


def _xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback) / "dayfly"


RENAMED: Final = {"DAYFLY_STRAY_GRACE_SECONDS": "DAYFLY_ORPHAN_GRACE_SECONDS"}
"""Variables of 0.2.0 with another name: one that is set is refused, because it would have no effect."""


class Settings(BaseSettings):
    """How this installation of Dayfly runs."""

    model_config = SettingsConfigDict(env_prefix="DAYFLY_", frozen=True)

    state_dir: Path = Field(default_factory=lambda: _xdg("XDG_STATE_HOME", ".local/state"))
    """Where the SQLite database and the remembered KVM probe live."""
    cache_dir: Path = Field(default_factory=lambda: _xdg("XDG_CACHE_HOME", ".cache"))
    """Where bakes keep what is expensive to make, named by content hash. May be deleted at any time."""
    database_url: str | None = None
    """`postgresql+asyncpg://…`, or `sqlite+aiosqlite:///…` for one process; unset: SQLite under `state_dir`."""
    instance: str = "default"
    """Which installation owns what it makes: two on one engine need two names."""

    listen_address: str = "127.0.0.1"
    listen_port: int = 8700
    host_names: tuple[str, ...] = ()
    """Host names that requests may be addressed to, beside loopback's; `["*"]` allows any."""

    docker_host: str | None = None
    """The engine's socket, `unix:///var/run/docker.sock`; unset: DOCKER_HOST, then Docker's own default."""
    docker_config: Path = Field(
        default_factory=lambda: Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    )
    """Where `docker login` keeps the logins of registries, for pushes and pulls of images."""
    publish_address: str = "127.0.0.1"
    """The host address that clusters' ports are bound to. Anything but loopback shows them to the network."""
    advertise_host: str | None = None
    """The host name callers reach `publish_address` by; unset: `publish_address` itself."""
    port_range: str | None = None
    """`40000-40999`: publish clusters' ports only there; unset: 20000-29999, where the kernel picks none by itself."""

    debian_mirror: str | None = None
    """The URI, as in an apt source, of the Debian mirror that bakes take suites, updates, backports and sources from.
    Unset: the machine's apt sources where they have the suite, else the mirror of its other Debian suites, else
    mmdebstrap's own default. How it is reached (proxy, certificates, credentials) is apt's configuration."""
    debian_security_mirror: str | None = None
    """The URI that bakes take <suite>-security from. Unset beside `debian_mirror`: the folder debian-security beside a
    folder debian, else the mirror itself; where neither has it, bakes say so and do without."""
    bake_base: str = "debian:bookworm-slim"
    """The Debian image (12 or newer) that bakes in a container run on; pulled where the engine does not have it."""

    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    """`auto` boots something on KVM once per host boot, and emulates where that does not work."""

    boot_limit_seconds: float | None = Field(default=None, gt=0)
    """How long a node may take to answer on SSH; unset: what fits the accelerator (domain/cluster/timeouts.py)."""

    worker_concurrency: int = 16
    """How many clusters one worker process acts on at once."""
    lease_seconds: float = 30.0
    """How long a worker that died keeps others from its clusters; renewed at a third of it."""
    step_attempts: int = 3
    """How often a step that may succeed later is tried before the cluster fails."""
    retry_backoff_seconds: float = 2.0
    """The pause before a second attempt; doubled before each further one."""
    restart_limit: int = Field(default=5, ge=0)
    """How often in a row a machine that exits is started again before its cluster fails."""
    restart_backoff_seconds: float = 1.0
    """The pause before a machine is started again; doubled each time in a row."""
    restart_window_seconds: float = 3600.0
    """A machine that ran for so long exits for the first time again."""
    poll_seconds: float = 5.0
    """The floor under wake-ups: how often a worker looks for work when nobody wakes it."""
    survey_seconds: float = 60.0
    """How often everything that the engine has is compared with what should be, beside at start and on events."""

    cpu_overcommit: float = Field(default=4.0, gt=0)
    """How many vCPUs clusters may have for each logical CPU of the host."""
    memory_overcommit: float = Field(default=1.0, gt=0)
    """How much memory clusters may have for each MiB that the host has beside its reserve."""
    disk_overcommit: float = Field(default=4.0, gt=0)
    """How much disk clusters may have for each GiB beside the reserve: disks are thin, few are ever full."""
    fork_memory_overcommit: float = Field(default=1.0, ge=1)
    """How much memory forks of a template may have for each MiB that is counted for them: they share what they have
    not written to. 1: each is counted with all that it can grow to."""
    reserve_memory_mib: int = Field(default=1024, ge=0)
    """Memory of the host that is not for clusters."""
    reserve_disk_gib: int = Field(default=5, ge=0)
    """Disk of the engine's host that is not for clusters."""
    pressure_limit_percent: float = Field(default=60.0, gt=0)
    """Above this pressure (of PSI, or of load where the kernel has no PSI) clusters boot one after the other."""

    max_ttl_seconds: int = 7 * 24 * 3600
    """The longest time to live, extensions included."""
    default_ttl_seconds: int | None = Field(default=None, gt=0)
    """The time to live where a caller gives none; unset: such clusters never expire."""
    max_hold_seconds: int = 24 * 3600
    """The longest that one hold may keep a cluster, from when it is asked for."""
    template_auto: bool = False
    """Make a template of every shape of which a cluster was made from nothing."""
    template_max_age_seconds: float = Field(default=7 * 24 * 3600.0, gt=0)
    """A template that is older is retired, and made anew if it is in use."""
    template_unused_seconds: float = Field(default=3 * 24 * 3600.0, gt=0)
    """A template that no fork was made of for so long is retired, unless a pool needs it."""
    template_retry_seconds: float = Field(default=3600.0, ge=0)
    """How long after one that failed nothing but a request makes another template of the same key."""
    pool_retry_seconds: float = Field(default=60.0, ge=0)
    """How long a pool's member that failed keeps its place, before another one is made."""

    orphan_grace_seconds: float = Field(default=600.0, ge=0)
    """How long an object on the engine is left alone that has this installation's label, but no cluster on record."""
    history_seconds: float = 30 * 24 * 3600.0
    """How long a deleted cluster stays on record, with its timings and events."""

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

    @field_validator("port_range")
    @classmethod
    def _check_range(cls, value: str | None) -> str | None:
        if value is None:
            return None
        first, dash, last = value.partition("-")
        if not (dash and first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65536):
            raise ValueError("a port range is two numbers with a dash: 40000-40999")
        return value

    @field_validator("debian_mirror", "debian_security_mirror")
    @classmethod
    def _check_mirror(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[a-z][a-z0-9+]*:/[^\s\[\]|]+", value):
            raise ValueError("a mirror is a URI as in an apt source: https://mirror.example/debian, file:/srv/debian")
        return value

    @property
    def engine_address(self) -> tuple[str, str | None]:
        """The engine's URL, and the environment variable that it is from (None for Docker's own default)."""
        if self.docker_host is not None:
            return self.docker_host, "DAYFLY_DOCKER_HOST"
        if given := os.environ.get("DOCKER_HOST"):
            return given, "DOCKER_HOST"
        return "unix:///var/run/docker.sock", None

    def environment(self, *names: str) -> dict[str, str]:
        """The variables that give another process these settings, where they are set."""
        values = ((name, getattr(self, name)) for name in names)
        return {f"DAYFLY_{name.upper()}": str(value) for name, value in values if value is not None}

    @property
    def database(self) -> str:
        """The database's URL, the default filled in."""
        return self.database_url or f"sqlite+aiosqlite:///{self.state_dir}/dayfly.db"

    @property
    def database_file(self) -> Path | None:
        """SQLite's file; None for a database server."""
        scheme, _, path = self.database.partition(":///")
        return Path(path) if scheme.startswith("sqlite") else None

    @property
    def advertised(self) -> str:
        """The host part of every endpoint that callers see."""
        return self.advertise_host or self.publish_address

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """Host names a request may be addressed to; None allows any.

        Keeps web pages that resolve a name of their own to loopback (DNS rebinding) away from the service.
        """
        if "*" in self.host_names:
            return None
        return frozenset({"localhost", "127.0.0.1", "::1", self.listen_address, *self.host_names})

    @property
    def worker_name(self) -> str:
        """Who holds a lease: unique among the processes that share a database."""
        return f"{socket.gethostname()}:{os.getpid()}:{_PROCESS}"
