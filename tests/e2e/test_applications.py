"""Applications are applied as they are, and work: Kubernetes' own manifests, and one with all ordinary kinds.

The site has no internet: nodes pull images of docker.io and gcr.io from the cluster's registry, which has small
stand-ins under upstream's names. Not here: each kind's own behaviour (test_volumes.py, test_policies.py,
test_ingress.py).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from dayfly.steps.guest.registry_names import RULE, RULES_DIR
from tests.conformance.registry import push_all
from tests.e2e import upstream
from tests.e2e.addons.change import change
from tests.e2e.addons.ingresses import PATIENCE_SECONDS, asked, await_answer
from tests.e2e.claims import GONE_SECONDS, POD_SECONDS, in_pod, is_ready, until_gone
from tests.e2e.lab import INGRESS, MANIFESTS, NODES, Lab
from tests.e2e.lookups import read_answers, script_of
from tests.e2e.manifests import UNNAMED, manifest_files, objects_of, read_verdicts
from tests.support.debian_programs import debian_program
from tests.support.debian_sources import debian_source
from tests.support.docker_archives import write_archive
from tests.support.guest import until

pytestmark = [pytest.mark.kubernetes, pytest.mark.long]

ADDON: Final = "ingress"
TRIED: Final = "tried"
"""The namespace of the dry runs."""
FOREIGN: Final = "foreign"
"""That of upstream's applications."""
OWN: Final = "application"
"""That of application.yaml."""
NAMESPACE_SECONDS: Final = 120
DRY_RUN_SECONDS: Final = 600
"""For some 800 requests, while the applications start."""
EVICTION: Final = {
    "apiVersion": "policy/v1beta1",
    "kind": "Eviction",
    "metadata": {"name": "store-0", "namespace": OWN},
}


@pytest.fixture(scope="module")
def tree() -> Path:
    """Upstream's manifests."""
    return asyncio.run(debian_source(upstream.SUITE, upstream.PACKAGE, upstream.FOLDERS))


@pytest.fixture(scope="module")
def kubectl() -> Path:
    """A kubectl whose messages the table of refusals has; 1.20's reads the API's description for each object anew."""
    return asyncio.run(debian_program("trixie", "kubectl", "usr/bin/kubectl"))


