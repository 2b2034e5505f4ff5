"""One maker, several tenants: by which claim a device joins that was born with a certificate."""

from datetime import timedelta

import pytest

from devices import admission, callers, claims
from devices.approvals import Waiting
from devices.errors import ProvisioningError
from devices.models import Claim, Device, DeviceType, Tenant
from tests.devices import peers
from tests.devices.makers import Maker
from tests.factories import DeviceFactory, DeviceTypeFactory, TenantFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ca")]
SN = "SN-0001"


class Shop:
    """Claims of tenants for a maker's devices, made in the order they are named in.

    "a logger" is a claim of tenant a for loggers; "a logger listed" has a list with the device on it, "a logger others"
    one without; "full", "expired" and "revoked" are what they say.
    """

    def __init__(self, *named):
        self.maker = Maker()
        self.claims = {name: self.claim(*name.split()) for name in named}

    def claim(self, tenant, kind, *marks):
        lists = {"listed": ["SN-9", SN], "others": ["SN-9"]}
        claim, _ = claims.make_claim(
            tenant=row(TenantFactory, Tenant, tenant),
            device_type=row(DeviceTypeFactory, DeviceType, kind),
            name="c",
            max_devices=2,
            lifetime=timedelta(days=-1 if "expired" in marks else 1),
            now=self.maker.now,
            kind="maker",
            maker=self.maker.row,
            hardware_ids=next((lists[mark] for mark in marks if mark in lists), None),
        )
        if "full" in marks:
            Claim.objects.filter(pk=claim.pk).update(uses=2)
        if "revoked" in marks:
            claims.revoke(claim, "", None, self.maker.now)
        return claim

    def chosen(self, kind, hardware_id=SN):
        """The name of the claim, or the code of the refusal."""
        try:
            found = claims.of_maker(self.maker.born(), kind, hardware_id, self.maker.now)
        except ProvisioningError as error:
            return error.code
        return next((name for name, claim in self.claims.items() if claim == found), None)


def row(factory, model, slug):
    return model.objects.filter(slug=slug).first() or factory(slug=slug)


def has(tenant, kind, **more):
    """A device that a tenant has."""
    tenant, kind = row(TenantFactory, Tenant, tenant), row(DeviceTypeFactory, DeviceType, kind)
    return DeviceFactory(tenant=tenant, device_type=kind, hardware_id=SN, **more)


@pytest.mark.parametrize(
    ("named", "known", "chosen"),
    [
        # whose it is
        (["a logger", "b logger"], None, "claim_ambiguous"),
        (["a logger listed", "b logger"], None, "a logger listed"),
        (["a logger listed", "b logger others"], None, "a logger listed"),
        (["a logger", "b logger others"], None, "a logger"),
        (["a logger listed", "b logger listed"], None, "claim_ambiguous"),
        (["a logger listed", "b logger listed revoked"], None, "a logger listed"),
        # a tenant's device stays its device
        (["a logger", "b logger"], "a", "a logger"),
        (["a logger", "b logger listed"], "a", "a logger"),
        (["a logger full", "b logger listed"], "a", "a logger full"),
        (["a logger expired", "b logger"], "a", "a logger expired"),
        (["a logger others", "b logger"], "a", "a logger others"),
        (["a logger", "a logger others", "b logger"], "a", "a logger"),
        (["a logger expired", "a logger others", "b logger"], "a", "a logger expired"),
        (["a logger revoked", "b logger"], "a", "b logger"),
        (["a logger", "b logger"], "c", "claim_ambiguous"),
        # of the same tenant, the newest that is open
        (["a logger", "a logger full"], None, "a logger"),
        (["a logger", "a logger expired"], None, "a logger"),
        (["a logger expired", "a logger full"], None, "a logger full"),
        (["a logger listed", "a logger"], None, "a logger listed"),
        (["a logger", "a logger listed expired"], None, "a logger"),
        (["a logger full", "a logger listed expired"], None, "a logger full"),
        # what is closed takes nobody from another, and gives nobody away
        (["a logger", "b logger full"], None, "a logger"),
        (["a logger", "b logger expired"], None, "a logger"),
        (["a logger listed", "b logger listed expired"], None, "a logger listed"),
        (["a logger listed full", "b logger"], None, "a logger listed full"),
        (["a logger listed expired", "b logger"], None, "a logger listed expired"),
        # there is nothing better: the device hears why
        (["a logger full"], None, "a logger full"),
        (["a logger full", "b logger full"], None, "claim_ambiguous"),
        (["a logger expired", "b logger expired"], None, "b logger expired"),
        (["a logger others", "b logger others"], None, "b logger others"),
        (["a logger revoked"], None, None),
        (["a pump"], None, None),
        (["a logger", "b pump listed"], None, "a logger"),
    ],
    ids=str,
)
def test_by_which_claim_a_device_of_a_named_type_joins(named, known, chosen):
    shop = Shop(*named)
    if known:
        has(known, "logger")
    assert shop.chosen("logger") == chosen


