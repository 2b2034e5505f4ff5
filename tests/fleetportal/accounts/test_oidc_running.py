"""An app against a portal that really runs: from discovery to the end of a family, and many who refresh at once."""

import threading

import httpx
import pytest
from allauth.idp.oidc.models import Token
from authlib.integrations.base_client.errors import OAuthError

from devices.people import families
from tests.browser.serving import served
from tests.factories import DeviceFactory, TenantFactory, member
from tests.fleetportal.accounts.apps import Portal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def portal(transactional_db, settings):
    with served() as server:
        settings.PORTAL_URL = server.url
        yield Portal(server.url, runs=True)


@pytest.fixture
def person():
    return member(TenantFactory(), "viewer")


def test_an_app_signs_in_reads_refreshes_and_ends_with_a_replay(portal, person):
    device = DeviceFactory(tenant=person.memberships.get().tenant)
    app = portal.app()
    assert app.told["issuer"] == portal.url
    first = app.sign_in(portal.person(person))
    assert app.claims(first["id_token"])["sub"] == app.claims(first["access_token"])["sub"] == str(person.pk)
    assert device.device_id in app.api(first["access_token"]).text
    second = app.refresh(first["refresh_token"])
    assert app.api(second["access_token"]).status_code == 200
    with pytest.raises(OAuthError, match="invalid_grant"):
        app.refresh(first["refresh_token"])
    with pytest.raises(OAuthError, match="invalid_grant"):
        app.refresh(second["refresh_token"])
    assert app.api(second["access_token"]).status_code == 401


def test_many_at_once_leave_one_that_is_good(portal, person):
    app = portal.app()
    first = app.sign_in(portal.person(person))
    got, start = [], threading.Barrier(6)

    def refresh():
        told = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"], "client_id": app.app.pk}
        start.wait()
        got.append(httpx.post(app.told["token_endpoint"], data=told, timeout=30))

    threads = [threading.Thread(target=refresh) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.status_code for each in got] == [200] * 6
    tokens = {families.digest(told): told for told in (each.json()["refresh_token"] for each in got)}
    assert len(tokens) == 6
    live = Token.objects.get(type="rt").hash
    assert live in tokens
    assert Token.objects.filter(type="at", data__beside=live).count() == 1
    dead = next(told for digest, told in tokens.items() if digest != live)
    with pytest.raises(OAuthError, match="invalid_grant"):
        app.refresh(dead)  # somebody else has one of the answers
    assert not Token.objects.exists()
