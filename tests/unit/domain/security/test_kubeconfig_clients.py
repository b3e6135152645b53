"""Python's clients of Kubernetes verify the API server of a caller's kubeconfig, behind any host."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from dayfly.domain.security.kubeconfig import SERVER_NAME
from tests.support.clients.calls import CALLS, Expected
from tests.support.clients.run import LIBRARIES, Run, failures, results
from tests.support.clients.server import NODE, POD, PROXY, VERSION, running_client_server

LOOPBACK, OTHER = "127.0.0.1", "127.0.0.2"
"""Every certificate is valid for LOOPBACK, and for OTHER if the installation advertised OTHER."""
EXPECTED = Expected("client", VERSION, [NODE], [PROXY], POD)
UNNAMED = {"kubernetes.aio": ["exec"], "kubernetes_asyncio": ["exec"], "lightkube": list(CALLS)[1:]}
"""The calls that do not read `tls-server-name`; deploy/README.md lists them."""


async def run(
    library: str, folder: Path, address: str, *, named: bool, name: str = SERVER_NAME, advertised: str = LOOPBACK
) -> Mapping[str, str | None]:
    kubeconfig = folder / "kubeconfig"
    async with running_client_server(folder, address, advertised=advertised) as text:
        kubeconfig.write_text(text.replace(f"tls-server-name: {SERVER_NAME}\n", f"tls-server-name: {name}\n"))
        return await asyncio.to_thread(results, Run(library, str(kubeconfig), EXPECTED, named=named), folder)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_library_makes_every_call_at_an_address_that_is_no_san(library: str, tmp_path: Path) -> None:
    found = await run(library, tmp_path, OTHER, named=True)
    assert list(found) == [call for call in CALLS if (library, call) != ("lightkube", "version")]
    assert failures(found) == ""


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_library_makes_every_call_at_the_advertised_host_by_itself(library: str, tmp_path: Path) -> None:
    assert failures(await run(library, tmp_path, OTHER, named=False, advertised=OTHER)) == ""


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_library_may_verify_the_advertised_host_itself(library: str, tmp_path: Path) -> None:
    """The name in the kubeconfig is the host's own."""
    assert failures(await run(library, tmp_path, OTHER, named=False, name=OTHER, advertised=OTHER)) == ""


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_library_refuses_a_server_of_another_name(library: str, tmp_path: Path) -> None:
    found = await run(library, tmp_path, LOOPBACK, named=True, name="somebody.else")
    assert all(text is not None and "CERTIFICATE_VERIFY_FAILED" in text for text in found.values()), found


@pytest.mark.parametrize("library", UNNAMED)
async def test_calls_that_ignore_the_servers_name_refuse_the_server(library: str, tmp_path: Path) -> None:
    found = await run(library, tmp_path, OTHER, named=False)
    refused = {call: text for call, text in found.items() if text is not None}
    assert list(refused) == UNNAMED[library]
    assert all("CERTIFICATE_VERIFY_FAILED" in text for text in refused.values())


@pytest.mark.parametrize("library", UNNAMED)
async def test_they_accept_the_default_address(library: str, tmp_path: Path) -> None:
    assert failures(await run(library, tmp_path, LOOPBACK, named=False)) == ""
