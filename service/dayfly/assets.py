"""Finds the files that are not Python (migrations/ and provisioning/), in an installed wheel or in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def migrations() -> Path:
    """The folder of alembic's scripts."""
    return _find("migrations")


def provisioning() -> Path:
    """The folder of recipes, roles and entrypoints."""
    return _find("provisioning")


def _find(name: str) -> Path:
    installed, checkout = _PACKAGE / "_assets" / name, _PACKAGE.parent.parent / name
    for candidate in (installed, checkout):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"neither {installed} nor {checkout} exists: this installation of dayfly is incomplete")
