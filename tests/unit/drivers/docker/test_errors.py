"""Errors of Docker 20.10 and 28, and Dayfly's errors for them."""

from __future__ import annotations

import errno
import json

import aiohttp
import pytest
import structlog
from aiodocker.exceptions import DockerError, DockerStreamError

from dayfly.drivers.docker.errors import engine_errors, is_port_taken, translate
from dayfly.errors import (
    ContainerExited,
    DayflyError,
    DiskFull,
    EngineRefused,
    EngineUnavailable,
    ImageMissing,
    PortsExhausted,
)

SAMPLES = [
    (DockerError(404, "No such image: dayfly/none:latest"), ImageMissing),
    (
        DockerError(
            500,
            "driver failed programming external connectivity on endpoint dayfly-x-net (0f): "
            "Bind for 127.0.0.1:40000 failed: port is already allocated",
        ),
        PortsExhausted,
    ),
    (DockerError(500, "driver failed programming external connectivity: all ports are allocated"), PortsExhausted),
    (
        DockerError(500, "Error starting userland proxy: listen tcp4 127.0.0.1:40000: bind: address already in use"),
        PortsExhausted,
    ),
    (DockerError(500, "write /var/lib/docker/tmp/x: no space left on device"), DiskFull),
    (DockerStreamError("write /layer.tar: no space left on device"), DiskFull),
    (DockerStreamError("manifest for r:5000/x:1 not found: manifest unknown"), ImageMissing),
    (
        DockerStreamError('Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused'),
        EngineRefused,
    ),
    (DockerError(409, "cannot join network of a non running container: 0f"), EngineRefused),
    (DockerError(400, "OCI runtime create failed: executable file not found in $PATH"), EngineRefused),
    (DockerError(900, "Cannot connect to Docker Engine via unix:///x [No such file]"), EngineUnavailable),
    (TimeoutError(), EngineUnavailable),
    (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), EngineUnavailable),
    (aiohttp.ServerDisconnectedError(), EngineUnavailable),
    (aiohttp.ClientPayloadError("Response payload is not completed"), EngineUnavailable),
    (DockerError(503, "the engine is starting"), EngineUnavailable),
    (DockerError(500, "daemon is shutting down"), EngineUnavailable),
    (
        DockerError(500, "connection error: dial unix /run/containerd/containerd.sock: connect: connection refused"),
        EngineUnavailable,
    ),
    (DockerError(500, "rpc error: code = Unavailable desc = transport is closing: unavailable"), EngineUnavailable),
    (DockerError(500, "ttrpc: closed: unknown"), EngineUnavailable),
    (OSError(errno.ENOSPC, "No space left on device"), DiskFull),
]


@pytest.mark.parametrize(("error", "kind"), SAMPLES, ids=lambda value: str(value)[:50])
def test_what_the_engine_says_has_one_meaning(error: Exception, kind: type[DayflyError]) -> None:
    ours = translate(error, "container dayfly-x-net")

    assert type(ours) is kind
    assert ours.message.startswith("container dayfly-x-net: ")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (DockerError(400, "x"), "here: the engine rejected the request, HTTP 400"),
        (DockerError(403, "x"), "here: the engine denied access, HTTP 403"),
        (DockerError(404, "No such container: x"), "here: the engine has no such object, HTTP 404"),
        (DockerError(404, "No such image: x"), "here: the image does not exist"),
        (DockerError(409, "x"), "here: the engine reported a conflict with the object's present state, HTTP 409"),
        (DockerError(409, 'The container name "/x" is already in use by container y'), "here: the name is in use"),
        (DockerError(409, "remove v: volume is in use - [0de6c526]"), "here: the volume is in use"),
        (
            DockerError(409, "volume v is being used by the following container(s): 0de6c526: volume is being used"),
            "here: the volume is in use",
        ),
        (DockerError(500, "x"), "here: the engine reported an error, HTTP 500"),
        (DockerStreamError("x"), "here: the engine reported an error"),
        (DockerError(500, "port is already allocated"), "here: a host port is in use"),
        (DockerError(500, "no space left on device"), "here: no space is left on the engine's disk"),
        (DockerError(503, "x"), "here: the engine is not available, HTTP 503"),
        (DockerError(900, "x"), "here: the engine cannot be reached"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "here: the connection to the engine broke"),
    ],
    ids=str,
)
def test_the_message_is_our_own_sentence(error: Exception, sentence: str) -> None:
    assert translate(error, "here").message == sentence


def test_the_engines_text_is_logged_as_one_bounded_line_and_shown_to_operators() -> None:
    with structlog.testing.capture_logs() as lines:
        ours = translate(DockerError(500, "no route\nto \x1b[31m10.0.0.5" + "x" * 10_000), "here")

    (line,) = lines
    assert line["event"] == "here: the engine reported an error, HTTP 500"
    assert line["details"] == ours.operator_detail
    assert ours.operator_detail.startswith("no route to \\x1b[31m10.0.0.5xxx")
    assert len(ours.operator_detail) == 2000
    assert ours.for_operator == f"{ours.message} (details: {ours.operator_detail})"


def test_a_task_groups_first_failure_is_what_is_raised() -> None:
    group = ExceptionGroup("", [ExceptionGroup("", [DockerError(404, "No such image: x")]), ValueError()])

    with pytest.raises(ImageMissing), engine_errors("here"):
        raise group


def test_an_error_of_ours_passes_as_it_is() -> None:
    ours = ContainerExited("gone")

    with pytest.raises(ContainerExited) as raised, engine_errors("here"):
        raise ExceptionGroup("", [ours])

    assert raised.value is ours


def test_an_answer_that_breaks_off_is_a_broken_connection() -> None:
    with pytest.raises(EngineUnavailable), engine_errors("waiting for x"):
        json.loads('{"StatusCode":')


@pytest.mark.parametrize(("error", "kind"), SAMPLES, ids=lambda value: str(value)[:50])
def test_only_a_port_is_a_port(error: Exception, kind: type[DayflyError]) -> None:
    if isinstance(error, DockerError):
        assert is_port_taken(error) == (kind is PortsExhausted)


def test_a_defect_of_ours_is_not_blamed_on_the_engine() -> None:
    with pytest.raises(ZeroDivisionError), engine_errors("here"):
        1 / 0  # noqa: B018
