"""Every link and button on the pages about identity leads somewhere: followed as a browser would, from the page."""

import re
from urllib.parse import urljoin

import pytest
from django.utils import timezone

from devices import certificates
from devices.models import Authority
from tests.devices import identities
from tests.devices.desk import Desk, queued, url
from tests.factories import DeviceTypeFactory, SiteFactory, TenantFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk(client, django_capture_on_commit_callbacks, ca):
    queued()
    return Desk(client, django_capture_on_commit_callbacks, "Security officer")


@pytest.fixture
def device(ca):
    now, tenant = timezone.now(), TenantFactory(name="Acme")
    claim, _ = identities.make_claim(
        tenant, DeviceTypeFactory(), "Batch 7", now, site=SiteFactory(tenant=tenant), approve_by_hand=False
    )
    device = identities.join(claim, "hw-1", now)
    certificates.seen(device.certificates.get(), "A birth", now)
    identities.renew(device, now)
    return device


def links(address: str, html: str) -> set[str]:
    """Where the main part of a page leads, as a browser understands it; not what signs somebody out."""
    main = html[html.index('id="content"') :]
    found = {urljoin(f"http://testserver{address}", each) for each in re.findall(r'href="([^"#]+)"', main)}
    return {each.removeprefix("http://testserver") for each in found if each.startswith("http://testserver/admin/")}


@pytest.mark.parametrize("page", ["device", "certificate", "claim", "renewal", "authority"])
def test_every_link_of_a_page_leads_somewhere(desk, device, page):
    row = {
        "device": device,
        "certificate": device.certificates.first(),
        "claim": device.claim,
        "renewal": device.renewals.get(),
        "authority": Authority.objects.get(kind="issuing"),
    }[page]
    for address in (url(page, "change", row.pk), url(page, "changelist")):
        told = desk.client.get(address)
        assert told.status_code == 200
        for link in links(address, told.content.decode()):
            followed = desk.client.get(link, follow=True)
            # People are the administrators' business: the page says so, instead of being lost.
            assert followed.status_code == 200 or "/auth/user/" in link, f"{address} leads to {link}"
