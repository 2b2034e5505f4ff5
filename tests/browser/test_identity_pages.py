"""The staff's pages about identity as people see them: no error in the console, nothing cut off, light and dark."""

import pytest
from django.urls import reverse
from django.utils import timezone

from devices import lifecycle, tokens
from devices.models import Claim, Device, DeviceToken
from tests.devices import identities
from tests.factories import DeviceFactory, DeviceTypeFactory, TenantFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
WIDE = """() => document.documentElement.scrollWidth <= document.documentElement.clientWidth ? "" :
  [...document.querySelectorAll("body *")].filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
    .map((each) => each.tagName + "." + each.className).slice(0, 8).join(" ")"""
_LONG = pytest.mark.browser_long
LOOKS = [
    (1280, "light"),
    pytest.param(1280, "dark", marks=_LONG),
    pytest.param(390, "light", marks=_LONG),
    (390, "dark"),
]


def addresses(fleet):
    """Name → address of every page about identity."""
    device = fleet.device
    certificate = device.certificates.order_by("pk")[2]
    kind, tenant = device.device_type, device.tenant
    registered = lifecycle.register(tenant=tenant, device_type=kind, hardware_id="CL-2044-0002", user=None)
    token, _ = tokens.make(registered, timezone.now())
    found = {
        f"{model}-list": reverse(f"admin:devices_{model}_changelist")
        for model in ("renewal", "approval", "certificate", "claim", "authority", "device", "devicetoken")
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
        "device-add": reverse("admin:devices_device_add"),
        "device-registered": reverse("admin:devices_device_change", args=[registered.pk]),
        "token-add": reverse("admin:devices_devicetoken_add") + f"?device={registered.pk}",
        "token": reverse("admin:devices_devicetoken_change", args=[token.pk]),
        "device-replaced": reverse("admin:devices_device_change", args=[fleet.replaced.pk]),
        "replace": reverse("admin:devices_device_replace", args=[device.pk]),
    }


@pytest.mark.browser_long
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


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_decision_says_what_it_will_do_before_it_does_it(visit, tmp_path, width, scheme):
    fleet = identities.fleet()
    page = visit(reverse("admin:devices_approval_change", args=[fleet.new_key.pk]), width, scheme)
    page.click("button[value=approve]")
    page.screenshot(path=tmp_path / f"decision-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.activeElement.name") == "reason"
    page.keyboard.type("Reset on my bench")
    page.keyboard.press("Enter")
    page.wait_for_url("**/change/")
    page.screenshot(path=tmp_path / f"decided-{width}-{scheme}.png", full_page=True)
    assert page.locator(".messagelist").inner_text() == "Approve: 1 done."
    assert "Reset on my bench" in page.locator("#content").inner_text()
    page.goto(page.url.split("/admin/")[0] + reverse("admin:devices_device_changelist"))
    page.check("#action-toggle")
    page.select_option("select[name=action]", "rotate")
    page.click("button[name=index]")
    page.screenshot(path=tmp_path / f"rotate-{width}-{scheme}.png", full_page=True)
    page.fill("#reason", "Because")
    page.click("input[type=submit].default")
    assert "Renewals opened:" in page.locator(".messagelist").inner_text()
    assert page.errors == []


def fill(page, kind):
    """The form of a claim, as somebody fills it in."""
    page.fill("#id_name", "Line 2")
    for field, row in (("tenant", TenantFactory(name="Acme Foods")), ("device_type", DeviceTypeFactory(name="Pump"))):
        page.evaluate(
            "([field, pk, name]) => document.getElementById(`id_${field}`).append(new Option(name, pk, true, true))",
            [field, str(row.pk), str(row)],
        )
    page.check(f"input[name=kind][value={kind}]")


def test_the_maker_is_asked_for_only_where_it_means_something(visit):
    page = visit(reverse("admin:devices_claim_add"))
    assert [page.check(f"input[name=kind][value={kind}]") or page.locator(".field-maker").is_visible()
            for kind in ("token", "certificate", "maker")] == [False, False, True]  # fmt: skip


