"""Prints the contract: `python -m dayfly.api.openapi > openapi.json`. A test compares the committed file."""

from __future__ import annotations

import json
import sys

from dayfly.api.app import bare_app


def document() -> str:
    """The OpenAPI document as text, with sorted keys for small diffs."""
    return json.dumps(bare_app().openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
