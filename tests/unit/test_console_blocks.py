"""The reader of console blocks. Not here: running them (tests/e2e/test_console_blocks.py)."""

from __future__ import annotations

from tests.support.console_blocks import Command, console_blocks

DOCUMENT = """\
Text.

```console
$ curl -s here \\
    -d there
HTTP/1.1 202 Accepted
…
{"id":"9f9f6028305c", … ,"seconds":57.75, … }

$ (umask 077; cat it)   # and so on
NAME     AGE   VERSION
node01   56s   v1.20.2
```

```python
no = "console"
```

```console
one --output it     # why
two
```
"""


def test_commands_and_their_outputs_are_found() -> None:
    first, second = console_blocks(DOCUMENT)
    assert [one.text for one in first] == ["curl -s here \\\n    -d there", "(umask 077; cat it)   # and so on"]
    assert first[0].output.startswith("HTTP/1.1 202 Accepted\n…\n")
    assert first[1].output == "NAME     AGE   VERSION\nnode01   56s   v1.20.2\n"
    assert second == (Command("one --output it     # why", ""), Command("two", ""))


def test_ids_numbers_and_ages_may_differ_and_nothing_else_may() -> None:
    (curl, get), _ = console_blocks(DOCUMENT)
    answer = 'HTTP/1.1 202 Accepted\r\ndate: today\r\n\r\n{"id":"0123456789ab","a":1,"seconds":3,"b":[]}'
    assert curl.shows(answer)
    assert not curl.shows(answer.replace("202", "201"))
    assert not curl.shows(answer.replace("seconds", "minutes"))
    assert not curl.shows(answer.replace("0123456789ab", "none"))
    assert get.shows("NAME   AGE     VERSION\nnode01   3m2s    v1.20.2\n")
    assert not get.shows("NAME   AGE     VERSION\nnode01   3m2s    v1.20.3\n")
    assert not get.shows("NAME   AGE     VERSION\nnode01   3m2s    v1.20.2\nnode02   1s    v1.20.2")
    assert Command("true", "").shows("")