@pytest.mark.parametrize(
    ("named", "known", "chosen"),
    [
        (["a logger", "a pump"], None, "claim_ambiguous"),
        (["a logger listed", "a pump"], None, "a logger listed"),
        (["a logger listed", "a pump listed"], None, "claim_ambiguous"),
        (["a logger", "a pump others"], None, "a logger"),
        (["a logger", "a pump full"], None, "a logger"),
        (["a logger", "a pump", "b pump listed"], "a", "a logger"),
        (["a logger full", "a pump"], "a", "a logger full"),
        (["a pump", "b logger"], "a", "claim_ambiguous"),
        (["a logger listed full", "a pump"], None, "a logger listed full"),
    ],
    ids=str,
)
def test_by_which_claim_a_device_joins_that_names_no_type(named, known, chosen):
    shop = Shop(*named)
    if known:
        has(known, "logger")
    assert shop.chosen("") == chosen


@pytest.mark.parametrize("hardware_id", ["", "\0", "SN\0", "x" * 101, "SN-9" + " " * 200], ids=ascii)
def test_what_no_device_can_be_called_is_nobodys(hardware_id):
    assert Shop("a logger", "b logger others").chosen("logger", hardware_id) == "a logger"


def test_choosing_takes_the_same_few_questions_however_many_claims_there_are(django_assert_max_num_queries):
    shop = Shop("b logger", "a logger listed full", *[f"a logger others {number}" for number in range(20)])
    with django_assert_max_num_queries(4):
        assert shop.chosen("logger") == "a logger listed full"


def test_a_device_that_comes_again_with_a_new_key_is_its_tenants_whoever_made_the_newest_claim():
    shop = Shop("a logger", "b logger")
    device = has("a", "logger")
    caller = callers.MakerCaller(shop.maker.born(), SN)
    asked = admission.Application(peers.csr().encode(), device_type="logger")
    answer = admission.admit(caller, asked, shop.maker.now)
    assert isinstance(answer, Waiting), "somebody has to approve the new key; it is not refused as another tenant's"
    assert Device.objects.get() == device


def test_a_device_nobody_can_tell_whose_it_is_hears_what_staff_must_do():
    shop = Shop("a logger", "b logger")
    asked = admission.Application(peers.csr().encode(), device_type="logger")
    with pytest.raises(ProvisioningError, match="staff must add allow-lists") as error:
        admission.admit(callers.MakerCaller(shop.maker.born(), SN), asked, shop.maker.now)
    assert (error.value.code, error.value.status) == ("claim_ambiguous", 409)
    Claim.objects.filter(pk=shop.claims["a logger"].pk).update(hardware_ids=[SN])
    admission.admit(callers.MakerCaller(shop.maker.born(), SN), asked, shop.maker.now)
    assert Device.objects.get().tenant.slug == "a"
