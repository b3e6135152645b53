"""Envelope encryption: what is sealed is opened in its place alone, and by its key alone."""

from __future__ import annotations

import base64

import pytest

from dayfly.domain.security.envelope import KeyRing, Place, Sealed, SecretKey, parse_keys
from dayfly.errors import SecretDamaged, SecretsKeyMissing, SecretsKeyUnusable

KEY, OTHER = SecretKey(bytes(range(32))), SecretKey(bytes(range(32, 64)))
"""The same in each process: ids of tests have them."""
RING = KeyRing((KEY, OTHER))
HERE = Place("secrets", "content", "0123456789ab")
SECRET = "a secret of some length, with \n lines and ünïcode"


def test_a_secret_is_opened_in_its_place() -> None:
    sealed = RING.seal(SECRET, HERE, KEY.id)
    assert RING.open(sealed, HERE) == SECRET
    assert sealed.key_id == KEY.id
    assert SECRET[:12] not in sealed.text
    assert sealed.text not in repr(sealed)
    assert KEY.text not in repr(RING)
    assert sealed.text != RING.seal(SECRET, HERE, KEY.id).text, "equal secrets cannot be recognised"


@pytest.mark.parametrize(
    "there",
    [
        Place("secrets", "content", "another"),
        Place("secrets", "other", HERE.row),
        Place("template_secrets", "content", HERE.row),
        Place("secrets", "content\0" + HERE.row, ""),
    ],
)
def test_a_sealed_text_cannot_be_moved(there: Place) -> None:
    sealed = RING.seal(SECRET, HERE, KEY.id)
    with pytest.raises(SecretDamaged, match="changed outside"):
        RING.open(sealed, there)
    with pytest.raises(SecretDamaged):
        RING.rewrap(sealed, there, OTHER.id)


@pytest.mark.parametrize("part", [2, 3])
def test_a_changed_text_is_refused(part: int) -> None:
    parts = RING.seal(SECRET, HERE, KEY.id).text.split(":")
    content = bytearray(base64.b64decode(parts[part]))
    content[-1] ^= 1
    parts[part] = base64.b64encode(content).decode()
    with pytest.raises(SecretDamaged) as refused:
        RING.open(Sealed(":".join(parts)), HERE)
    assert str(HERE) in refused.value.message
    assert parts[3] not in refused.value.message


@pytest.mark.parametrize(
    "text", ["", "clear", "sealed1:", "sealed2:a:b:c", f"sealed1:{KEY.id}:?:?", f"sealed1:{KEY.id}:YQ==:"]
)
def test_what_is_not_sealed_is_refused(text: str) -> None:
    with pytest.raises(SecretDamaged):
        RING.open(Sealed(text), HERE)


def test_parts_of_two_secrets_do_not_make_a_third() -> None:
    one, two = (RING.seal(SECRET, HERE, KEY.id).text.split(":") for _ in range(2))
    with pytest.raises(SecretDamaged):
        RING.open(Sealed(":".join((*one[:3], two[3]))), HERE)


def test_without_its_key_nothing_is_opened() -> None:
    sealed = RING.seal(SECRET, HERE, OTHER.id)
    with pytest.raises(SecretsKeyMissing, match=OTHER.id):
        KeyRing((KEY,)).open(sealed, HERE)
    with pytest.raises(SecretsKeyMissing):
        KeyRing((KEY,)).seal(SECRET, HERE, OTHER.id)


def test_another_key_encrypts_the_data_key_and_not_the_secret() -> None:
    sealed = RING.seal(SECRET, HERE, KEY.id)
    again = RING.rewrap(sealed, HERE, OTHER.id)
    assert again.key_id == OTHER.id
    assert again.text.split(":")[3] == sealed.text.split(":")[3]
    assert KeyRing((OTHER,)).open(again, HERE) == SECRET
    with pytest.raises(SecretsKeyMissing):
        KeyRing((KEY,)).open(again, HERE)


def test_files_of_keys_are_read() -> None:
    text = f"# the newest\n{KEY.text}\n\n  {OTHER.text}  # the former\n"
    assert parse_keys(text, "the file") == RING
    assert RING.newest == KEY
    assert SecretKey(base64.b64decode(KEY.text)).id == KEY.id
    assert len(KEY.id) == 16


@pytest.mark.parametrize("text", ["", "# nothing\n", "hunter2hunter2", KEY.text[:-4], f"{KEY.text}\nhunter2hunter2"])
def test_what_is_no_file_of_keys_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(SecretsKeyUnusable, match=r"the file.*openssl rand -base64 32") as refused:
        parse_keys(text, "the file")
    assert "hunter2" not in refused.value.message
    assert KEY.text[:12] not in refused.value.message
