"""Renders templates of provisioning/ansible by Ansible's own engine, with the variables that a bake gives.

No task of a role runs: only its defaults and templates are used. Not here: what the files must say.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

import yaml

from dayfly import assets
from dayfly.images.recipe import Recipe

ROLES: Final = assets.provisioning() / "ansible" / "roles"
FAMILIES: Final[Mapping[str, Mapping[str, str]]] = {
    "apt": {"distribution": "Debian", "os_family": "Debian", "pkg_mgr": "apt"},
    "dnf": {"distribution": "Fedora", "os_family": "RedHat", "pkg_mgr": "dnf5"},
}
"""A family's facts, as far as roles use them."""
ADDRESSES: Final[Mapping[str, Any]] = yaml.safe_load((ROLES / "bake_addresses/defaults/main.yml").read_text())[
    "bake_addresses_default"
]

# In a process of its own: Ansible changes the locale and the warnings of its process.
_SCRIPT: Final = """
import json, sys
from pathlib import Path
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

def trusted(value):
    if isinstance(value, dict):
        return {key: trusted(one) for key, one in value.items()}
    if isinstance(value, list):
        return [trusted(one) for one in value]
    return trust_as_template(value) if isinstance(value, str) else value

init_plugin_loader([])
asked = json.load(sys.stdin)
loader, found = DataLoader(), {}
for name, source, item in asked["wanted"]:
    engine = Templar(loader, variables=trusted(asked["variables"]) | {"item": item})
    text = source
    if not source.startswith("{{"):
        engine = engine.copy_with_new_env(searchpath=[str(Path(source).parent)])
        text = Path(source).read_text()
    # As the module `template` does.
    overrides = "" if text == source else "#jinja2: trim_blocks: True, keep_trailing_newline: True\\n"
    result = engine.template(trust_as_template(overrides + text), escape_backslashes=not overrides)
    found[name] = result if isinstance(result, str) else json.dumps(result)
json.dump(found, sys.stdout)
"""


def render(
    recipe: Recipe,
    templates: Mapping[str, str],
    *,
    addresses: Mapping[str, Any] | None = None,
    family: str = "apt",
    items: tuple[str, ...] = ("",),
) -> dict[str, str]:
    """The name of each template, with `:ITEM` for each of `items` but the empty one → the rendered text.

    `templates`: a name → a file below roles/, or an expression between {{ }}, whose value is in JSON.
    """
    variables: dict[str, Any] = {}
    for path in sorted(ROLES.glob("*/defaults/main.yml")):
        variables |= yaml.safe_load(path.read_text())
    variables |= recipe.vars | {"ansible_facts": FAMILIES[family]}
    variables["bake_addresses_used"] = {**ADDRESSES, **(addresses or {})}
    wanted = [
        (f"{name}:{item}" if item else name, source if source.startswith("{{") else str(ROLES / source), item)
        for name, source in templates.items()
        for item in items
    ]
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input=json.dumps({"variables": variables, "wanted": wanted}),
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found
