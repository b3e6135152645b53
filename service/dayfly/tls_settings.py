"""The settings of TLS. They are settings as all others (settings.py). Not here: what is done with them (tls/)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator
from pydantic_settings import BaseSettings


class TlsSettings(BaseSettings):
    """The part of the settings that the API's TLS has for itself."""

    tls: Literal["off", "files", "authority"] = "off"
    """TLS of the API and of workers' metrics. `files`: `tls_certificate` and `tls_key`; `authority`: certificates of an
    authority that the service makes at its first start, in the folder tls of `state_dir`, and whose fingerprint callers
    pin; `off`: plain HTTP, for loopback and behind a proxy."""
    tls_certificate: Path | None = None
    """A PEM file with the certificate and its chain. Read again when it changes."""
    tls_key: Path | None = None
    """The PEM file of its key, without a password; unset: `tls_certificate` has the key, too."""

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        if self.tls == "files" and self.tls_certificate is None:
            raise ValueError("DAYFLY_TLS=files needs DAYFLY_TLS_CERTIFICATE")
        if self.tls != "files" and (self.tls_certificate is not None or self.tls_key is not None):
            raise ValueError(
                f"DAYFLY_TLS is {self.tls}: DAYFLY_TLS_CERTIFICATE and DAYFLY_TLS_KEY are for DAYFLY_TLS=files"
            )
        return self