@pytest.mark.parametrize(("width", "scheme", "kind"), [(1280, "light", "certificate"), (390, "dark", "token")])
def test_a_secret_is_copied_or_saved_and_then_gone(visit, tmp_path, width, scheme, kind):
    page = visit(reverse("admin:devices_claim_add"), width, scheme)
    fill(page, kind)
    page.click("input[name=_save]")
    secret = page.locator("#secret").text_content()
    claim = Claim.objects.get()
    page.screenshot(path=tmp_path / f"secret-{kind}-{width}-{scheme}.png", full_page=True)
    page.click("[data-copy]")
    page.wait_for_selector("[role=status]:text('Copied')")
    assert page.evaluate("navigator.clipboard.readText()") == secret
    with page.expect_download() as download:
        page.click("[data-save]")
    assert download.value.suggested_filename == f"{claim.prefix}.{'pem' if kind == 'certificate' else 'txt'}"
    assert download.value.path().read_text() == secret
    page.reload()
    assert page.url.endswith(reverse("admin:devices_claim_change", args=[claim.pk]))
    assert secret.splitlines()[-2 if kind == "certificate" else 0] not in page.content()
    assert Claim.objects.count() == 1
    page.go_back()
    assert page.locator("#secret").count() == 0
    assert page.errors == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_rotated_tokens_are_each_copied_or_saved_and_then_gone(visit, tmp_path, width, scheme):
    for name in ("Freezer 3", "Freezer 4"):
        tokens.make(DeviceFactory(name=name), timezone.now())
    page = visit(reverse("admin:devices_devicetoken_changelist"), width, scheme)
    page.check("#action-toggle")
    page.select_option("select[name=action]", "rotate")
    page.click("button[name=index]")
    page.fill("#reason", "Yearly")
    page.click("input[type=submit].default")
    blocks = page.locator(".secret pre")
    shown = [blocks.nth(number).text_content() for number in range(blocks.count())]
    page.screenshot(path=tmp_path / f"rotated-{width}-{scheme}.png", full_page=True)
    assert (len(set(shown)), page.evaluate(WIDE)) == (2, "")
    for number, token in enumerate(shown):
        page.locator("[data-copy]").nth(number).click()
        page.locator(".secret [role=status]").nth(number).filter(has_text="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == token
        with page.expect_download() as download:
            page.locator("[data-save]").nth(number).click()
        assert download.value.suggested_filename == f"{tokens.check(token, timezone.now()).prefix}.txt"
        assert download.value.path().read_text() == token
    page.reload()
    assert page.url.endswith(reverse("admin:devices_devicetoken_changelist"))
    assert [token for token in shown if token in page.content()] == []
    assert DeviceToken.objects.count() == 4
    assert page.errors == []


def test_a_secret_can_be_read_without_script(visit):
    page = visit(reverse("admin:devices_claim_add"))
    fill(page, "token")
    cookies = page.context.cookies()
    told = page.evaluate("Object.fromEntries(new FormData(document.getElementById('claim_form')))")
    page = visit(reverse("admin:devices_claim_add"), script=False)
    page.context.add_cookies(cookies)
    answer = page.request.post(page.url, form=told, headers={"Referer": page.url})
    page.set_content(answer.text())
    assert page.locator("#secret").is_visible()
    assert not page.locator("[data-copy]").is_visible()


def test_new_hardware_is_typed_once_even_when_it_is_refused(visit, tmp_path):
    fleet = identities.fleet()
    page = visit(reverse("admin:devices_device_replace", args=[fleet.device.pk]))
    page.fill("#id_hardware_id", "CL-2041-0100")
    page.fill("#id_reason", "Water damage")
    taken = Device.objects.get(hardware_id="CL-2041-0100")
    lifecycle.decommission(taken, "", None, timezone.now())
    page.click("input[type=submit].default")
    page.screenshot(path=tmp_path / "replace-refused.png", full_page=True)
    assert "cannot take this device's place" in page.locator(".messagelist").inner_text()
    assert page.input_value("#id_reason") == "Water damage"
    page.fill("#id_hardware_id", "CL-2044-0001")
    page.click("input[type=submit].default")
    page.screenshot(path=tmp_path / "replaced.png", full_page=True)
    assert "took the place of" in page.locator(".messagelist").inner_text()
    assert page.errors == []
