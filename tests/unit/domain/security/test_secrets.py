"""No text contains a cluster's secrets, complete or in part."""

from __future__ import annotations

import base64
import json
import textwrap
from datetime import UTC, datetime

import pytest

from dayfly.domain.security.redaction import base64_forms
from dayfly.domain.security.secrets import ClusterSecrets, fork_secrets, new_secrets
from tests.support.specs import make_spec

SECRETS = new_secrets(make_spec(workers=1, kubernetes=True), datetime(2026, 1, 1, tzinfo=UTC))


def test_every_secret_goes_whole_and_line_by_line() -> None:
    keys = [SECRETS.user_key.private, SECRETS.host_key.private]
    keys += [text for path, text in SECRETS.pki.items() if path.endswith(".key")]
    assert len(keys) > 10
    for key in keys:
        assert "PRIVATE KEY" not in SECRETS.redact(f"it is {key}")
        secret_lines = [line for line in key.splitlines() if len(line) > 16 and "-----" not in line]
        for line in secret_lines:
            assert SECRETS.redact(f"begins {line} ends") == "begins [secret] ends"


def test_a_key_that_is_cut_off_goes_as_far_as_it_is_there() -> None:
    assert SECRETS.redact("cat ca.key\n" + SECRETS.pki["pki/ca.key"][:100]) == "cat ca.key\n[private key]"


def test_kubeconfigs_lose_their_keys_and_nothing_else() -> None:
    shown = SECRETS.redact(SECRETS.pki["admin.conf"])
    assert "client-key-data: [secret]" in shown
    assert base64.b64encode(SECRETS.pki["pki/ca.crt"].encode()).decode() in shown


def test_the_token_goes_and_so_does_its_secret_half() -> None:
    public, _, secret = SECRETS.bootstrap_token.partition(".")
    shown = SECRETS.redact(f"--token {SECRETS.bootstrap_token} id {public} secret {secret}")
    assert shown == f"--token [token] id {public} secret [token]"


def test_a_cluster_without_kubernetes_has_secrets_too_and_other_texts_stay_as_they_are() -> None:
    bare = new_secrets(make_spec(), datetime(2026, 1, 1, tzinfo=UTC))
    kept = ClusterSecrets.model_validate_json(bare.model_dump_json())
    text = f"node01 login: {bare.user_key.public} 52:55:00:d1:55:01\n"
    assert kept.redact(text) == text
    assert kept == bare, "what is remembered of a redaction is no part of the secrets"


def test_a_fork_has_what_its_template_has_in_memory_and_keys_of_its_own() -> None:
    later = datetime(2026, 2, 1, tzinfo=UTC)
    one, other = fork_secrets(SECRETS, later), fork_secrets(SECRETS, later)
    for fork in (one, other):
        assert fork.bootstrap_token == SECRETS.bootstrap_token
        changed = {path for path, text in SECRETS.pki.items() if fork.pki[path] != text}
        assert fork.pki.keys() == SECRETS.pki.keys()
        assert changed == {path for path in SECRETS.pki if path.startswith("clients/")}
    for attribute in ("user_key", "host_key"):
        assert len({getattr(each, attribute).private for each in (SECRETS, one, other)}) == 3
    assert "[secret]" in one.redact(one.user_key.private.splitlines()[2]), "what is redacted is its own, too"


def test_a_fork_of_plain_machines_has_no_pki() -> None:
    bare = new_secrets(make_spec(), datetime(2026, 1, 1, tzinfo=UTC))
    assert fork_secrets(bare, datetime(2026, 2, 1, tzinfo=UTC)).pki == {}


def test_redaction_covers_keys_in_base64_wherever_they_are_in_a_text() -> None:
    for key in (SECRETS.user_key.private, SECRETS.pki["pki/ca.key"], SECRETS.bootstrap_token.partition(".")[2]):
        for before in (b"", b"a", b"ab", b"abc"):
            text = base64.b64encode(before + key.encode() + b" and more").decode()
            assert any(form in text for form in base64_forms(key))
            redacted = SECRETS.redact(f"data: {text}\n")
            assert "[secret]" in redacted
            assert not [form for form in base64_forms(key) if form in redacted]


def encodings(key: str) -> dict[str, str]:
    """A key as tools print it within other texts."""
    document = json.dumps({"apiVersion": "v1", "data": {"key": key}})
    wrapped = base64.encodebytes(b"x" + key.encode()).decode()
    return {
        "JSON": document,
        "JSON in JSON": json.dumps({"log": document}),
        "JSON with escaped slashes": document.replace("/", "\\/"),
        "JSON in base64": base64.b64encode(document.encode()).decode(),
        "JSON in base64 for URLs": base64.urlsafe_b64encode(document.encode()).decode(),
        "base64 in lines of 76": wrapped,
        "base64 in lines, in JSON": json.dumps({"data": wrapped}),
        "base64 in indented lines": textwrap.indent(wrapped, "    "),
        "base64 of other ends of lines": base64.b64encode(key.replace("\n", "\r\n").encode()).decode(),
        "base64 of a part": base64.b64encode(key[40:].encode()).decode(),
    }


@pytest.mark.parametrize("name", encodings(""))
def test_redaction_covers_keys_within_base64_and_json(name: str) -> None:
    for key in (SECRETS.user_key.private, SECRETS.pki["pki/ca.key"], SECRETS.pki["pki/sa.key"]):
        text = encodings(key)[name]
        redacted = SECRETS.redact(f"before {text} after")
        assert redacted.startswith("before "), "what is no secret stays"
        assert redacted.endswith(" after")
        squeezed = "".join(redacted.replace("\\n", "").replace("\\", "").split())
        lines = [line for line in key.splitlines() if len(line) > 16 and "-----" not in line]
        for secret in (form for line in lines for form in (line, *base64_forms(line))):
            assert secret not in squeezed
            assert secret.replace("+", "-").replace("/", "_") not in squeezed


def test_what_is_redacted_is_one_mark_and_texts_around_stay() -> None:
    key = SECRETS.user_key.private
    text = base64.b64encode(key.encode()).decode()
    shown = SECRETS.redact(f"a {text} words between\n\tboth \\n {key.splitlines()[2]} b")
    assert shown.count("[secret]") == 2
    assert "words between\n\tboth \\n [secret] b" in shown
    plain = "C:\\new\\table  with\ttabs and\\nescapes " * 50
    assert SECRETS.redact(plain) == plain
