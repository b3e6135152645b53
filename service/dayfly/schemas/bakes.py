"""Bakes of node images over HTTP: requests and responses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import Field, StrictBool, StrictInt, StrictStr, StringConstraints, model_validator

from dayfly.schemas.base import Code, Id, Open, RequestModel, ResponseModel
from dayfly.schemas.cluster_requests import MAX_OWNER, OWNER
from dayfly.vocabulary import BakePhase

MAX_RECIPE: Final = 100
RECIPE: Final = r"^[a-z][a-z0-9]*([.-][a-z0-9]+)*$"
MAX_VARIABLES: Final = 100
MAX_LEVELS: Final = 20
"""Of a definition: a mapping within a list within a mapping is three. A recipe has five."""

Recipe = Annotated[str, StringConstraints(strict=True, max_length=MAX_RECIPE, pattern=RECIPE)]
Variable = StrictBool | StrictInt | StrictStr | list[StrictStr]


class BakeRequest(RequestModel):
    """A bake as a caller asks for it: of a recipe of the server, or of a recipe in the request."""

    recipe: Recipe | None = Field(default=None, description="The name of a recipe of the server.", examples=["bare"])
    variables: dict[str, Variable] = Field(
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
    owner: str = Field(
        default="default",
        max_length=MAX_OWNER,
        pattern=OWNER,
        description="The owner, for lists. Any caller may name any owner; this is no security boundary.",
    )

    @model_validator(mode="after")
    def _one_recipe(self) -> Self:
        if (self.recipe is None) == (self.definition is None):
            raise ValueError("give either recipe or definition")
        if self.definition is not None and self.variables:
            raise ValueError("variables are for a recipe of the server: a definition has its own vars")
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
    image: str | None = Field(description="The image's reference, with the digest of all inputs as its tag.")
    image_id: str | None = Field(description="The engine's content id of the image.")
    error: BakeError | None


class Bake(BakeSummary):
    """A bake: a node image that is being built and verified, or was."""

    variables: dict[str, bool | int | str | list[str]] = Field(description="As requested.")
    definition: dict[str, Any] | None = Field(description="As requested.")


class BakeList(ResponseModel):
    """One page of bakes, newest first."""

    bakes: tuple[BakeSummary, ...]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last one.")


class BakeEvent(ResponseModel):
    """Something that happened to a bake, or a line of a step's output."""

    id: int
    at: datetime
    type: str = Field(
        description="`queued`, `started`, `cancel_requested`, `clean_up_failed`, `succeeded`, `failed`, `cancelled`; "
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
