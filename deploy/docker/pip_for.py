"""Runs pip for another Python than the one that runs it: `python pip_for.py VERSION pip's-arguments…`.

`pip download --python-version` chooses wheels by VERSION, but decides by the Python that runs it which dependencies
there are (`; python_version < "3.13"`). Here both are VERSION.
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
