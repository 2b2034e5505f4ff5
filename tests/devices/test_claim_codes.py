"""Claim codes: who bought a device makes it theirs by what is printed on it."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from agent import enroll, identity
from agent.backoff import Backoff
from devices import claim_codes, claims, enrollment
from devices.approvals import Waiting
from devices.errors import DomainError
from devices.models import Claim, ClaimCode, Device, Event
from devices.people import access
from tests.devices import peers
from tests.factories import DeviceFactory, DeviceTypeFactory, StaffFactory, TenantFactory, UserFactory, member
from tests.fleetportal import world
from tests.fleetportal.workers import workers

pytestmark = pytest.mark.django_db
NOW = timezone.now()
HERE = "192.0.2.7"


@pytest.fixture(autouse=True)
def _no_guesses():
    cache.clear()


@pytest.fixture
def kind():
    return DeviceTypeFactory(slug="logger", name="Logger")


@pytest.fixture
def token(kind):
    return peers.claim_token(TenantFactory(slug="stock"), kind)


@pytest.fixture
def claim(token):
    return claims.of_token(token)


@pytest.fixture
def staff():
    return StaffFactory()


@pytest.fixture
def buyer():
    """A tenant with an owner."""
    tenant = TenantFactory(slug="acme")
    return tenant, member(tenant)


def made(claim, hardware_id="SN-1", staff=None):
    return claim_codes.make(claim, hardware_id, staff, NOW)[1]


def refusal(call, *args, **kwargs):
    with pytest.raises(DomainError) as error:
        call(*args, **kwargs)
    return error.value.code, error.value.status


def test_who_knows_the_code_gets_the_device_and_it_is_told(claim, staff, buyer):
    tenant, owner = buyer
    code = made(claim, staff=staff)
    device = claim_codes.redeem(code, tenant, owner, NOW, " Cold room ")
    row = ClaimCode.objects.get()
    assert (device.tenant, device.state, device.name, device.hardware_id) == (tenant, "registered", "Cold room", "SN-1")
    assert (row.device, row.redeemed_by, row.redeemed_at) == (device, owner, NOW)
    told = Event.objects.filter(kind__startswith="claim_code.").order_by("pk").values_list("kind", "tenant", "user")
    assert list(told) == [
        ("claim_code.made", claim.tenant_id, staff.pk),
        ("claim_code.redeemed", tenant.pk, owner.pk),
    ]


def test_nothing_keeps_the_code_itself(claim, staff):
    code = made(claim, staff=staff)
    kept = str(list(ClaimCode.objects.values())) + str(list(Event.objects.values()))
    assert code not in kept and claim_codes.normal(code) not in kept


@pytest.mark.parametrize("write", [str.lower, lambda code: code.replace("-", ""), lambda code: f" {code} \n"])
def test_it_may_be_written_as_people_write(claim, buyer, write):
    assert claim_codes.redeem(write(made(claim)), *buyer, NOW)


def test_letters_that_look_like_digits_are_taken_for_them():
    assert claim_codes.normal("oooo-iiii-llll-abcd") == "000011111111ABCD"
    assert {claim_codes.normal(each) for each in ("", "ABCD", "U" * 16, "\0" * 16, "é" * 16, "1" * 17)} == {""}


@pytest.mark.parametrize("code", ["", "ABCD-ABCD-ABCD-ABCD", "\0", "x" * 5000])
def test_an_unknown_code_is_unknown(claim, buyer, code):
    made(claim)
    assert refusal(claim_codes.redeem, code, *buyer, NOW) == ("code_unknown", 404)
    assert not Device.objects.exists()


def test_a_code_is_good_once(claim, buyer):
    code = made(claim)
    claim_codes.redeem(code, *buyer, NOW)
    other = TenantFactory()
    assert refusal(claim_codes.redeem, code, other, member(other), NOW) == ("code_used", 409)
    assert Device.objects.get().tenant == buyer[0]


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_gets_it(claim):
    code = made(claim)
    people = [(tenant, member(tenant)) for tenant in (TenantFactory(), TenantFactory())]
    start, said = threading.Barrier(2), []

    def ask(number):
        start.wait()
        try:
            claim_codes.redeem(code, *people[number], NOW)
            said.append("redeemed")
        except DomainError as error:
            said.append(error.code)

    with workers(2) as both:
        for asking in [worker.begin(ask, number) for number, worker in enumerate(both)]:
            asking.result(timeout=30)
    assert sorted(said) == ["code_used", "redeemed"]
    assert Device.objects.count() == 1


def test_a_revoked_code_is_good_for_nothing_until_it_is_made_anew(claim, staff, buyer):
    code = made(claim)
    row = ClaimCode.objects.get()
    assert claim_codes.revoke(row, "lost", staff, NOW)
    assert not claim_codes.revoke(row, "lost", staff, NOW)
    assert refusal(claim_codes.redeem, code, *buyer, NOW) == ("code_revoked", 409)
    again = made(claim)
    assert refusal(claim_codes.redeem, code, *buyer, NOW) == ("code_unknown", 404)
    device = claim_codes.redeem(again, *buyer, NOW)
    row.refresh_from_db()
    assert not claim_codes.revoke(row, "too late", staff, NOW)
    assert row.device == device and Event.objects.filter(kind="claim_code.revoked", reason="lost").count() == 1


@pytest.mark.parametrize("role", ["viewer", None])
def test_who_may_add_nothing_gets_nothing(claim, buyer, role):
    user = member(buyer[0], role) if role else UserFactory()
    assert refusal(claim_codes.redeem, made(claim), buyer[0], user, NOW) == ("permission_denied", 403)


def test_operators_and_staff_may_and_a_credential_only_with_its_scope(claim, buyer):
    tenant, owner = buyer
    assert claim_codes.redeem(made(claim, "SN-1"), tenant, member(tenant, "operator"), NOW)
    assert claim_codes.redeem(made(claim, "SN-2"), tenant, world.staff("Fleet operator"), NOW)
    refused = refusal(claim_codes.redeem, made(claim, "SN-3"), tenant, world.staff("Support"), NOW)
    reading = access.Credential("token", "fpa_x", frozenset({"devices:read"}))
    writing = access.Credential("token", "fpa_y", frozenset({"devices:write"}))
    assert refused == ("permission_denied", 403)
    assert refusal(claim_codes.redeem, made(claim, "SN-4"), tenant, owner, NOW, auth=reading)[1] == 403
    assert claim_codes.redeem(made(claim, "SN-5"), tenant, owner, NOW, auth=writing)


def test_guesses_are_few_for_a_person_and_more_for_an_address(claim, buyer):
    code = made(claim)
    for _ in range(settings.CLAIM_CODE_GUESSES):
        assert refusal(claim_codes.look, "1" * 16, buyer[1], NOW, address=HERE)[0] == "code_unknown"
    assert refusal(claim_codes.look, code, buyer[1], NOW, address=HERE) == ("too_many_guesses", 429)
    colleague = member(buyer[0])
    assert claim_codes.look(code, colleague, NOW, address=HERE)
    for number in range(settings.CLAIM_CODE_GUESSES * claim_codes.ADDRESS_FACTOR):
        person = UserFactory.build(pk=10_000 + number)
        refusal(claim_codes.look, "1" * 16, person, NOW, address=HERE)
    assert refusal(claim_codes.look, code, colleague, NOW, address=HERE) == ("too_many_guesses", 429)
    assert claim_codes.look(code, colleague, NOW, address="192.0.2.8")


def test_who_knows_codes_adds_as_many_as_they_like(claim, buyer):
    for number in range(settings.CLAIM_CODE_GUESSES + 2):
        claim_codes.redeem(made(claim, f"SN-{number}"), *buyer, NOW, address=HERE)
    assert Device.objects.count() == settings.CLAIM_CODE_GUESSES + 2


def test_codes_are_made_for_what_can_join(claim, staff):
    DeviceFactory(device_type=claim.device_type, hardware_id="SN-known")
    made(claim, "SN-1")
    assert refusal(made, claim, "SN-1") == ("code_made", 409)
    assert refusal(made, claim, "SN-known") == ("hardware_id_taken", 409)
    assert refusal(made, claim, "\0") == ("hardware_id", 400)
    assert refusal(claim_codes.make_many, claim, map(str, range(501)), staff, NOW) == ("too_many", 400)
    other = claims.of_token(peers.claim_token(TenantFactory(), claim.device_type, hardware_ids=["SN-2"]))
    assert refusal(made, other, "SN-1") == ("claim_other_hardware", 409)
    assert refusal(claim_codes.make_many, other, ["SN-2", "SN-1"], staff, NOW)[1] == 409
    assert ClaimCode.objects.count() == 1


def test_a_device_whose_claim_has_ended_is_not_sold(claim, buyer):
    code = made(claim)
    Claim.objects.update(revoked_at=NOW)
    assert refusal(claim_codes.redeem, code, *buyer, NOW) == ("claim_revoked", 409)
    assert refusal(made, Claim.objects.get(), "SN-9") == ("claim_revoked", 409)


# --- what the device sees --------------------------------------------------------------------------------------------
def join(token, csr, hardware_id="SN-1"):
    return enrollment.enroll(claims.of_token(token), "logger", hardware_id, csr.encode(), timezone.now())


def test_a_device_waits_for_its_owner_and_joins_their_tenant(ca, token, claim, buyer):
    code, csr = made(claim), peers.csr()
    assert isinstance(join(token, csr), Waiting)
    assert not Device.objects.exists()
    device = claim_codes.redeem(code, *buyer, NOW)
    first, again = join(token, csr), join(token, csr)
    assert (first.device, first.device.tenant, first.created) == (device, buyer[0], True)
    assert again.certificate == first.certificate and not again.created
    device.refresh_from_db()
    assert (device.state, device.claim) == ("active", claim)
    assert isinstance(join(token, peers.csr()), Waiting)  # a new key of it waits for approval, as everywhere


def test_where_a_claim_has_codes_nothing_joins_without_one(ca, token, claim, staff):
    made(claim)
    claim_codes.revoke(ClaimCode.objects.get(), "", staff, NOW)
    assert isinstance(join(token, peers.csr(), "SN-1"), Waiting)
    assert isinstance(join(token, peers.csr(), "made up"), Waiting)
    assert not Device.objects.exists()


def test_somebody_elses_claim_does_not_let_it_in(ca, claim, kind, buyer):
    claim_codes.redeem(made(claim), *buyer, NOW)
    theirs = peers.claim_token(TenantFactory(), kind)
    assert refusal(join, theirs, peers.csr()) == ("hardware_id_taken", 409)


@pytest.mark.django_db(transaction=True)
def test_the_reference_agent_waits_at_the_real_door_and_goes_to_work(
    ca, https_door, token, claim, buyer, tmp_path, caplog
):
    code = made(claim)
    csr = identity.request(tmp_path, "SN-1")

    async def ask():
        async with enroll.client(https_door.url, https_door.ca_file) as http:
            application = enroll.Application(token, "logger", "SN-1", csr)
            return await enroll.enroll(http, application, Random(1), Backoff(first=0.05, cap=0.2))

    caplog.set_level(logging.INFO, "agent.enroll")
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(asyncio.run, ask())
        peers.eventually(lambda: "waits for approval" in caplog.text, what="the device is told to wait")
        device = claim_codes.redeem(code, *buyer, NOW)
        enrolled = answer.result(timeout=30)
    assert (enrolled.device_id, enrolled.tenant) == (device.device_id, "acme")
    device.refresh_from_db()
    assert device.state == "active"
