"""Looks for the secrets of a run in what the run left: as they are, in base64, in JSON, in URLs and in hexadecimal.

Another kind of secret is one more call of `Secrets.add`.
"""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import select

from dayfly.domain.security.envelope import Sealed
from dayfly.domain.security.redaction import base64_forms
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.store import Store
from dayfly.store.db.tables import metadata

SHORTEST = 12
"""A shorter text may occur anywhere."""


@dataclass
class Secrets:
    """The secrets of a run: what each is, and its text."""

    known: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, text: str) -> None:
        """One secret. Of a text of several lines, each line is one."""
        for number, line in enumerate(text.splitlines()):
            secret = line.strip()
            if len(secret) >= SHORTEST and not secret.startswith("-----"):
                self.known[f"{what}, line {number + 1}"] = secret
        assert any(name.startswith(f"{what}, line ") for name in self.known), f"{what} is too short to be looked for"

    def add_cluster(self, what: str, secrets: ClusterSecrets) -> None:
        """All that a cluster keeps secret: keys, kubeconfigs, the token that nodes join with."""
        self.add(f"{what}: user key", secrets.user_key.private)
        self.add(f"{what}: host key", secrets.host_key.private)
        self.add(f"{what}: bootstrap token", secrets.bootstrap_token.partition(".")[2])
        for path, text in secrets.pki.items():
            if path.endswith(".key"):
                self.add(f"{what}: {path}", text)
            for line in text.splitlines():
                if "client-key-data:" in line:
                    self.add(f"{what}: {path}", line.partition(":")[2].strip())

    def found_in(self, places: Mapping[str, str]) -> list[str]:
        """Each secret that is in a place, in any form."""
        return [
            f"{what} is in {place} ({form})"
            for what, secret in self.known.items()
            for form, text in forms(secret)
            for place, content in places.items()
            if text in content
        ]


def forms(secret: str) -> Iterator[tuple[str, str]]:
    """The texts that show a secret, by name."""
    yield "as it is", secret
    escaped = json.dumps(secret)[1:-1]
    if escaped != secret:
        yield "JSON", escaped
        yield "JSON in JSON", json.dumps(escaped)[1:-1]
    if quote(secret, safe="") != secret:
        yield "URL", quote(secret, safe="")
    yield "hexadecimal", secret.encode().hex()
    for number, encoded in enumerate(base64_forms(secret)):
        yield f"base64, form {number}", encoded
        yield f"base64 for URLs, form {number}", encoded.replace("+", "-").replace("/", "_")


def columns_of(database: Path) -> dict[str, str]:
    """Each column of a SQLite database, with all that it has."""
    found: dict[str, str] = {}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            for name in names:
                rows = connection.execute(f'SELECT "{name}" FROM {table}')  # noqa: S608 - the database's own names
                found[f"{table}.{name}"] = "\n".join(_text(value) for (value,) in rows)
    return found


async def columns_of_store(store: Store) -> dict[str, str]:
    """As columns_of, of a store on either database."""
    found: dict[str, str] = {}
    for table in metadata.sorted_tables:
        async with store._database.read() as connection:
            rows = (await connection.execute(select(table))).all()
        for place, column in enumerate(table.columns):
            found[f"{table.name}.{column.name}"] = "\n".join(_text(row[place]) for row in rows)
    return found


def database_files(database: Path) -> dict[str, str]:
    """A SQLite database's file, its log and the log's index, byte by byte."""
    return {file.name: file.read_bytes().decode("latin-1") for file in database.parent.glob(f"{database.name}*")}


def files_of(bundle: bytes) -> str:
    """All files of a `tar.gz`, as one text."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(bundle))) as archive:
        contents = (archive.extractfile(member) for member in archive.getmembers())
        return "\n".join(content.read().decode(errors="replace") for content in contents if content is not None)


def _text(value: object) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value)
    if isinstance(value, Sealed):
        return value.text
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
