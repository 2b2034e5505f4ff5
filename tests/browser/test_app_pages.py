"""A person allows an app in a browser, sees it among their tokens, makes a token, and takes both away."""

import pytest

from tests.factories import DeviceFactory, TenantFactory, member
from tests.fleetportal.accounts.apps import BACK, Portal, register

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def person(transactional_db, client):
    user = member(TenantFactory(name="Acme Cold Chain"), "operator", username="ann")
    client.force_login(user)
    return user


@pytest.fixture
def staff(person):
    """Who the browser is signed in as."""
    return person


@pytest.fixture
def portal(server, settings):
    settings.PORTAL_URL = server.url
    return Portal(server.url, runs=True)


def test_an_app_is_allowed_works_and_loses_its_access(look, portal, person, tmp_path):
    device = DeviceFactory(tenant=person.memberships.get().tenant)
    app = portal.app(register(name="Cold Watch"))
    page = look("/tokens/", width=390, scheme="dark")
    page.route(f"{BACK}*", lambda route: route.fulfill(body="back in the app"))
    page.goto(app.address())
    page.screenshot(path=tmp_path / "consent-phone-dark.png", full_page=True)
    page.get_by_role("button", name="Allow", exact=True).press("Enter")
    page.wait_for_url(f"{BACK}?*")
    tokens = app.exchange(page.url)
    assert device.device_id in app.api(tokens["access_token"]).text
    page.goto(f"{portal.url}/tokens/")
    page.get_by_label("What is it for?").fill("Nightly report")
    page.get_by_label("See devices, where they are").check()
    page.get_by_role("button", name="Make the token").click()
    token = page.get_by_label("The token").input_value()
    assert app.api(token).status_code == 200
    page.screenshot(path=tmp_path / "tokens-phone-dark.png", full_page=True)
    page.get_by_role("button", name="Revoke Nightly report").click()
    page.get_by_role("button", name="Take access away from Cold Watch").click()
    page.get_by_text("No app acts for you.").wait_for()
    assert app.api(token).status_code == 401
    assert app.api(tokens["access_token"]).status_code == 401
    assert page.errors == []