@pytest.fixture(scope="module", autouse=True)
def applied(shared_lab: Lab, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All is applied as it is and starts at once; afterwards nothing is left but the images."""
    lab, began = shared_lab, time.monotonic()
    for namespace in (TRIED, FOREIGN):
        lab.kubectl("create", "namespace", namespace)
    foreign = within(lab, FOREIGN)
    try:
        push_images(lab, tmp_path_factory.mktemp("images"))
        redirect(lab)
        lab.kubectl_with(upstream.STORAGE_CLASS, "apply", "-f", "-")
        apply(foreign, *(tree / file for file in upstream.STATEFUL_SET))
        change(lab, ADDON)
        # After the add-on: the API server gives the default class to new Ingresses only.
        apply(foreign, *(tree / file for file in upstream.INGRESS))
        apply(lab, MANIFESTS / "application.yaml")
        print(f"the applications were applied within {time.monotonic() - began:.0f} s")
        yield
    finally:
        began = time.monotonic()
        namespaces = (TRIED, FOREIGN, OWN)
        lab.kubectl("delete", "namespaces", *namespaces, "--ignore-not-found", "--wait=false")
        undo_redirect(lab)
        for namespace in namespaces:
            until_gone(lab, f"namespace/{namespace}")
        until("their volumes are gone", lambda: volumes(lab, *namespaces) == [] or None, seconds=GONE_SECONDS, pause=1)
        lab.kubectl("delete", "storageclass", "nginx-sc", "--ignore-not-found")
        print(f"the applications were removed within {time.monotonic() - began:.0f} s")
        change(lab)


@pytest.fixture
def foreign(lab: Lab) -> Lab:
    """The cluster, with the namespace of upstream's application as kubectl's own."""
    return within(lab, FOREIGN)


@pytest.fixture
def own(lab: Lab) -> Lab:
    """The cluster, with the namespace of application.yaml as kubectl's own."""
    return within(lab, OWN)


def test_upstreams_manifests_are_accepted_but_for_known_ones(lab: Lab, tree: Path, kubectl: Path) -> None:
    tried = within(lab, TRIED)
    until("the namespace takes pods", lambda: has_account(tried), seconds=NAMESPACE_SECONDS)
    files = manifest_files(tree)
    assert len(files) == upstream.FILES
    began = time.monotonic()
    argv = [str(kubectl), *tried.kubectl_argv("apply", "--dry-run=server")[1:]]
    argv += [f"--filename={file}" for file in files]
    done = subprocess.run(argv, cwd=tree, capture_output=True, text=True, timeout=DRY_RUN_SECONDS, check=False)
    verdicts = read_verdicts(done.stdout, done.stderr)
    accepted, refused = verdicts.accepted.total(), len(upstream.REFUSED)
    print(f"{accepted} objects accepted, {refused} of {len(files)} files refused: {time.monotonic() - began:.0f} s")

    found = {file: text for file, text in verdicts.refused.items() if file != UNNAMED}
    found |= dict.fromkeys(upstream.FILES_WITHOUT_NAME, verdicts.refused.get(UNNAMED, ""))
    assert set(found) == set(upstream.REFUSED), done.stderr
    wrong = {file: found[file] for file, words in upstream.REFUSED.items() if words not in found[file]}
    assert wrong == {}
    whole = sum((objects_of(tree / file) for file in files if file not in upstream.REFUSED), Counter[str]())
    assert whole - verdicts.accepted == Counter()
    assert accepted == upstream.ACCEPTED


def test_upstreams_stateful_set_has_names_claims_and_pages(foreign: Lab) -> None:
    foreign.kubectl("rollout", "status", "statefulset/web", "--timeout=600s", timeout=620)
    pods = [f"web-{number}" for number in range(3)]
    claims = json.loads(foreign.kubectl("get", "pvc", "-o", "json"))["items"]
    phases = {one["metadata"]["name"]: one["status"]["phase"] for one in claims}
    assert phases == {f"www-{pod}": "Bound" for pod in pods}
    for pod in pods:
        in_pod(foreign, pod, f"echo page of {pod} > /usr/share/nginx/html/index.html")
    names = [f"{pod}.nginx.{FOREIGN}.svc.cluster.local" for pod in pods]
    answers = read_answers(in_pod(foreign, "web-0", script_of(("a", name) for name in names)))
    assert answers == [{address(foreign, pod)} for pod in pods]
    for pod in pods[1:]:
        request = f"printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 60 {address(foreign, pod)} 80"
        assert in_pod(foreign, "web-0", request).strip().endswith(f"page of {pod}")


def test_upstreams_ingress_leads_to_its_services(foreign: Lab) -> None:
    foreign.kubectl("wait", "pods", "-l", "app=echoheaders", "--for=condition=Ready", "--timeout=400s", timeout=420)
    await_answer(foreign, "foo.bar.com", "/foo", (200, "echo of foo"))
    assert asked(foreign, "bar.baz.com", "/bar") == (200, "echo of bar")
    assert asked(foreign, "bar.baz.com", "/foo") == (200, "echo of foo")
    # Its default backend is for unknown hosts, too.
    assert asked(foreign, "unknown.example", "/bar") == (200, "echo of bar")
    status = json.loads(foreign.kubectl("get", "ingress", "echomap", "-o", "json"))["status"]
    assert status["loadBalancer"]["ingress"] == [{"ip": INGRESS.address}]


def test_jobs_read_the_stateful_set_by_name_and_others_are_refused(own: Lab) -> None:
    both = "store-0 is store-0\nstore-1 is store-1\n"
    own.kubectl("wait", "job/reader", "--for=condition=Complete", f"--timeout={POD_SECONDS}s", timeout=POD_SECONDS + 20)
    assert own.kubectl("logs", "job/reader") == both
    job = until("the CronJob has run", lambda: scheduled_job(own), seconds=POD_SECONDS, pause=1)
    # Each further run is work for emulated nodes.
    own.kubectl("patch", "cronjob", "clock", "-p", '{"spec": {"suspend": true}}')
    assert own.kubectl("logs", f"job/{job}") == both
    until("the front has a pod", lambda: replicas(own) or None, seconds=POD_SECONDS, pause=1)
    # The name is found: without an address, the script fails.
    ask = ("exec", "deployment/front", "--", "/bin/sh", "/scripts/ask", "store-0")
    refused = "the policy refuses a pod without the label"
    until(refused, lambda: own.kubectl(*ask, timeout=180) == "" or None, seconds=PATIENCE_SECONDS)


def test_an_autoscaled_deployment_answers_through_its_ingress(own: Lab) -> None:
    until("the autoscaler has added a pod", lambda: replicas(own) == 2 or None, seconds=POD_SECONDS, pause=1)
    await_answer(own, "application.example", "/", (200, "welcome open-sesame"))


def test_data_outlives_its_pod_and_the_budget_refuses_an_eviction(own: Lab) -> None:
    until("the budget is met", lambda: healthy(own) == 2 or None, seconds=POD_SECONDS, pause=1)
    path = f"/api/v1/namespaces/{OWN}/pods/store-0/eviction"
    evicted = own.try_kubectl("create", "--raw", path, "-f", "-", manifests=json.dumps(EVICTION))
    assert evicted.returncode != 0
    assert "disruption budget" in evicted.stderr
    volume = own.kubectl("get", "pvc", "data-store-0", "-o", "jsonpath={.spec.volumeName}")
    old = own.kubectl("get", "pod", "store-0", "-o", "jsonpath={.metadata.uid}")
    own.kubectl("delete", "pod", "store-0", "--wait=false")
    until("another store-0 runs", lambda: is_another(own, "store-0", old), seconds=POD_SECONDS, pause=1)
    assert in_pod(own, "store-0", "cat /data/name /data/starts").split() == ["store-0", "start", "start"]
    assert own.kubectl("get", "pvc", "data-store-0", "-o", "jsonpath={.spec.volumeName}") == volume


def within(lab: Lab, namespace: str) -> Lab:
    """The same cluster; kubectl uses `namespace` for objects that name none, and only for those."""
    kubeconfig = lab.kubeconfig.with_suffix(f".{namespace}")
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(lab.kubeconfig.read_text())
    changed = replace(lab, kubeconfig=kubeconfig)
    changed.kubectl("config", "set-context", "--current", f"--namespace={namespace}")
    return changed


def push_images(lab: Lab, folder: Path) -> None:
    """Push the stand-ins of upstream's images to the cluster's registry."""
    archives = []
    for number, (reference, (root, port, pages)) in enumerate(upstream.IMAGES.items()):
        # As process 1, httpd would ignore SIGTERM.
        serve = f"trap 'exit 0' TERM; httpd -f -p {port} -h /{root} & wait"
        files = {f"{root}/{name}": text for name, text in pages.items()}
        archives.append(write_archive(folder / f"{number}.tar", reference, ["/bin/sh", "-c", serve], files))
    push_all(archives, lab.client.registry(lab.cluster.id).push)


def redirect(lab: Lab) -> None:
    """Nodes pull images of upstream's registries from the cluster's."""
    lines = ["set -e", f"cd {RULES_DIR}"]
    for host in upstream.HOSTS:
        lines += [f"mkdir -p {host}", f"[ ! -e {host}/hosts.toml ] || mv {host}/hosts.toml {host}/hosts.toml.before"]
        lines += [f"cat > {host}/hosts.toml << 'END'\n{RULE}END"]
    for node in NODES:
        lab.on_node(node, "\n".join(lines))


def undo_redirect(lab: Lab) -> None:
    lines = ["set -e", f"cd {RULES_DIR}"]
    for host in upstream.HOSTS:
        lines += [f"rm -f {host}/hosts.toml"]
        lines += [f"[ ! -e {host}/hosts.toml.before ] || mv {host}/hosts.toml.before {host}/hosts.toml"]
        lines += [f"[ ! -d {host} ] || rmdir --ignore-fail-on-non-empty {host}"]
    for node in NODES:
        lab.on_node(node, "\n".join(lines))


def apply(lab: Lab, *files: Path) -> None:
    lab.kubectl("apply", *(f"--filename={file}" for file in files))


def has_account(lab: Lab) -> bool | None:
    """Whether the namespace has the service account that pods need, with its token."""
    found = lab.try_kubectl("get", "serviceaccount", "default", "-o", "jsonpath={.secrets[0].name}")
    return True if found.returncode == 0 and found.stdout else None


def volumes(lab: Lab, *namespaces: str) -> list[str]:
    items = json.loads(lab.kubectl("get", "pv", "-o", "json"))["items"]
    return [one["metadata"]["name"] for one in items if one["spec"].get("claimRef", {}).get("namespace") in namespaces]


def address(lab: Lab, pod: str) -> str:
    return lab.kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIP}")


def scheduled_job(lab: Lab) -> str | None:
    """A job of the CronJob that has succeeded."""
    for job in json.loads(lab.kubectl("get", "jobs", "-o", "json"))["items"]:
        owners = {one["kind"] for one in job["metadata"].get("ownerReferences", ())}
        if "CronJob" in owners and job["status"].get("succeeded"):
            return str(job["metadata"]["name"])
    return None


def replicas(lab: Lab) -> int:
    """The ready replicas of the Deployment `front`."""
    return int(_status(lab, "deployment/front").get("readyReplicas", 0))


def healthy(lab: Lab) -> int:
    """The pods that the budget counts as healthy."""
    return int(_status(lab, "poddisruptionbudget/store").get("currentHealthy", 0))


def _status(lab: Lab, item: str) -> dict[str, Any]:
    status = json.loads(lab.kubectl("get", item, "-o", "json")).get("status", {})
    assert isinstance(status, dict)
    return status


def is_another(lab: Lab, pod: str, old: str) -> bool | None:
    """Whether `pod` is not the old one any more, and ready."""
    uid = lab.try_kubectl("get", "pod", pod, "-o", "jsonpath={.metadata.uid}")
    return True if uid.returncode == 0 and uid.stdout != old and is_ready(lab, pod) else None
