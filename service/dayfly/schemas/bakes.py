"""Bakes of node images over HTTP: requests and responses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    model_validator,
)

from dayfly.schemas.base import Code, Id, Open, RequestModel, ResponseModel, whole_numbers
from dayfly.schemas.cluster_requests import MAX_OWNER, OWNER, Specs
from dayfly.schemas.json_schemas import RECIPE_OR_DEFINITION, SPECS_BEFORE_READY
from dayfly.vocabulary import MAX_SPECS, BakePhase, ImageState

MAX_RECIPE: Final = 100
RECIPE: Final = r"^[a-z][a-z0-9]*([.-][a-z0-9]+)*$"
MAX_VARIABLES: Final = 100
MAX_LEVELS: Final = 20
"""Of a definition: a mapping within a list within a mapping is three. A recipe has five."""

Recipe = Annotated[str, StringConstraints(strict=True, max_length=MAX_RECIPE, pattern=RECIPE)]
Variable = StrictBool | StrictInt | StrictStr | list[StrictStr]


def _variables(given: Any) -> Any:
    return whole_numbers(given) if isinstance(given, dict) else given


class BakeRequest(RequestModel):
    """A bake as a caller asks for it: of a recipe of the server, or of a recipe in the request."""

    model_config = ConfigDict(json_schema_extra={**SPECS_BEFORE_READY, **RECIPE_OR_DEFINITION})

    recipe: Recipe | None = Field(default=None, description="The name of a recipe of the server.", examples=["bare"])
    variables: Annotated[dict[str, Variable], BeforeValidator(_variables)] = Field(
        default_factory=dict,
        max_length=MAX_VARIABLES,
        description="Values for variables of the recipe's play (`vars` of the recipe), of the types that they have "
        "there: of a text, letters, digits and `_.:/@+=,-`. Variables of choices (`choices` of the recipe) have the "
        "values that the server's files have.",
    )
    definition: dict[str, Any] | None = Field(
        default=None,
        description="A whole recipe in place of `recipe`, with the fields of a recipe's file; it may extend one of the "
        "server. Its name is that of no recipe of the server. Its scripts and its play are files of the server, and "
        "get the variables that recipes of the server give to them.",
    )
    readiness: Literal["conformance"] | None = Field(
        default=None,
        description="`conformance`: the cluster that verifies the image also passes a list of Kubernetes' own "
        "conformance specs before the bake succeeds; else the bake fails (conformance_failed, with the failed specs "
        "and the report as evidence). An image that exists already is verified again, and stays. Only images that have "
        "the tests (`k8s-debian-conformance`).",
    )
    conformance: Specs = Field(
        default=(),
        max_length=MAX_SPECS,
        description="With the readiness `conformance`: the specs to run, as in the request of a cluster. Left out: the "
        "image's short list.",
    )
    owner: str = Field(
        default="default",
        max_length=MAX_OWNER,
        pattern=OWNER,
        description="The team that the bake belongs to. Left out: the caller's. Only an operator may name another.",
    )

    @model_validator(mode="after")
    def _one_recipe(self) -> Self:
        if (self.recipe is None) == (self.definition is None):
            raise ValueError("give either recipe or definition")
        if self.definition is not None and self.variables:
            raise ValueError("variables are for a recipe of the server: a definition has its own vars")
        if self.conformance and self.readiness != "conformance":
            raise ValueError('conformance: the list runs only with `"readiness": "conformance"`')
        if not _is_flat(self.definition):
            raise ValueError(f"a definition has at most {MAX_LEVELS} levels")
        return self


def _is_flat(value: object) -> bool:
    """Whether mappings and lists within each other are at most MAX_LEVELS: what reads a definition calls itself."""
    level = [value]
    for _ in range(MAX_LEVELS):
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [each for one in inner for each in one]
    return not any(isinstance(one, dict | list) for one in level)


class BakeError(ResponseModel):
    """Why a bake failed."""

    code: Code
    message: str
    evidence: dict[str, str] = Field(description="Name → text, such as the last lines of output. Empty in lists.")


class BakeSummary(ResponseModel):
    """A bake in a list."""

    absent_means: ClassVar = {"rebuild": False}

    id: Id
    owner: str
    recipe: str = Field(description="The recipe's name; of a definition, its name.")
    phase: Open[BakePhase] = Field(
        description="`queued`: it waits for a builder. `running`. `succeeded`: the image was verified, and has its "
        "names. `failed`: with an `error`. `cancelled`. A bake that has ended left nothing unfinished, unless "
        "each attempt to remove that failed (events `clean_up_failed`)."
    )
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    cancel_requested_at: datetime | None
    attempts: int = Field(description="How often a builder began it: again if a builder ended.")
    rebuild: bool = Field(
        description="It is a scheduled rebuild (`DAYFLY_REBUILDS`), and its first event says which news it is for. No "
        "name stands for its image before a promotion."
    )
    image: str | None = Field(description="The image's reference, with the digest of all inputs as its tag.")
    image_id: str | None = Field(description="The engine's content id of the image.")
    image_state: Open[ImageState] | None = Field(
        description="The state of the image now. `retired`: a bake of the same inputs was retired, and no new cluster "
        "may use the image until it is promoted (event `image_retired`). `collected`: it was removed since."
    )
    error: BakeError | None


class Bake(BakeSummary):
    """A bake: a node image that is being built and verified, or was."""

    variables: dict[str, bool | int | str | list[str]] = Field(description="As requested.")
    definition: dict[str, Any] | None = Field(description="As requested.")
    conformance: tuple[str, ...] | None = Field(
        description="The conformance specs that the verification runs: as requested, empty: the image's short list. "
        "null: none."
    )


class BakeList(ResponseModel):
    """One page of bakes, newest first."""

    bakes: tuple[BakeSummary, ...]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last one.")


class BakeEvent(ResponseModel):
    """Something that happened to a bake, or a line of a step's output."""

    id: int
    at: datetime
    type: str = Field(
        description="`queued`, `started`, `cancel_requested`, `clean_up_failed`, `image_retired`, `succeeded`, "
        "`failed`, `cancelled`; `admitted`: the verification has its share of the host; "
        "of a rebuild `promoted`, `promote_failed`; "
        "of a step: `step.waiting` (the message says for what), `step.running`, `step.cached`, `step.done`, "
        "`step.failed`, and `line`."
    )
    message: str
    step: str | None = Field(description="`toolbox`, `base`, `artifact NAME`, `node`, `disk`, `image`, `verify`.")
    seconds: float | None = Field(description="Duration of a step that is done or failed.")
    code: Code | None


class BakeEventList(ResponseModel):
    """Events, oldest first. Of many lines of output, the newest are kept."""

    events: tuple[BakeEvent, ...]
    next_after: int = Field(description="Give it as `after` to go on.")
    phase: Open[BakePhase] = Field(description="The bake's phase: after its end, nothing more comes.")


def bake_is_over(phase: str) -> bool:
    """Whether a bake in this phase has ended."""
    return phase in {BakePhase.SUCCEEDED, BakePhase.FAILED, BakePhase.CANCELLED}
