"""Responses accept fields of newer and older servers; requests refuse unknown fields."""

from __future__ import annotations

import enum
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import pytest
from pydantic import TypeAdapter, ValidationError

from dayfly import schemas
from dayfly.schemas.base import FROM_SERVER, Open, OpenEnum, RequestModel, ResponseModel
from dayfly.schemas.clusters import ClusterSummary, DryRun
from dayfly.vocabulary import Phase, Restart

for _module in pkgutil.iter_modules(schemas.__path__, "dayfly.schemas."):
    importlib.import_module(_module.name)


def descendants(base: type[Any]) -> Iterator[type[Any]]:
    for child in base.__subclasses__():
        if child.__module__.startswith("dayfly."):
            yield child
        yield from descendants(child)


def closed_values(annotation: Any) -> Iterator[Any]:
    """Enums and Literals in an annotation that are not within `Open`."""
    if get_origin(annotation) is Annotated:
        if any(isinstance(one, OpenEnum) for one in annotation.__metadata__):
            return
        annotation = annotation.__origin__
    if get_origin(annotation) is Literal or (isinstance(annotation, type) and issubclass(annotation, enum.Enum)):
        yield annotation
    for part in get_args(annotation):
        yield from closed_values(part)


@pytest.mark.parametrize("model", sorted(set(descendants(ResponseModel)), key=str))
def test_every_enum_of_a_response_is_open(model: type[ResponseModel]) -> None:
    hints = get_type_hints(model, include_extras=True)
    found = {name: list(closed_values(hints[name])) for name in model.model_fields}
    assert {name: values for name, values in found.items() if values} == {}
    assert model.model_config.get("extra") in {None, "ignore"}


@pytest.mark.parametrize("model", sorted(set(descendants(RequestModel)), key=str))
def test_every_request_refuses_what_is_unknown(model: type[RequestModel]) -> None:
    assert model.model_config["extra"] == "forbid"
    assert model.model_config["strict"]


def test_there_are_models_of_both_kinds() -> None:
    assert {"ClusterRequest", "PoolRequest"} <= {model.__name__ for model in descendants(RequestModel)}
    assert {"Cluster", "Template", "OrphanList"} <= {model.__name__ for model in descendants(ResponseModel)}


class Sample(ResponseModel):
    absent_means: ClassVar = {"count": 1}

    phase: Open[Phase]
    restart: Open[Restart] | None
    count: int


def test_a_newer_server_sends_more() -> None:
    read = Sample.model_validate_json(
        '{"phase": "melting", "restart": "twice", "count": 2, "colour": "red"}', context=FROM_SERVER
    )
    assert (read.phase, read.restart) == ("melting", "twice")
    assert read.model_dump(mode="json") == {"phase": "melting", "restart": "twice", "count": 2}
    assert read.model_dump_json() == '{"phase":"melting","restart":"twice","count":2}'


def test_a_known_value_is_one_of_the_enum() -> None:
    read = Sample.model_validate({"phase": "ready", "restart": "never", "count": 1})
    assert read.phase is Phase.READY
    assert read.model_dump_json() == '{"phase":"ready","restart":"never","count":1}'


def test_an_older_server_sends_less() -> None:
    assert Sample.model_validate({"phase": "ready"}, context=FROM_SERVER) == Sample(
        phase=Phase.READY, restart=None, count=1
    )
    with pytest.raises(ValidationError, match="phase"):
        Sample.model_validate({"restart": None}, context=FROM_SERVER)


def test_the_server_itself_sends_every_field() -> None:
    with pytest.raises(ValidationError, match="restart"):
        Sample.model_validate({"phase": "ready", "count": 1})


def test_what_is_no_text_is_no_value() -> None:
    with pytest.raises(ValidationError):
        Sample.model_validate({"phase": 3, "restart": None, "count": 1})


def test_the_contract_lists_known_values() -> None:
    assert TypeAdapter(Open[Phase]).json_schema(mode="serialization")["enum"] == [phase.value for phase in Phase]


def test_what_0_2_0_did_not_send_of_a_cluster() -> None:
    assert ClusterSummary.absent_means == {
        "isolation": "shared",
        "ports": (),
        "conformance": (),
        "image_digest": "",
        "purpose": "cluster",
        "generation": 1,
        "paused": False,
        "addons": (),
    }
    assert DryRun.absent_means == {
        "isolation": "shared",
        "ports": (),
        "conformance": (),
        "image_digest": "",
        "addons": (),
    }
