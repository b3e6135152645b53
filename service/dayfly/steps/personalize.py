"""The step `personalize`: gives a fork its own keys, machine-id, random seed, names of its registry and the right time.

It uses the agent in the guest: over SSH, the fork would still answer like every other fork of its template.
Not here: Kubernetes, which continues as the template's did (guest/quiesce.py).
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from dayfly.domain.cluster.model import Purpose
from dayfly.domain.cluster.provisioning_plan import wants_kubernetes
from dayfly.domain.cluster.timeouts import TimeLimits
from dayfly.drivers.interfaces import File
from dayfly.errors import CommandFailed, SshRefused, SshTimeout
from dayfly.steps.guest.guest_seed import identity
from dayfly.steps.guest.quiesce import QUIESCED
from dayfly.steps.guest.registry_names import folders_of, registry_rules
from dayfly.steps.guest.reseed import RESEED, entropy
from dayfly.steps.observe.exit_guard import container_evidence, while_running
from dayfly.steps.step import Step, StepContext

_MARK: Final = "/run/dayfly-identity"
"""In the guest's memory, after personalisation: holds the public host key that the guest was given."""
_ENTROPY: Final = "/entropy"
"""Not a file in the guest: the program adds its content to the kernel's entropy."""
_LOOK_SECONDS: Final = 10.0

_PROGRAM: Final = RESEED + files("dayfly.steps").joinpath("personalize.pl").read_text()


class Personalize(Step):
    def limit(self, limits: TimeLimits) -> float:
        return 3 * limits.command

    async def check(self, context: StepContext) -> bool:
        drivers = context.drivers
        try:
            # The mark first: SSH to a fork that is not personalised would time out slowly.
            mark = await drivers.machines.read(context.container.name, _MARK, timeout=_LOOK_SECONDS)
            if mark.strip() != context.secrets.host_key.public:
                return False
            if _checks_ssh(context):
                await drivers.ssh.wait(await context.ssh_target(), timeout=_LOOK_SECONDS)
        except (CommandFailed, SshTimeout, SshRefused):
            return False
        return True

    async def apply(self, context: StepContext) -> None:
        try:
            await while_running(context, self._personalize(context))
        except SshTimeout as error:
            error.evidence |= await container_evidence(context.drivers.engine, context.container)
            raise

    async def _personalize(self, context: StepContext) -> None:
        node, limit = context.this_node, context.limits.command
        rules = await registry_rules(context)
        files_of_its_own = [File(_ENTROPY, entropy()), *rules]
        own = identity(context.cluster.id, node, context.secrets, files_of_its_own, folders_of(rules))
        argv = ["/usr/bin/perl", "-e", _PROGRAM, QUIESCED, _MARK, context.secrets.host_key.public]
        ended = await context.drivers.machines.run(
            context.container.name, argv, stdin=own, clock=context.clock, timeout=limit
        )
        if ended.exit_code != 0:
            evidence = {"stderr": context.secrets.redact(ended.stderr)}
            raise CommandFailed(f"{node.name} cannot be personalised: exit code {ended.exit_code}", evidence=evidence)
        target = await context.ssh_target()
        # A kept connection to the machine before would hang.
        await context.drivers.ssh.forget(target)
        context.progress(f"{node.name} has keys of its own")
        if _checks_ssh(context):
            await context.drivers.ssh.wait(target, timeout=limit)
            context.progress(f"{node.name} answers over SSH")


def _checks_ssh(context: StepContext) -> bool:
    """Whether the step logs in over SSH. A login costs an emulated guest 1.5 s of the processors that Kubernetes needs.

    With Kubernetes, the step `ready` shows that guest and network work, and the verification of the template has shown
    that SSH works in its forks.
    """
    return not wants_kubernetes(context.spec) or context.cluster.purpose is Purpose.VERIFICATION
