"""No secret of a run is in logs, events, errors, evidence, metrics, diagnostics or the files of the database.

Everything that a guest prints and a Kubernetes reports has all secrets, in every form: the worst that can be collected.
A new kind of secret is one line in `known_secrets`; a new place is one in `places`. The database has secrets encrypted
alone (store/db/secret_columns.py), in its file and in its log.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from prometheus_client import generate_latest

from dayfly import metrics
from dayfly.domain.cluster.boot_source import BootSource
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.security.redaction import base64_forms
from dayfly.domain.security.secrets import ClusterSecrets, fork_secrets, new_secrets
from dayfly.drivers.interfaces import CommandResult
from dayfly.settings import Settings
from dayfly.store import EventFilter, Store
from dayfly.store.db.secret_columns import SECRET_COLUMNS
from dayfly.telemetry import configure_logging
from tests.support.api import ApiHttp, Infrastructure
from tests.support.databases import KEY, KEYS, new_sqlite
from tests.support.secret_search import Secrets, columns_of, database_files, files_of, forms
from tests.support.specs import make_spec
from tests.support.world import World

SPEC = make_spec(workers=1, kubernetes=True)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "dayfly.db"


@pytest.fixture
async def store(database: Path) -> AsyncIterator[Store]:
    opened = await Store.open(new_sqlite(database), KEYS)
    yield opened
    await opened.close()


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of the service's log, as JSON, with every level."""
    configure, before, root = structlog.configure, structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def configure_uncached(**options: Any) -> None:
        # A logger that is cached keeps this test's configuration.
        configure(**{**options, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_uncached)
    configure_logging(Settings(log_format="json", log_level="debug"))
    file = tmp_path / "log"
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    with file.open("w") as stream:
        handler.setStream(stream)
        yield file
    root.handlers, root.level = handlers, level
    configure(**before)


@dataclass
class Known:
    """All secrets that the run makes, in the order of their creation."""

    clusters: list[ClusterSecrets] = field(default_factory=list)
    requested: dict[str, str] = field(default_factory=dict)
    """Those that an answer showed once."""

    def printed(self) -> str:
        """The newest cluster's secrets in all forms, as its guests could print them: they know no other's."""
        texts: list[str] = []
        for secrets in self.clusters[-1:]:
            keys = [text for path, text in secrets.pki.items() if path.endswith((".key", ".conf"))]
            texts += [secrets.user_key.private, secrets.host_key.private, *keys]
            texts.append(f"kubeadm join 192.168.66.101:6443 --token {secrets.bootstrap_token}")
        return "\n".join(form for text in texts for form in (text, json.dumps({"data": text}), _encoded(text)))


def _encoded(text: str) -> str:
    return "\n".join(base64.b64encode(b"key="[shift:] + text.encode()).decode() for shift in range(3))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Known:
    made = Known()

    def new(*arguments: Any) -> ClusterSecrets:
        made.clusters.append(new_secrets(*arguments))
        return made.clusters[-1]

    def fork(*arguments: Any) -> ClusterSecrets:
        made.clusters.append(fork_secrets(*arguments))
        return made.clusters[-1]

    monkeypatch.setattr("dayfly.controllers.cluster.context.new_secrets", new)
    monkeypatch.setattr("dayfly.controllers.cluster.boot_source.fork_secrets", fork)
    return made


def known_secrets(known: Known) -> Secrets:
    secrets = Secrets()
    secrets.add("the key of secrets", KEY.text)
    secrets.add("the key of secrets, its bytes", KEY.material.decode())
    for number, one in enumerate(known.clusters):
        secrets.add_cluster(f"cluster {number}", one)
    for what, text in known.requested.items():
        secrets.add(what, text)
    return secrets


async def run(world: World, known: Known) -> list[Cluster]:
    """Something of everything: clusters from nothing and as forks, saved and brought back, ready and failed."""
    world.kube.reported["pods"] = "not yet"
    async with world.working():
        await world.template(SPEC)
        ready = await world.until(await world.create(SPEC, "ready"), Phase.READY)
        await world.store.checkpoints.create(ready.id, "before")
        await world.until_event(ready, lambda event: event.type == "cluster.checkpoint")
        generation = (await world.store.lifecycle.reset(ready.id, BootSource("checkpoint", "before"))).generation
        await world.until_so(ready, lambda now: now.phase is Phase.READY and now.generation > generation)
        asleep = await world.until(await world.create(make_spec(), "asleep"), Phase.READY)
        await world.store.lifecycle.hibernate(asleep.id)
        await world.until(asleep, Phase.HIBERNATED)
        gone = await world.until(await world.create(make_spec(), "gone"), Phase.READY)
        await world.store.lifecycle.delete(gone.id)
        await world.until(gone, Phase.DELETED)

        def leak(*_: object) -> CommandResult:
            world.kube.reported["pods"] = known.printed()
            return CommandResult(1, known.printed(), known.printed())

        world.ssh.on("", leak)
        # Of another image: without a template, its nodes are set up by commands.
        failed = await world.create(make_spec(workers=1, kubernetes=True, image_id="sha256:" + "cd" * 32), "failed")
        await world.until(failed, Phase.FAILED)
    return [ready, asleep, gone, failed]


async def request_secrets(http: httpx.AsyncClient) -> dict[str, str]:
    token = await http.post("/v1/tokens", json={"name": "ci", "role": "user"})
    webhook = await http.post("/v1/webhooks", json={"url": "https://hooks.example/"})
    # A token's id is no secret.
    return {"a token": token.json()["token"].split("_", 2)[2], "a webhook": webhook.json()["secret"]}


async def places(world: World, clusters: list[Cluster], log: Path, known: Known) -> dict[str, str]:
    """Everything that a person, a program or another caller may read."""
    found = {"metrics": generate_latest(metrics.REGISTRY).decode()}
    found["events"] = repr(await world.store.event_feed.page(EventFilter(), limit=100_000))
    async with ApiHttp(Infrastructure().services(world.store)) as http:
        known.requested |= await request_secrets(http)
        lists = ("clusters", "events", "templates", "status", "images", "tokens", "webhooks", "audit", "usage")
        for path in (*(f"/v1/{name}" for name in lists), "/metrics"):
            found[path] = _ok(await http.get(path)).text
        for one in clusters:
            own = f"/v1/clusters/{one.id}"
            for path in (own, f"{own}/events", f"{own}/nodes", f"{own}/checkpoints"):
                found[path] = (await http.get(path)).text
            for name, text in (await world.store.clusters.evidence(one.id)).items():
                found[f"{own}/evidence/{name}"] = text
            found[f"{own}/diagnostics"] = files_of(_ok(await http.get(f"{own}/diagnostics")).content)
            found[f"{own}, record"] = repr(await world.store.clusters.get(one.id))
            found[f"{own}, steps"] = repr(await world.store.clusters.steps(one.id))
            # Errors of requests.
            found[f"{own}, refused"] = (await http.post(f"{own}/resume", headers={"Idempotency-Key": one.id})).text
    found["the log"] = await asyncio.to_thread(log.read_text)
    return found


def _ok(answer: httpx.Response) -> httpx.Response:
    assert answer.status_code == 200, answer.text
    return answer


async def test_no_secret_is_anywhere_else(store: Store, database: Path, log: Path, known: Known) -> None:
    world = World(store)
    clusters = await run(world, known)
    assert len(known.clusters) >= 5
    failed = await store.clusters.evidence(clusters[-1].id)
    assert any("[secret]" in text or "[private key]" in text for text in failed.values()), "the run leaked nothing"
    found = await places(world, clusters, log, known)
    secrets = known_secrets(known)
    assert all(text for place, text in found.items() if "/evidence/" not in place), "a place that is empty was not read"
    assert secrets.found_in(found) == []
    columns = columns_of(database)
    assert secrets.found_in(columns) == []
    for column in SECRET_COLUMNS:
        rows = columns[f"{column.table.name}.{column.value.name}"].splitlines()
        assert rows, "a column without rows proves nothing"
        assert all(row.strip('"').startswith(f"sealed1:{KEY.id}:") for row in rows)
    files = database_files(database)
    assert {"dayfly.db", "dayfly.db-wal"} <= files.keys()
    assert any(clusters[0].id in content for content in files.values()), "the files are not read as they are"
    assert secrets.found_in(files) == []


@pytest.mark.parametrize(
    "secret", ["dfly_0123_abcdef/+", 'pass"word\\with', "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0w"]
)
def test_a_secret_is_found_in_every_form(secret: str) -> None:
    secrets = Secrets()
    secrets.add("a secret", secret)
    hidden = {
        "text": f"before {secret} after",
        "JSON": json.dumps({"key": secret}),
        "JSON in JSON": json.dumps(json.dumps({"key": secret})),
        "hexadecimal": secret.encode().hex(),
        **{f"base64 {n}": base64.b64encode(b"abc"[:n] + secret.encode() + b"xyz").decode() for n in range(4)},
        **{f"URL {n}": base64.urlsafe_b64encode(b"abc"[:n] + secret.encode()).decode() for n in range(4)},
    }
    for place, text in hidden.items():
        assert secrets.found_in({place: text}), place
    assert secrets.found_in({"nothing": "before after", "other": base64.b64encode(b"another secret").decode()}) == []
    assert len({name for name, _ in forms(secret)}) >= 8
    assert len(base64_forms(secret)) == 3


def test_what_is_too_short_to_be_found_is_no_secret() -> None:
    with pytest.raises(AssertionError, match="too short"):
        Secrets().add("a word", "short")
