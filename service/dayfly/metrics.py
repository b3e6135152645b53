"""Prometheus metrics of this process: steps, passes, leases, failures, queue time, bakes, sweeps, HTTP.

`dayfly serve` and `dayfly api` show them at /metrics, beside the numbers of the store (api/system/routes_metrics.py);
`dayfly worker` on a port of its own, if DAYFLY_WORKER_METRICS_PORT is set. Every counter begins at 0 with the process.
Labels with a closed set of values have all of their samples from the start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics

from dayfly import __version__, errors
from dayfly.clock import Clock
from dayfly.domain.engine_resource import KINDS

disable_created_metrics()  # type: ignore[no-untyped-call] # they double the number of series

REGISTRY: Final = CollectorRegistry()
_counter = partial(Counter, registry=REGISTRY)
_gauge = partial(Gauge, registry=REGISTRY)
_histogram = partial(Histogram, registry=REGISTRY)

STEPS: Final = (
    *("remove_stale", "sandbox", "registry", "boot", "restore", "personalize", "control_plane", "join", "ready"),
    *("smoke_test", "addons", "conformance", "teardown"),
)
CODES: Final = tuple(
    sorted({one.code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.DayflyError)})
)
PASS_RESULTS: Final = ("finished", "waiting", "lease_lost", "error")
BAKE_PHASES: Final = ("succeeded", "failed", "cancelled")
CALL_RESULTS: Final = ("delivered", "failed")
SWEEPS: Final = ("garbage_collection", "pool_health")
STATUS_CLASSES: Final = ("2xx", "3xx", "4xx", "5xx", "none")
"""`none`: the caller left, or the process stopped, before an answer."""

_STEP_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
_QUEUE_BUCKETS: Final = (0.05, 0.25, 1, 5, 15, 60, 300, 900, 3600, 14400)
_BAKE_BUCKETS: Final = (1, 10, 60, 300, 900, 1800, 3600, 7200)
_HTTP_BUCKETS: Final = (0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 300)

step_seconds: Final = _histogram(
    "dayfly_step_duration_seconds",
    "Duration of attempts at a step that this process carried out. Steps that held already are not counted.",
    ["step", "result"],
    buckets=_STEP_BUCKETS,
)
step_failures: Final = _counter(
    "dayfly_step_failures_total", "Failed attempts at a step, by the code of the error.", ["code"]
)
cluster_failures: Final = _counter(
    "dayfly_cluster_failures_total",
    "Clusters that entered the phase `failed`, by the code of the error.",
    ["code"],
)
queue_seconds: Final = _histogram(
    "dayfly_queue_wait_seconds",
    "Time from the request of a cluster to its first admission by this process. Resumed clusters are not counted.",
    buckets=_QUEUE_BUCKETS,
)
leases_claimed: Final = _counter("dayfly_leases_claimed_total", "Leases that this process claimed.")
pass_seconds: Final = _histogram(
    "dayfly_reconcile_duration_seconds",
    "Duration of reconcile passes under one lease, by result. `waiting`: the engine or the database did not answer.",
    ["result"],
    buckets=_STEP_BUCKETS,
)
bake_seconds: Final = _histogram(
    "dayfly_bake_duration_seconds",
    "Duration of bakes under the lease that this process ended them with, by their last phase.",
    ["phase"],
    buckets=_BAKE_BUCKETS,
)
bake_failures: Final = _counter(
    "dayfly_bake_failures_total", "Bakes that this process ended as `failed`, by the code of the error.", ["code"]
)
rebuild_checks: Final = _counter(
    "dayfly_rebuild_checks_total",
    "Comparisons of a recipe's last image with its sources, by result: `queued` a rebuild, `nothing` to do, `failed`.",
    ["result"],
)
webhook_calls: Final = _counter(
    "dayfly_webhook_calls_total", "Calls of webhooks that this process made, by result.", ["result"]
)
sweep_seconds: Final = _histogram(
    "dayfly_sweep_duration_seconds",
    "Duration of comparisons of the engine with the records.",
    ["sweep", "result"],
    buckets=_STEP_BUCKETS,
)
sweep_success: Final = _gauge(
    "dayfly_sweep_last_success_timestamp_seconds",
    "Unix time of the end of the last successful sweep of this process; 0: none yet.",
    ["sweep"],
)
orphans_removed: Final = _counter("dayfly_orphans_removed_total", "Orphans removed from the engine, by kind.", ["kind"])
images_collected: Final = _counter("dayfly_images_collected_total", "Retired node images removed from the engine.")
engine_events: Final = _counter("dayfly_engine_events_total", "Events of the engine that this process received.")
engine_watch_failures: Final = _counter(
    "dayfly_engine_watch_failures_total",
    "Interruptions of the watch of the engine's events, failed attempts to start it again included.",
)
http_requests: Final = _counter(
    "dayfly_http_requests_total",
    "HTTP requests by method, route template and class of the status.",
    ["method", "route", "status"],
)
http_seconds: Final = _histogram(
    "dayfly_http_request_duration_seconds",
    "Time from the request's head to the head of the response; a held response (?wait=) includes its wait.",
    ["method", "route"],
    buckets=_HTTP_BUCKETS,
)
tls_expiry: Final = _gauge(
    "dayfly_tls_certificate_expiry_timestamp_seconds",
    "Unix time at which the certificate that this process serves expires; 0: it serves without TLS.",
)
tls_reload_failed: Final = _gauge(
    "dayfly_tls_reload_failed",
    "1 if the certificate's present files cannot be used, so that this process serves the former one; otherwise 0.",
)
Info("dayfly_build", "The release of this process.", registry=REGISTRY).info({"version": __version__})

for _step in STEPS:
    for _result in ("done", "failed"):
        step_seconds.labels(_step, _result)
for _code in CODES:
    step_failures.labels(_code)
    cluster_failures.labels(_code)
    bake_failures.labels(_code)
for _result in ("queued", "nothing", "failed"):
    rebuild_checks.labels(_result)
for _phase in BAKE_PHASES:
    bake_seconds.labels(_phase)
for _result in CALL_RESULTS:
    webhook_calls.labels(_result)
for _result in PASS_RESULTS:
    pass_seconds.labels(_result)
for _sweep in SWEEPS:
    sweep_success.labels(_sweep)
    for _result in ("done", "failed"):
        sweep_seconds.labels(_sweep, _result)
for _kind in KINDS:
    orphans_removed.labels(_kind)


@contextmanager
def measured_sweep(sweep: str, clock: Clock) -> Iterator[None]:
    """Record the duration and the result of a sweep. A cancelled sweep is not recorded."""
    began = clock.monotonic()
    try:
        yield
    except Exception:
        sweep_seconds.labels(sweep, "failed").observe(clock.monotonic() - began)
        raise
    sweep_seconds.labels(sweep, "done").observe(clock.monotonic() - began)
    sweep_success.labels(sweep).set(clock.now().timestamp())
