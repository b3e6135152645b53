"""Template keys, and the expiry of templates."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dayfly.domain.cluster.spec import ClusterSpec, PublishedPort
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.domain.image import NodeSize
from dayfly.domain.template import (
    FAILURES_IN_A_ROW,
    Template,
    is_worn,
    template_key,
    why_not_forked,
)
from dayfly.vocabulary import TemplatePhase
from tests.support.specs import make_spec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 24 * 3600.0


def key(spec: ClusterSpec | None = None, owner: str = "me", accelerator: Accelerator = "tcg", cpu: str = "a") -> str:
    return template_key(spec or make_spec(), owner, accelerator, cpu)


@pytest.mark.parametrize(
    "update",
    [
        {"image_id": "sha256:" + "cd" * 32},
        {"workers": 2},
        {"readiness": "booted"},
        {"control_plane": NodeSize(vcpus=4, memory_mib=512, disk_gib=8)},
        {"worker": NodeSize(vcpus=2, memory_mib=1024, disk_gib=8)},
    ],
    ids=lambda update: next(iter(update)),
)
def test_what_shapes_a_cluster_makes_it_another_template(update: dict[str, object]) -> None:
    spec = make_spec()
    other = spec.model_copy(update=update)
    assert other.shape != spec.shape
    assert key(other) != key(spec)


@pytest.mark.parametrize(
    "update",
    [
        {"labels": {"a": "b"}},
        {"ttl_seconds": 60},
        {"heartbeat_interval_seconds": 60},
        {"idle_seconds": 60},
        {"restart": "never"},
        {"isolation": "strict"},
        {"ports": (PublishedPort(name="web", node="node01", port=80),)},
        {"image": "another-tag-of-the-same"},
    ],
    ids=lambda update: next(iter(update)),
)
def test_what_a_caller_wants_besides_does_not(update: dict[str, object]) -> None:
    spec = make_spec()
    assert key(spec.model_copy(update=update)) == key(spec)


def test_who_has_it_and_what_runs_it_do() -> None:
    assert len({key(), key(owner="other"), key(accelerator="kvm"), key(accelerator="kvm", cpu="b")}) == 4
    assert key(cpu="a") == key(cpu="b"), "emulation shows machines no processor of the host's"


def _worn(age_days: float = 1, used_days_ago: float | None = None, failures: int = 0) -> bool:
    born = NOW - timedelta(days=age_days)
    used = None if used_days_ago is None else NOW - timedelta(days=used_days_ago)
    template = Template(
        "0123456789ab",
        "key",
        "me",
        make_spec(),
        TemplatePhase.READY,
        "1123456789ab",
        born,
        ready_at=born,
        last_used_at=used,
    )
    return is_worn(replace(template, failures=failures), NOW, max_age_seconds=7 * DAY, unused_seconds=3 * DAY)


def test_a_template_is_worn_by_age_disuse_and_failures() -> None:
    assert not _worn()
    assert not _worn(age_days=6, used_days_ago=1)
    assert _worn(age_days=8, used_days_ago=0)
    assert _worn(age_days=4)
    assert _worn(age_days=6, used_days_ago=4)
    assert not _worn(failures=FAILURES_IN_A_ROW - 1)
    assert _worn(failures=FAILURES_IN_A_ROW)


def made(spec: ClusterSpec, owner: str = "me", phase: TemplatePhase = TemplatePhase.READY) -> Template:
    return Template("aaaaaaaaaaaa", key(spec, owner), owner, spec, phase, builder="b", created_at=NOW)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (made(make_spec(), phase=TemplatePhase.VERIFYING), "template aaaaaaaaaaaa is verifying"),
        (
            replace(made(make_spec()), key=key(make_spec(), accelerator="kvm")),
            "template aaaaaaaaaaaa was saved on another processor",
        ),
        (made(make_spec(), owner="you"), "owner me has no template of image bare"),
        (made(make_spec(image_id="sha256:2")), "template aaaaaaaaaaaa is of another build of its image"),
        (made(make_spec(workers=1)), "template aaaaaaaaaaaa is of a control plane and 1 worker, not 0"),
        (made(make_spec(workers=2)), "template aaaaaaaaaaaa is of a control plane and 2 workers, not 0"),
        (made(make_spec(readiness="booted")), "template aaaaaaaaaaaa has readiness booted, not usable"),
        (
            made(make_spec().model_copy(update={"worker": NodeSize(vcpus=4, memory_mib=512, disk_gib=8)})),
            "template aaaaaaaaaaaa has nodes of other sizes",
        ),
        (
            made(make_spec().model_copy(update={"image": "other", "image_id": "sha256:2"})),
            "owner me has no template of image bare",
        ),
    ],
)
def test_a_cluster_that_is_no_fork_names_the_template_that_is_nearest(template: Template, why: str) -> None:
    spec = make_spec()
    assert why_not_forked(spec, "me", key(spec), [template]) == why


def test_a_cluster_that_is_no_fork_names_no_template_of_another_owner() -> None:
    spec = make_spec()
    assert why_not_forked(spec, "me", key(spec), [made(make_spec(workers=1), owner="you")]) == (
        "owner me has no template of image bare"
    )
