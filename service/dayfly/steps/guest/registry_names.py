"""The names of a cluster's registry inside the cluster: an image is named there as it was pushed on the host.

A node pulls `localhost:<port>/app:1` from registry:5000, where <port> is the host's port of the registry; a ConfigMap
shows the names to tools (KEP-1755). Both have the host's port, so they are written for each cluster, and a template has
neither: its forks have other ports.
A registry that the installation caches has a rule, too: first the cache, then the registry itself. All clusters have
these rules, templates included, whose add-ons may be pulled. Where a machine from a snapshot has the rule of a former
cache, the port is closed or the cache answers 404, and containerd goes on to the registry itself.
Not here: registry:5000 itself, which the image configures (provisioning/ansible/roles/containerd).
"""

from __future__ import annotations

from typing import Final

from dayfly.domain.cluster.model import Endpoint, Purpose
from dayfly.domain.cluster.network import REGISTRY_PORT
from dayfly.domain.cluster.provisioning_plan import wants_kubernetes
from dayfly.domain.registry_cache import RegistryCache
from dayfly.drivers.interfaces import ConfigMap, File
from dayfly.steps.step import StepContext

INSIDE: Final = f"registry:{REGISTRY_PORT}"
RULES_DIR: Final = "/etc/containerd/certs.d"

_LONGEST_PATH: Final = 100
"""personalize.pl reads no longer names: a host name of more than 59 characters has no rule."""
# `[host]`: containerd 1.6 refuses a file without this table.
RULE: Final = f'server = "http://{INSIDE}"\n[host]\n'


async def registry_rules(context: StepContext) -> tuple[File, ...]:
    """The rules of a node's containerd, read at each pull: for the registry's names on the host, and for caches."""
    rules: dict[str, str] = {}
    if wants_kubernetes(context.spec):
        rules |= {cache.name: cache_rule(cache) for cache in context.topology.caches}
    address = await registry_address(context)
    if address is not None:
        names = {f"localhost:{address.port}", f"127.0.0.1:{address.port}", str(address)}
        rules |= dict.fromkeys(names, RULE)
    paths = {f"{RULES_DIR}/{name}/hosts.toml": text for name, text in sorted(rules.items())}
    return tuple(File(path, text.encode(), 0o644) for path, text in paths.items() if len(path) <= _LONGEST_PATH)


def cache_rule(cache: RegistryCache) -> str:
    """Without `server`: containerd asks the registry itself last, with its login of the registry."""
    places = [f"http://registry:{cache.port}{cache.prefix}v2"]
    if cache.has_own_upstream:
        places.append(cache.upstream)
    return "".join(f'[host."{place}"]\n  capabilities = ["pull", "resolve"]\n' for place in places)


def folders_of(rules: tuple[File, ...]) -> dict[str, int]:
    """The folders of `rules` and their modes, for a program that does not create missing folders (personalize.pl)."""
    if not rules:
        return {}
    inner = [rule.path.rpartition("/")[0] for rule in rules]
    return dict.fromkeys(["/etc/containerd", RULES_DIR, *inner], 0o755)


async def registry_hosting(context: StepContext) -> ConfigMap | None:
    """The ConfigMap of KEP-1755; None where the cluster has its own already, or is a template's."""
    origin = context.cluster.boot_source
    if origin is None or origin.kind not in {"image", "template"}:
        # It is in what the machines start from, and the ports are kept.
        return None
    address = await registry_address(context)
    if address is None:
        return None
    lines = (f'host: "{address}"', f'hostFromClusterNetwork: "{INSIDE}"', f'hostFromContainerRuntime: "{INSIDE}"')
    text = "".join(f"{line}\n" for line in lines)
    return ConfigMap("kube-public", "local-registry-hosting", {"localRegistryHosting.v1": text})


async def registry_address(context: StepContext) -> Endpoint | None:
    """Where callers push to; None for a template, and for machines without Kubernetes. Raises ContainerExited."""
    if context.cluster.purpose is Purpose.TEMPLATE or not wants_kubernetes(context.spec):
        return None
    return Endpoint(context.advertised, (await context.endpoint(REGISTRY_PORT)).port)
