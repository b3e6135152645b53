"""The results of each host: results.json beside this file, and the table in deploy/README.md.

python -m tests.hosts.results      copies the results of the stage's last runs to results.json and there
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dayfly.settings import Settings

REPO: Final = Path(__file__).parents[2]
FILE: Final = Path(__file__).with_name("results.json")
README: Final = REPO / "deploy/README.md"
BEGIN, END = "<!-- hosts: begin -->", "<!-- hosts: end -->"
HEAD: Final = "| system | engine | image store | Python | what ran | when |\n|---|---|---|---|---|---|\n"


def record(kind: str, report: dict[str, Any]) -> None:
    """Keep, for `main`, a report in which all trials passed."""
    folder = Settings().cache_dir / "host-results"
    folder.mkdir(parents=True, exist_ok=True)
    entry = {
        "system": report["host"]["system"],
        "engine": f"{report['engine']['name']} {report['engine']['version']} (API {report['engine']['api_version']})",
        "image_store": report["engine"]["image_store"],
        "python": report["host"]["python"],
        "trials": [trial["name"] for trial in report["trials"]],
        "seconds": report["seconds"],
        "date": datetime.now(UTC).date().isoformat(),
    }
    (folder / f"{kind}.json").write_text(json.dumps(entry, indent=2))


def table(results: dict[str, dict[str, Any]]) -> str:
    """That table, with the lines that enclose it."""
    rows = "".join(
        f"| {one['system']} | {one['engine']} | {one['image_store']} | {one['python']} "
        f"| {len(one['trials'])} trials, {one['seconds']:.0f} s | {one['date']} |\n"
        for one in results.values()
    )
    return f"{BEGIN}\n{HEAD}{rows}{END}"


def in_readme(text: str) -> str:
    """The table as deploy/README.md has it."""
    return f"{BEGIN}{text.split(BEGIN, 1)[1].split(END, 1)[0]}{END}"


def main() -> None:
    results = json.loads(FILE.read_text()) if FILE.exists() else {}
    for path in sorted((Settings().cache_dir / "host-results").glob("*.json")):
        results[path.stem] = json.loads(path.read_text())
    results = dict(sorted(results.items()))
    FILE.write_text(json.dumps(results, indent=2) + "\n")
    text = README.read_text()
    README.write_text(text.replace(in_readme(text), table(results)))


if __name__ == "__main__":
    main()
