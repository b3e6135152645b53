"""A stand-in for e2e.test: it takes the same options, and writes reports as ginkgo 1.11 does."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conformance.e2e import EndToEnd

Ends = Mapping[str, str]
"""How each spec ends: pass, fail, fail once, skip, hang, crash, unfit; `meet` passes beside another spec, `alone`
beside none."""

_STAND_IN = """#!{python}
import json, os, pathlib, re, signal, sys, time
from xml.sax.saxutils import quoteattr

here = pathlib.Path(sys.argv[0]).parent
options = dict(one.lstrip("-").partition("=")[::2] for one in sys.argv[1:])
ends = json.loads((here / "ends.json").read_text())
focused = [name for name in ends if re.search(options["ginkgo.focus"], "Kubernetes e2e suite [Top Level] " + name)]
dry = "ginkgo.dryRun" in options
lines = []
if not dry:
    (here / "environment.json").write_text(json.dumps(dict(os.environ)))
    with (here / "calls").open("a") as calls:
        calls.write("".join(name + "\\n" for name in focused))


def write():
    head = '<?xml version="1.0" encoding="UTF-8"?>\\n  <testsuite name="Kubernetes e2e suite" tests="1" failures="0">'
    text = head + "".join(lines) + "</testsuite>"
    (pathlib.Path(options["report-dir"]) / "junit_01.xml").write_text(text)


def fail(message):
    return '<failure type="Failure">k8s.io/kubernetes/test/e2e/a.go:1\\n' + message + '\\nk8s.io/b.go:2</failure>'


def interrupt(*_):
    lines.append('<testcase name=%s classname="x" time="1.5">%s</testcase>' % (quoteattr(focused[0]), fail("SIGINT")))
    write()
    sys.exit(1)


signal.signal(signal.SIGINT, interrupt)
for name, end in ends.items():
    inner = ""
    if name not in focused:
        inner = "<skipped></skipped>"
    elif not dry:
        if end == "unfit" or (end == "unfit once" and not (here / "prepared").exists()):
            lines.append('<testcase name="BeforeSuite" classname="x" time="0.1">' + fail("nodes are not ready")
                         + '</testcase>')
            write()
            sys.exit(1)
        if end == "crash":
            print("panic: no report")
            sys.exit(2)
        running = here / "running" / str(os.getpid())
        running.parent.mkdir(exist_ok=True)
        running.touch()
        others = lambda: len(list(running.parent.iterdir())) - 1
        while end == "meet" and not others() and not (here / "met").exists():
            time.sleep(0.01)
        if end == "meet":
            (here / "met").touch()
        if end == "alone" and others():
            sys.exit(3)
        running.unlink()
        if end == "hang":
            (here / "hangs").touch()
            signal.pause()
        if end == "fail once" and (here / "calls").read_text().splitlines().count(name) > 1:
            end = "pass"
        inner = {{"fail": fail("it broke"), "fail once": fail("it broke"), "skip": "<skipped></skipped>"}}.get(end, "")
    lines.append('<testcase name=%s classname="x" time="1.5">%s</testcase>' % (quoteattr(name), inner))
write()
sys.exit("<failure" in "".join(lines))
"""


@pytest.fixture
def make_end_to_end(tmp_path: Path) -> Callable[[Ends], EndToEnd]:
    """`tmp_path` has the stand-in, and `calls`, the specs that ran."""

    def make(ends: Ends) -> EndToEnd:
        program = tmp_path / "e2e.test"
        program.write_text(_STAND_IN.format(python=sys.executable))
        program.chmod(0o755)
        (tmp_path / "ends.json").write_text(json.dumps(dict(ends)))
        return EndToEnd(program, tmp_path / "kubectl", tmp_path / "results", spec_seconds=30)

    return make
