"""What holds for every page of the admin: the strict policy, and nothing inline that it would forbid."""

import re
from html.parser import HTMLParser

import pytest

from tests.factories import TenantFactory, member
from tests.fleetportal import admin_pages, world

pytestmark = pytest.mark.django_db
POLICY = {
    "default-src": "'self'",
    "img-src": "'self' data:",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}


class Inline(HTMLParser):
    """Collects what the policy forbids."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        data = told.get("type", "") in ("application/json", "text/template")
        if tag == "script" and "src" not in told and not data:
            self.found.append("<script>")
        if tag == "style":
            self.found.append("<style>")
        self.found += [f"{tag} {name}=" for name in told if name == "style" or name.startswith("on")]
        self.found += [f"{tag} {value}" for value in told.values() if (value or "").strip().startswith("javascript:")]


def inline(text):
    parser = Inline()
    parser.feed(text)
    return parser.found


def policy(answer):
    parts = [part.strip().partition(" ") for part in answer.headers["Content-Security-Policy"].split(";")]
    return {name: value for name, _, value in parts}


@pytest.fixture
def device(ca):
    return world.add(TenantFactory(name="Acme"))


def test_every_page_has_the_strict_policy_and_nothing_inline(client, device):
    client.force_login(admin_pages.root())
    found = admin_pages.addresses() | admin_pages.extra(device)
    wrong, seen = {}, 0
    for name, address in found.items():
        answer = client.get(address, follow=True)
        forbidden = inline(answer.content.decode())
        if answer.status_code == 403:
            continue  # pages that add what nobody adds by hand
        seen += 1
        if answer.status_code != 200 or policy(answer) != POLICY or forbidden:
            wrong[name] = (address, answer.status_code, forbidden[:5])
    assert wrong == {}
    assert seen > 100


def test_this_finds_what_is_forbidden():
    page = '<style>a{}</style><p style="x" onclick="y"><script>z</script><a href="javascript:1">'
    assert inline(page) == ["<style>", "p style=", "p onclick=", "<script>", "a javascript:1"]
    assert inline('<script src="/static/x.js"></script><script type="application/json">{}</script>') == []


def test_files_are_not_shown_as_pages(client, device):
    client.force_login(admin_pages.root())
    for name, address in admin_pages.addresses(files=True).items():
        answer = client.get(address)
        assert answer.status_code in (200, 404), name
        if answer.status_code == 200:
            assert "text/html" not in answer.headers["Content-Type"], name
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_no_page_is_open_to_customers(client, device):
    """Each page and file, those that a room adds beside Django's own, too."""
    client.force_login(member(device.tenant))
    for name, address in (admin_pages.addresses() | admin_pages.addresses(files=True)).items():
        answer = client.get(address)
        assert answer.status_code in (302, 403, 404), name
        if answer.status_code == 302:
            assert re.match(r"/admin/login/|/$", answer.headers["Location"]), name
        assert device.name not in answer.content.decode(), name
