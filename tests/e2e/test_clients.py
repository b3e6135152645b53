"""Clients of Kubernetes make one table of calls with the kubeconfig that Dayfly serves. Not here: the calls."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.lab import NODES, Lab
from tests.support.clients.calls import Expected
from tests.support.clients.run import LIBRARIES, Run, failures, results
from tests.support.debian_programs import debian_program

pytestmark = pytest.mark.kubernetes

KUBECTLS = {"kubectl-1.20": ("bookworm", "kubernetes-client"), "kubectl-1.32": ("trixie", "kubectl")}
"""kubectl's version → the Debian suite and package that have it."""
CLIENTS = (*KUBECTLS, *LIBRARIES)


@pytest.fixture(scope="module")
def programs() -> Mapping[str, str]:
    """kubectl's version → its program, fetched once: the one on the path may be of any version."""

    async def fetch() -> list[Path]:
        return await asyncio.gather(
            *(debian_program(suite, package, "usr/bin/kubectl") for suite, package in KUBECTLS.values())
        )

    found = {name: str(path) for name, path in zip(KUBECTLS, asyncio.run(fetch()), strict=True)}
    for name, program in found.items():
        argv = [program, "version", "--client", "--output=json"]
        version = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)["clientVersion"]
        assert f"v{name.removeprefix('kubectl-')}." in version["gitVersion"]
    return found


@pytest.fixture(scope="module")
def finished() -> dict[str, str]:
    """The failures of each client that has run; an empty text where there are none."""
    return {}


@pytest.fixture
def failed(
    lab: Lab,
    web: dict[str, str],
    programs: Mapping[str, str],
    finished: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[str, str]:
    """All clients at once, before the first test: each waits for the API server most of its time.

    No client is given the server's name: the certificate is valid for the address of the host for tests.
    """
    if not finished:
        began = time.monotonic()
        served = str(lab.kubeconfig)
        expected = facts(lab)
        runs = [
            Run(client, served, replace(expected, config_map=f"client-{number}"), programs.get(client), named=False)
            for number, client in enumerate(CLIENTS)
        ]
        scratch = tmp_path_factory.mktemp("clients")
        with ThreadPoolExecutor(len(runs)) as pool:
            found = pool.map(lambda run: failures(results(run, scratch)), runs)
            finished.update(zip(CLIENTS, found, strict=True))
        print(f"{len(runs)} clients at once: {time.monotonic() - began:.0f} s")
    return finished


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_makes_every_call(failed: Mapping[str, str], client: str) -> None:
    assert failed[client] == ""


def facts(lab: Lab) -> Expected:
    proxies = lab.kubectl("-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-proxy", "-o", "name")
    return Expected(
        config_map="",
        version=json.loads(lab.kubectl("get", "--raw", "/version"))["gitVersion"],
        nodes=NODES,
        proxies=[line.partition("/")[2] for line in proxies.split()],
        pod=lab.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"),
    )
