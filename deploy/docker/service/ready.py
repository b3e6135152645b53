"""The API's health check in a container: exit code 0 if /readyz answers 200. Standard library only: it runs often."""

from __future__ import annotations

import os
import ssl
import sys
import urllib.error
import urllib.request

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here


def main() -> int:
    address = os.environ.get("DAYFLY_LISTEN_ADDRESS", "127.0.0.1")
    host = _ANY.get(address, address)
    scheme = "http" if os.environ.get("DAYFLY_TLS", "off") in {"", "off"} else "https"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{os.environ.get('DAYFLY_LISTEN_PORT', '8700')}/readyz"
    try:
        # Ignore the operator's proxy settings. The certificate may be for other names, and nothing secret is sent.
        https = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())  # noqa: S323, SLF001
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
        with opener.open(url, timeout=5) as answer:
            return 0 if answer.status == 200 else 1
    except (urllib.error.URLError, OSError) as error:
        print(f"{url}: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
