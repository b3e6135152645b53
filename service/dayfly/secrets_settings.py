"""The settings of the keys that encrypt the database's secrets. They are settings as all others (settings.py).

Not here: how the keys are read and made (key_sources.py).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

CREDENTIAL: Final = "secrets.key"
"""The name of systemd's credential, and of the file in `state_dir`."""


def _credential() -> Path | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    file = Path(folder) / CREDENTIAL if folder else None
    return file if file is not None and file.exists() else None


class SecretsSettings(BaseSettings):
    """The part of the settings that the keys of secrets have for themselves."""

    secrets_key_file: Path | None = Field(default_factory=_credential)
    """The file of the keys that encrypt the database's secrets, with mode 0600; made at the first start. All processes
    of a database need the same keys. Unset: systemd's credential `secrets.key`, else `secrets.key` in `state_dir`."""
    secrets_key: SecretStr | None = None
    """The keys themselves, as in the file. Others of this host may see a process's environment: prefer the file."""

    @property
    def has_credential(self) -> bool:
        """Whether `secrets_key_file` is systemd's: it says who may read the file, whatever the file's mode."""
        return self.secrets_key_file is not None and self.secrets_key_file == _credential()

    @model_validator(mode="after")
    def _check_one_source(self) -> Self:
        if self.secrets_key is not None and os.environ.get("DAYFLY_SECRETS_KEY_FILE"):
            raise ValueError("DAYFLY_SECRETS_KEY and DAYFLY_SECRETS_KEY_FILE are both set: unset one of them")
        return self
