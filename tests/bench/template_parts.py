"""Measurements of templates: each part creates real clusters by a service, and deletes them.

Not here: their order, and the use of the figures (template.py).
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import httpx

from dayfly.client import Client, Cluster, Event
from tests.bench.figures import Figures
from tests.support.guest import filled_pool, on_guest, ready_template, until

LIMIT_SECONDS = 1800.0
"""Nothing that is measured takes so long; what does has failed."""
_POD_IMAGE = "dayfly.local/smoke:1"
"""Every node of k8s-debian has it."""
_MIB = 2**20
_TRY_EVERY_SECONDS = 0.1
_HOLD_SECONDS = 5.0


@dataclass(frozen=True)
class Ground:
    """A service, what clusters are made there of, and where each of them answers."""

    client: Client
    image: str
    workers: int
    kubernetes: bool

    @property
    def nodes(self) -> list[str]:
        return [f"node{index:02}" for index in range(1, self.workers + 2)]


@contextmanager
def made(ground: Ground, name: str, *, isolation: str | None = None) -> Iterator[tuple[Cluster, Figures]]:
    """A cluster, and how long it took from POST: `<name>_seconds` until a command has run on each node by SSH.

    With Kubernetes `<name>_seconds` is until ready; and until the API answers, and all nodes are Ready.
    """
    client, began = ground.client, time.monotonic()
    asked = client.create(image=ground.image, workers=ground.workers, isolation=isolation)
    try:
        with _api_watched(ground, asked, began) as api:
            ready = client.wait_ready(asked.id, timeout_seconds=LIMIT_SECONDS)
        figures = {f"{name}_api_seconds": seconds for seconds in api}
        if ground.kubernetes:
            figures[f"{name}_nodes_ready_seconds"] = _after(ground, ready, "ready")
        else:
            _reach(ground, [ready])
        figures[f"{name}_seconds"] = time.monotonic() - began
        yield ready, figures
    finally:
        _remove(client, [asked])


def cold(ground: Ground) -> Figures:
    """From nothing."""
    with made(ground, "cold", isolation="strict") as (cluster, figures):
        if ground.kubernetes:
            figures["cold_pod_seconds"] = figures["cold_seconds"] + _pod(ground, cluster)
        return {**figures, "booted_mib": memory(ground, cluster)}


def template(ground: Ground) -> Figures:
    """From its request to a template that a fork has verified."""
    began = time.monotonic()
    asked = ground.client.create_template(image=ground.image, workers=ground.workers)
    found = ready_template(ground.client, asked.id, seconds=LIMIT_SECONDS)
    seconds = time.monotonic() - began
    # Wait for the removal of the verifying fork: the removal must not disturb the next measurement.
    until(
        "its first fork is gone",
        lambda: not ground.client.list(purposes=["verification"]) or None,
        seconds=LIMIT_SECONDS,
    )
    return {"template_seconds": seconds, "template_mib": found.size_bytes / _MIB}


def fork(ground: Ground) -> Figures:
    """One fork, then reset, hibernated and resumed."""
    with made(ground, "fork") as (cluster, figures):
        figures["fork_running_seconds"] = _running(ground, _forked(ground, cluster))
        if ground.kubernetes:
            figures["fork_pod_seconds"] = figures["fork_seconds"] + _pod(ground, cluster)
        return {**figures, **_reset(ground, cluster), **_resumed(ground, cluster)}


def forks(ground: Ground, number: int) -> Figures:
    """So many at once: until a command has run on each, and their memory together."""
    client, began = ground.client, time.monotonic()
    asked = [client.create(image=ground.image, workers=ground.workers) for _ in range(number)]
    try:
        ready = [client.wait_ready(one.id, timeout_seconds=LIMIT_SECONDS) for one in asked]
        _reach(ground, ready)
        seconds = time.monotonic() - began
        total = sum(memory(ground, _forked(ground, one)) for one in ready)
        return {"forks": float(number), "forks_seconds": seconds, "forks_mib": total}
    finally:
        _remove(client, asked)


def claim(ground: Ground) -> Figures:
    """From POST to a cluster that waited in a pool: until it is answered, and until a command has run there."""
    client = ground.client
    client.create_pool("bench", image=ground.image, workers=ground.workers, size=1)
    try:
        filled_pool(client, "bench", 1, seconds=LIMIT_SECONDS)
        with made(ground, "claim") as (cluster, figures):
            if not any(event.type == "cluster.claimed" for event in client.all_events(cluster.id)):
                raise RuntimeError(f"{cluster.id} came from no pool")
            return figures
    finally:
        client.delete_pool("bench")
        until("the pool's members are gone", lambda: _no_members(client) or None, seconds=LIMIT_SECONDS)


def memory(ground: Ground, cluster: Cluster) -> float:
    """The memory of its machines on the host, in MiB: proportional, so that shared pages count once."""
    nodes = [node.memory for node in ground.client.nodes(cluster.id)]
    if not all(nodes):
        raise RuntimeError(f"no telling what memory the machines of {cluster.id} have")
    return sum(node.proportional_bytes for node in nodes if node is not None) / _MIB


def medians(rounds: Sequence[Figures]) -> Figures:
    return {name: median(figures[name] for figures in rounds) for name in rounds[0]}


def _pod(ground: Ground, cluster: Cluster) -> float:
    """Seconds until a new pod has begun to run."""
    began = time.monotonic()
    with tempfile.NamedTemporaryFile("w") as kubeconfig:  # mode 0600
        kubeconfig.write(ground.client.kubeconfig(cluster.id))
        kubeconfig.flush()
        kubectl = ["kubectl", f"--kubeconfig={kubeconfig.name}"]
        pull = "--image-pull-policy=IfNotPresent"
        what = [f"--image={_POD_IMAGE}", "--restart=Never", pull, "--command", "--", "/bin/sh", "-c", ":"]
        run = [*kubectl, "--request-timeout=60s", "run", "bench", *what]
        until("a pod is accepted", lambda: _says(run), seconds=LIMIT_SECONDS)
        # One watch: each further request would take as much of an emulated API server as the pod needs.
        watch = [*kubectl, "get", "pod", "bench", "--watch", "--output=jsonpath={.status.phase}{'\\n'}"]
        _wait_for_line(watch, {"Running", "Succeeded"})
    return time.monotonic() - began


def _wait_for_line(argv: Sequence[str], wanted: Collection[str]) -> None:
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as watching:
        patience = threading.Timer(LIMIT_SECONDS, watching.kill)
        patience.start()
        try:
            if not any(line.strip() in wanted for line in watching.stdout or ()):
                raise RuntimeError(f"none of {wanted} was seen")
        finally:
            patience.cancel()
            watching.kill()


def _says(argv: Sequence[str]) -> str | None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout if done.returncode == 0 else None


def _reset(ground: Ground, cluster: Cluster) -> Figures:
    for node in ground.nodes:
        on_guest(ground.client, cluster.id, "echo junk >/root/junk && sync", node=node)
    began = time.monotonic()
    ground.client.reset(cluster.id)
    ground.client.wait_ready(cluster.id, timeout_seconds=LIMIT_SECONDS)
    for node in ground.nodes:
        if on_guest(ground.client, cluster.id, "ls /root", node=node):
            raise RuntimeError(f"{node} of {cluster.id} is not pristine after its reset")
    return {"reset_seconds": time.monotonic() - began}


def _resumed(ground: Ground, cluster: Cluster) -> Figures:
    began = time.monotonic()
    ground.client.hibernate(cluster.id)
    ground.client.wait_hibernated(cluster.id, timeout_seconds=LIMIT_SECONDS)
    hibernated = time.monotonic()
    ground.client.resume(cluster.id)
    ready = ground.client.wait_ready(cluster.id, timeout_seconds=LIMIT_SECONDS)
    _reach(ground, [ready])
    return {"hibernate_seconds": hibernated - began, "resume_seconds": time.monotonic() - hibernated}


def _reach(ground: Ground, clusters: Sequence[Cluster]) -> None:
    """A command has run on every node of all."""
    pairs = [(cluster.id, node) for cluster in clusters for node in ground.nodes]
    with ThreadPoolExecutor(len(pairs)) as pool:
        for done in [pool.submit(on_guest, ground.client, one, "true", node=node) for one, node in pairs]:
            done.result()


def _forked(ground: Ground, cluster: Cluster) -> Cluster:
    if cluster.template is None:
        told = [event.message for event in ground.client.all_events(cluster.id)]
        raise RuntimeError(f"{cluster.id} is no fork: {told}")
    return cluster


def _after(ground: Ground, cluster: Cluster, step: str) -> float:
    """Seconds from the request to the end of a step, by the database's clock."""
    done = [event for event in ground.client.all_events(cluster.id) if (event.type, event.step) == ("step.done", step)]
    return (done[0].at - cluster.created_at).total_seconds()


