"""Random ids and names of clusters. Not here: whether a name is free (store/clusters/queries.py)."""

from __future__ import annotations

import secrets
from typing import Final

_ADJECTIVES: Final = (
    "amber", "brave", "brisk", "calm", "clever", "coral", "crisp", "daring", "dusty", "early", "fabled", "gentle",
    "golden", "hidden", "humble", "jolly", "keen", "lively", "lucky", "mellow", "misty", "nimble", "noble", "proud",
    "quick", "quiet", "rapid", "silver", "sunny", "swift", "tidy", "vivid",
)  # fmt: skip
_ANIMALS: Final = (
    "badger", "beetle", "bison", "cicada", "condor", "cricket", "curlew", "dayfly", "dolphin", "falcon", "ferret",
    "finch", "gecko", "heron", "hornet", "ibex", "jackal", "kestrel", "lemur", "lynx", "marten", "moth", "newt",
    "otter", "petrel", "plover", "puffin", "raven", "shrew", "stoat", "toad", "weasel",
)  # fmt: skip


def new_id() -> str:
    """12 hexadecimal characters, the first a digit. Names start with a letter, so no name looks like an id."""
    return f"{secrets.randbelow(10)}{secrets.token_hex(6)[1:]}"


def is_id(id_or_name: str) -> bool:
    """Whether `id_or_name` can only be an id."""
    return id_or_name[:1].isdigit()


def new_name() -> str:
    """`quiet-otter-4f2a`."""
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_ANIMALS)}-{secrets.token_hex(2)}"
