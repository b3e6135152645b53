"""The step `conformance`, in a scripted world."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dayfly.domain.cluster.timeouts import EMULATED
from dayfly.drivers.interfaces import CommandResult, SshTarget
from dayfly.errors import CommandFailed, ConformanceFailed, ImageBroken, NodeNotReady, SshTimeout
from dayfly.steps.conformance import FAILURES, REPORT, Conformance
from dayfly.steps.step import StepContext
from tests.support.conformance import ONE, TWO, ConformanceProgram
from tests.support.kube_world import World, context_of, node_of
from tests.support.specs import CONFORMANCE, make_spec


class Node(World):
    """The world, with the program on its first node."""

    def __init__(self, program: ConformanceProgram) -> None:
        super().__init__()
        self.program = program
        self.silent_for = 0

    async def run(self, target: SshTarget, command: str, *, stdin: bytes = b"", **options: object) -> CommandResult:
        if not command.startswith(CONFORMANCE.program):
            return await super().run(target, command, stdin=stdin, **options)  # type: ignore[arg-type]
        assert node_of(target) == "node01"
        if self.silent_for:
            self.silent_for -= 1
            raise SshTimeout("busy")
        return self.program(target, command, stdin)


def node_with(program: ConformanceProgram, *specs: str) -> tuple[Node, StepContext, list[str]]:
    node = Node(program)
    context, said = context_of(node)
    spec = make_spec(workers=1, kubernetes=True, conformance=specs or (ONE, TWO))
    return node, replace(context, cluster=replace(context.cluster, spec=spec)), said


async def test_the_specs_pass_one_after_the_other_and_the_cluster_is_looked_at_again() -> None:
    program = ConformanceProgram()
    node, context, said = node_with(program)
    assert not await Conformance().check(context)
    await Conformance().apply(context)
    assert program.started == [(ONE, TWO)]
    assert said[:4] == [
        f"spec 1 of 2 runs: {ONE}",
        f"spec 1 of 2 passed after 38 s: {ONE}",
        f"spec 2 of 2 runs: {TWO}",
        f"spec 2 of 2 passed after 38 s: {TWO}",
    ]
    assert said[-1] == "pods can be created"
    assert await Conformance().check(context)
    node.not_ready = NodeNotReady("node02 is not Ready")
    assert not await Conformance().check(context)
    with pytest.raises(NodeNotReady):
        await Conformance().apply(context)
    assert len(program.started) == 1, "a run that has passed is not repeated"


async def test_another_worker_waits_for_the_run_that_goes_on() -> None:
    program = ConformanceProgram()
    _, context, said = node_with(program)
    program(None, f"{CONFORMANCE.program} start {context.cluster.id}.1 600", f"{ONE}\n{TWO}\n".encode())  # type: ignore[arg-type]
    program(None, f"{CONFORMANCE.program} status {context.cluster.id}.1", b"")  # type: ignore[arg-type]
    await Conformance().apply(context)
    assert program.started == [(ONE, TWO)]
    assert said[:2] == ["1 of 2 conformance specs have run already", f"spec 2 of 2 runs: {TWO}"]


async def test_failed_specs_are_named_with_the_report_and_run_again_with_another_attempt() -> None:
    program = ConformanceProgram(outcomes={TWO: "failed"})
    _, context, said = node_with(program)
    with pytest.raises(ConformanceFailed, match=r"1 of 2 conformance specs failed: \[sig-b\] two: it broke") as failed:
        await Conformance().apply(context)
    assert failed.value.code == "conformance_failed"
    assert not failed.value.retryable
    assert failed.value.evidence[FAILURES] == f"{TWO}: it broke\n"
    assert failed.value.evidence[REPORT] == f"<testsuite of {context.cluster.id}.1>"
    assert "kubelet/node01" in failed.value.evidence
    assert f"spec 2 of 2 failed after 38 s: {TWO}: it broke" in said
    assert not await Conformance().check(context)
    with pytest.raises(ConformanceFailed):
        await Conformance().apply(context)
    assert len(program.started) == 2


async def test_a_list_that_only_skips_itself_proves_nothing() -> None:
    _, context, _ = node_with(ConformanceProgram(outcomes={ONE: "skipped", TWO: "skipped"}))
    with pytest.raises(ConformanceFailed, match="none of the 2 conformance specs has run"):
        await Conformance().apply(context)
    assert not await Conformance().check(context)
    _, context, _ = node_with(ConformanceProgram(outcomes={ONE: "skipped"}))
    await Conformance().apply(context)


async def test_what_is_no_spec_is_named() -> None:
    _, context, _ = node_with(ConformanceProgram(), "[sig-c] three")
    with pytest.raises(ConformanceFailed, match=r"called or matches '\[sig-c\] three'"):
        await Conformance().apply(context)


async def test_a_list_that_takes_too_long_is_stopped() -> None:
    program = ConformanceProgram(stuck=True)
    _, context, _ = node_with(program)
    began = context.clock.monotonic()
    with pytest.raises(ConformanceFailed, match="the list is not done after 43200 s, its limit"):
        await Conformance().apply(context)
    assert program.stopped == 1
    assert context.clock.monotonic() - began < Conformance().limit(EMULATED)


async def test_a_run_that_was_lost_is_another_attempts() -> None:
    program = ConformanceProgram(lost=True)
    _, context, _ = node_with(program)
    with pytest.raises(CommandFailed, match="ended after 0 of 2") as failed:
        await Conformance().apply(context)
    assert failed.value.retryable


async def test_a_busy_node_may_answer_late_for_a_while() -> None:
    node, context, _ = node_with(ConformanceProgram())
    node.silent_for = 5
    assert not await Conformance().check(context)
    await Conformance().apply(context)
    node.silent_for = 10**6
    with pytest.raises(SshTimeout):
        await Conformance().apply(context)


@pytest.mark.parametrize(("answer", "message"), [("", "no state"), ("state\tbroken\n", "no state")])
async def test_an_answer_that_is_none_is_a_failure(answer: str, message: str) -> None:
    program = ConformanceProgram()
    _, context, _ = node_with(program)
    program._status = lambda name: answer  # type: ignore[method-assign]
    with pytest.raises(CommandFailed, match=message):
        await Conformance().apply(context)


async def test_an_image_without_the_tests_is_broken() -> None:
    _, context, _ = node_with(ConformanceProgram())
    spec = context.spec.model_copy(update={"manifest": make_spec(kubernetes=True).manifest})
    with pytest.raises(ImageBroken, match="has no conformance tests"):
        await Conformance().apply(replace(context, cluster=replace(context.cluster, spec=spec)))