def _running(ground: Ground, cluster: Cluster) -> float:
    """Seconds from the request until all its machines run, by the database's clock."""
    going_on = [event for event in ground.client.all_events(cluster.id) if _is_going_on(event)]
    if not going_on:
        raise RuntimeError(f"the machines of {cluster.id} were not loaded")
    return (going_on[0].at - cluster.created_at).total_seconds()


def _is_there(event: Event) -> bool:
    """Whether its machine has a network now, or soon.

    A connection attempt before that hangs: TCP retries only after whole seconds.
    """
    return (event.type, event.step) == ("step.started", "boot") or event.message == "node01 is loaded"


def _is_going_on(event: Event) -> bool:
    return event.step == "restore" and event.message.startswith("all machines are resumed")


@contextmanager
def _api_watched(ground: Ground, cluster: Cluster, began: float) -> Iterator[list[float]]:
    """The result ends with the time of the first answer of /readyz; without Kubernetes there is none."""
    found: list[float] = []
    over = threading.Event()

    def look() -> None:
        after, is_there = 0, False
        while not is_there and not over.is_set():
            told = ground.client.events(cluster.id, after=after, wait_seconds=_HOLD_SECONDS)
            after, is_there = told.next_after, any(map(_is_there, told.events))
        now = ground.client.get(cluster.id)
        # A machine that boots is silent for long, one that was loaded only until it runs.
        patience = httpx.Timeout(5, connect=1 if now.template is None else 5)
        # Unverified: only the fact of an answer counts.
        with httpx.Client(verify=False, trust_env=False, timeout=patience) as http:  # noqa: S501
            while not found and not over.is_set():
                if _answers(http, f"https://{now.endpoints['api']}/readyz"):
                    found.append(time.monotonic() - began)
                else:
                    over.wait(_TRY_EVERY_SECONDS)

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look) if ground.kubernetes else None
        try:
            yield found
        finally:
            over.set()
        if looking is not None:
            looking.result()


def _answers(http: httpx.Client, url: str) -> bool:
    try:
        return http.get(url).status_code == 200
    except httpx.TransportError:
        return False


def _no_members(client: Client) -> bool:
    return not client.list(purposes=["pool_member"])


def _remove(client: Client, clusters: Sequence[Cluster]) -> None:
    for cluster in clusters:
        client.delete(cluster.id)
    for cluster in clusters:
        client.wait_deleted(cluster.id)
