"""The import contracts of pyproject.toml hold."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

REPO = Path(__file__).parents[2]


def test_every_contract_is_kept() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([lint, "--no-cache"], cwd=REPO, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_has_its_layer() -> None:
    """A new package outside all layers would escape the contracts."""
    contracts = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layered = {
        name.strip()
        for contract in contracts
        if contract.get("containers") == ["dayfly"]
        for line in contract["layers"]
        for name in line.split("|")
    }
    modules = {entry.stem for entry in (REPO / "service" / "dayfly").iterdir() if not entry.name.startswith("_")}
    stand_beneath_all = {
        "addresses",
        "assets",
        "bake_settings",
        "clock",
        "concurrency",
        "errors",
        "metrics",
        "py",
        "secrets_settings",
        "setting_types",
        "settings",
        "telemetry",
        "tls_settings",
    }
    stands_alone = {"client"}
    assert modules - layered - stand_beneath_all == stands_alone
