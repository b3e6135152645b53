"""The add-on ingress: requests to a port that the host publishes reach Services by host and path, over TLS as well.

Not here: the rules of hosts and paths (kubernetes/programs/ingress).
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.e2e.addons.change import working
from tests.e2e.addons.ingresses import PATIENCE_SECONDS, addresses, apply, asked, await_answer, ingress, path, rule
from tests.e2e.lab import INGRESS, Lab
from tests.support.certificates import Signed, signed_for
from tests.support.guest import until

pytestmark = pytest.mark.kubernetes

ADDON: Final = "ingress"
MANIFESTS: Final = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def addon(shared_lab: Lab) -> Iterator[None]:
    """The cluster has the add-on; afterwards nothing is left of it, not even an address in an Ingress that stays."""
    lab = shared_lab
    with working(lab, ADDON):
        yield
        apply(lab, ingress("stays", rule("stays.example", path("/", "closed", 80))))
        until("an Ingress has the address", lambda: addresses(lab, "stays") or None, seconds=PATIENCE_SECONDS)
    try:
        assert addresses(lab, "stays") == []
    finally:
        lab.kubectl("delete", "ingress", "stays")


@pytest.fixture(scope="module")
def sold(shared_lab: Lab) -> Iterator[None]:
    """The objects of shops.yaml are gone after the last test."""
    yield
    shared_lab.kubectl("delete", "pods,services", "-l", "app=shop", "--now")


@pytest.fixture
def shops(lab: Lab, web: dict[str, str], sold: None) -> None:
    """The objects of shops.yaml; `web` has pushed their image."""
    lab.kubectl("apply", "-f", str(MANIFESTS / "shops.yaml"))
    lab.kubectl("wait", "pod", "-l", "app=shop", "--for=condition=Ready", "--timeout=200s", timeout=220)


def test_hosts_and_paths_lead_to_services(lab: Lab, shops: None) -> None:
    by_path = rule("shops.example", path("/", "books", 80), path("/a", "wines", "web"), path("/closed", "closed", 80))
    apply(lab, ingress("shops", by_path, rule("*.wines.example", path("/", "wines", 8000))))
    try:
        await_answer(lab, "shops.example", "/index.html", (200, "books"))
        assert asked(lab, "shops.example", "/a/index.html") == (200, "wines a")
        assert asked(lab, "red.wines.example", "/a/index.html") == (200, "wines a")
        statuses = {
            ("shops.example", "/closed"): 503,
            ("other.example", "/index.html"): 404,
            ("old.red.wines.example", "/index.html"): 404,
        }
        for (host, where), status in statuses.items():
            assert asked(lab, host, where)[0] == status, (host, where)
        assert addresses(lab, "shops") == [INGRESS.address]
        # An update takes effect, and so does the end of the Ingress.
        apply(lab, ingress("shops", rule("shops.example", path("/", "wines", "web"))))
        await_answer(lab, "shops.example", "/index.html", (200, "wines"))
    finally:
        lab.kubectl("delete", "ingress", "shops")
    until(
        "nothing answers",
        lambda: True if asked(lab, "shops.example", "/index.html")[0] == 404 else None,
        seconds=PATIENCE_SECONDS,
    )


def test_the_name_of_the_handshake_chooses_the_certificate(lab: Lab, shops: None) -> None:
    books, wines = signed_for("books.example"), signed_for("wines.example")
    items = [
        secret("books-tls", books),
        secret("wines-tls", wines),
        ingress("books", rule("books.example", path("/", "books", 80)), tls={"books-tls": ["books.example"]}),
        ingress("wines", rule("wines.example", path("/", "wines", "web")), tls={"wines-tls": ["wines.example"]}),
    ]
    apply(lab, *items)
    try:
        await_answer(lab, "books.example", "/index.html", (200, "books"), books)
        await_answer(lab, "wines.example", "/index.html", (200, "wines"), wines)
        with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
            asked(lab, "books.example", "/index.html", wines)
        with pytest.raises(httpx.ConnectError, match=r"(?i)unrecognized.name"):
            asked(lab, "other.example", "/index.html", books)
    finally:
        lab.kubectl("delete", "ingress/books", "ingress/wines", "secret/books-tls", "secret/wines-tls")


def test_an_ingress_that_cannot_be_served_is_reported_and_stops_no_other(lab: Lab, shops: None) -> None:
    apply(
        lab,
        ingress("bad", rule("bad.example", path('/a"; return 200 "x', "books", 80))),
        ingress("good", rule("good.example", path("/", "books", 80))),
    )
    try:
        await_answer(lab, "good.example", "/index.html", (200, "books"))
        message = until("the bad one is reported", lambda: warning(lab, "bad"), seconds=PATIENCE_SECONDS)
        assert "does not begin with /, or has a character that URLs do not allow" in message
        assert asked(lab, "bad.example", "/a")[0] == 404
    finally:
        lab.kubectl("delete", "ingress/bad", "ingress/good")


def secret(name: str, signed: Signed) -> dict[str, Any]:
    texts = {"tls.crt": signed.certificate, "tls.key": signed.key}
    data = {key: b64encode(text.encode()).decode() for key, text in texts.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/tls",
        "data": data,
    }


def warning(lab: Lab, name: str) -> str | None:
    """The message of the program's event about an Ingress."""
    selector = f"involvedObject.name={name},reason=Rejected"
    events = json.loads(lab.kubectl("get", "events", "--field-selector", selector, "-o", "json"))["items"]
    return str(events[0]["message"]) if events else None
