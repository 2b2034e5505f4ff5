"""Staff in headless Chromium, against the real application on a port of its own."""

import os

import pytest
from django.conf import settings

from fleetportal.mqtt import Rooms
from tests.browser.serving import served
from tests.chromium import chromium
from tests.factories import StaffFactory
from tests.fleetportal.workers import Worker


def is_error(message) -> bool:
    """What a page did wrong. This server speaks no WebSockets: what is live is tested in tests/e2e."""
    return message.type == "error" and "/ws/live" not in message.text + message.location.get("url", "")


@pytest.fixture(scope="package")
def browser():
    """Closed before tests of other folders come: its event loop runs in the thread that prepares the rows."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with chromium() as found:
        yield found
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def staff(transactional_db, ca):
    return StaffFactory(username="sam", first_name="Sam")


@pytest.fixture
def visit(browser, live_server, staff, client):
    """Open a page as staff; what the console says is collected in `page.errors`."""
    contexts = []
    client.force_login(staff)

    def open_page(path, width=1280, scheme="light", script=True):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": client.cookies["sessionid"].value, "url": live_server.url}]
        )
        contexts.append(context)
        page = context.new_page()
        page.errors = []
        page.on("console", lambda message: page.errors.append(message.text) if is_error(message) else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(live_server.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def server(transactional_db):
    with served() as found:
        yield found


@pytest.fixture
def look(browser, server, staff, client):
    """Open a page of the portal as it is served; what the console says is collected in `page.errors`."""
    contexts = []
    client.force_login(staff)

    def open_page(path, width=1280, scheme="light", motion="no-preference"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion=motion
        )
        value = client.cookies[settings.SESSION_COOKIE_NAME].value
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": value, "url": server.url}])
        contexts.append(context)
        page = context.new_page()
        page.errors = []
        page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(server.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def worker():
    """Another process of the portal: the loop of the browser lives in this thread, where nobody may be pushed to."""
    found = Worker()
    yield found
    found.end()


@pytest.fixture
def rooms():
    """The ingest of the portal, that tells browsers."""
    found = Rooms()
    found.start()
    yield found
    found.stop()
