"""Runs pip for another Python version: `python pip_for.py VERSION pip's-arguments…`.

`pip download --python-version` selects wheels for VERSION, but evaluates markers of dependencies
(`; python_version < "3.13"`) for the running Python. This script evaluates markers for VERSION, too.
"""

from __future__ import annotations

import runpy
import sys

from pip._vendor.packaging import markers


def main() -> None:
    version = sys.argv.pop(1)
    own = markers.default_environment
    minor = ".".join(version.split(".")[:2])
    markers.default_environment = lambda: (
        own()
        | {
            "python_version": minor,
            "python_full_version": version,
            "implementation_version": version,
        }
    )
    sys.argv[0] = "pip"
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
