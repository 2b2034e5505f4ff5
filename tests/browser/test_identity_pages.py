"""The staff's pages about identity as people see them: no error in the console, nothing cut off, light and dark."""

import pytest
from django.urls import reverse

from tests.devices import identities

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
WIDE = """() => document.documentElement.scrollWidth <= document.documentElement.clientWidth ? "" :
  [...document.querySelectorAll("body *")].filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
    .map((each) => each.tagName + "." + each.className).slice(0, 8).join(" ")"""
LOOKS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


def addresses(fleet):
    """Name → address of every page about identity."""
    device = fleet.device
    certificate = device.certificates.order_by("pk")[2]
    found = {
        f"{model}-list": reverse(f"admin:devices_{model}_changelist")
        for model in ("renewal", "approval", "certificate", "claim", "authority", "device")
    }
    found |= {
        f"claim-{kind}": reverse("admin:devices_claim_change", args=[row.pk]) for kind, row in fleet.claims.items()
    }
    return found | {
        "dashboard": reverse("admin:index"),
        "dry-run": reverse("admin:devices_renewal_dry_run") + "?within=30d",
        "renewal": reverse("admin:devices_renewal_change", args=[device.renewals.order_by("-pk")[0].pk]),
        "approval-new-key": reverse("admin:devices_approval_change", args=[fleet.new_key.pk]),
        "approval-by-hand": reverse("admin:devices_approval_change", args=[fleet.by_hand.pk]),
        "certificate": reverse("admin:devices_certificate_change", args=[certificate.pk]),
        "authority": reverse("admin:devices_authority_change", args=[certificate.authority_id]),
        "claim-used": reverse("admin:devices_claim_change", args=[fleet.claim.pk]),
        "claim-add": reverse("admin:devices_claim_add"),
        "device": reverse("admin:devices_device_change", args=[device.pk]),
        "device-certificates": reverse("admin:devices_device_change", args=[device.pk]) + "#certificates",
        "device-replaced": reverse("admin:devices_device_change", args=[fleet.replaced.pk]),
        "replace": reverse("admin:devices_device_replace", args=[device.pk]),
    }


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_page_is_whole_and_quiet(visit, tmp_path, width, scheme):
    found = addresses(identities.fleet())
    page = visit("/admin/", width, scheme)
    origin = page.url.split("/admin/")[0]
    wrong = {}
    for name, address in found.items():
        page.goto(origin + address)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)
        wide = page.evaluate(WIDE)
        if page.errors or wide:
            wrong[name] = (wide, list(page.errors))
        page.errors.clear()
    assert wrong == {}
