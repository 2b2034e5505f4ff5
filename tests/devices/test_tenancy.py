"""Rows by membership: every model of ours, every kind of user."""

import uuid

import pytest
from django.apps import apps
from django.contrib.auth.models import AnonymousUser
from django.core.checks.registry import registry
from django.db import models, transaction
from django.test.utils import isolate_apps
from django.utils import timezone

from devices import approvals, certificates, claims, evidence, pki, tenancy
from devices.models import (
    Approval,
    Authority,
    Claim,
    Device,
    DeviceToken,
    Event,
    Finding,
    Group,
    MaintenanceWindow,
    Membership,
    Renewal,
    Site,
    Suppression,
)
from devices.people import access
from devices.tenancy import COMPANY, PERSONAL, ROOMS, ScopedQuerySet
from operations.models import CheckedKey, ConnectionMinute
from telemetry.models import DeadLetter, Latest, Reading
from telemetry.tables import partitions
from tests.devices import peers
from tests.devices.people import rows as people
from tests.factories import DeviceFactory, SchemaFactory, StaffFactory, UserFactory, member, put_back
from tests.fleetportal import world
from tests.telemetry import rows as telemetry_rows

MODELS = [model for room in ROOMS if apps.is_installed(room) for model in apps.get_app_config(room).get_models()]
OURS = [model for model in MODELS if not model._meta.auto_created]
COMPANYS = [model for model in OURS if model.tenant_path == COMPANY]
PERSONALS = [model for model in OURS if model.tenant_path == PERSONAL]
TENANTS = [model for model in OURS if model.tenant_path not in (COMPANY, PERSONAL)]


def populate() -> Device:
    """A device whose tenant has a row of every model that can belong to one."""
    device = DeviceFactory()
    now, tenant = timezone.now(), device.tenant
    person = member(tenant)
    people.add_all(tenant, person, now)
    Site.objects.create(tenant=tenant, name="here")
    group = Group.objects.create(tenant=tenant, name="all")
    MaintenanceWindow.objects.create(group=group, weekdays="1", starts="02:00", minutes=60)
    claim = claims.of_token(peers.claim_token(tenant, device.device_type))
    people.sell(device, claim, person, now)
    request = pki.read_request(peers.csr().encode())
    approvals.seek(claim, "new", request, Approval.Cause.CLAIM, now)
    certificate = certificates.issue(device, request, now)
    Renewal.objects.create(device=device, certificate=certificate, next_attempt_at=now)
    CheckedKey.objects.create(certificate=certificate, algorithm="P-256", bits=256)
    DeviceToken.objects.create(device=device, prefix=f"fpd_{device.pk}", token_hash="h", expires_at=now)
    Suppression.objects.create(kind="quiet", device=device, reason="r", expires_at=now)
    evidence.record("tested", device=device)
    evidence.find("tested", "x", device_pk=device.pk)
    schema = SchemaFactory(device_type=device.device_type)
    reading = {"device": device, "ts": now, "received_at": now, "schema": schema, "metrics": [1.0]}
    Reading.objects.create(msg_id=uuid.uuid4(), **reading)
    Latest.objects.create(**reading)
    DeadLetter.objects.create(
        digest="d" * 60 + str(device.pk)[-4:], topic="t", payload=b"", size=0, reason="r", detail="d", device=device,
        first_received_at=now, received_at=now,
    )  # fmt: skip
    telemetry_rows.add_all(device, schema, now)
    world.roll_out(device, group)
    return device


@pytest.fixture(scope="module")
def rows(_authorities, django_db_blocker):
    """The same kinds of rows for two tenants, and rows of the company itself; made once, gone after this module."""
    with django_db_blocker.unblock(), transaction.atomic():
        put_back(_authorities)
        partitions.make_ahead(timezone.now())
        pair = populate(), populate()
        evidence.record("of the company")
        ConnectionMinute.objects.create(minute=timezone.now())
        evidence.find("of_the_company", "x")
        yield pair
        transaction.set_rollback(True)


@pytest.fixture
def tenants(rows, db):
    return rows


@pytest.mark.django_db
@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
class TestEveryModel:
    def test_anonymous_people_see_nothing(self, tenants, model):
        assert model.objects.exists()
        assert list(model.objects.visible_to(AnonymousUser())) == []

    def test_nobody_at_all_sees_nothing(self, tenants, model):
        assert list(model.objects.visible_to(None)) == []

    def test_customers_without_a_membership_see_nothing(self, tenants, model):
        assert list(model.objects.visible_to(UserFactory())) == []

    def test_inactive_members_and_inactive_staff_see_nothing(self, tenants, model):
        gone = member(tenants[0].tenant, is_active=False)
        assert list(model.objects.visible_to(gone)) == []
        assert list(model.objects.visible_to(StaffFactory(is_active=False))) == []

    def test_active_staff_see_every_row_that_is_no_persons_own(self, tenants, model):
        if model in PERSONALS:
            assert list(model.objects.visible_to(StaffFactory())) == []
            return
        assert model.objects.visible_to(StaffFactory()).count() == model.objects.count()

    def test_a_superuser_who_is_not_staff_sees_no_more_than_a_customer(self, tenants, model):
        assert list(model.objects.visible_to(UserFactory(is_superuser=True))) == []


@pytest.mark.django_db
@pytest.mark.parametrize("model", TENANTS, ids=lambda model: model._meta.label)
def test_members_see_each_row_of_their_tenant_once_and_no_row_of_another(tenants, model):
    for device in tenants:
        DeviceFactory(tenant=device.tenant, device_type=device.device_type)  # a path through many must not double
    mine, foreign = (model.objects.visible_to(member(device.tenant)).values_list("pk", flat=True) for device in tenants)
    mine, foreign = list(mine), list(foreign)
    assert mine
    assert foreign
    assert len(mine) == len(set(mine))
    assert set(mine) & set(foreign) == set()
    path = model.tenant_path
    assert set(mine) == set(model.objects.filter(**{path: tenants[0].tenant_id}).values_list("pk", flat=True))


@pytest.mark.django_db
@pytest.mark.parametrize("model", PERSONALS, ids=lambda model: model._meta.label)
def test_people_see_their_own_and_nobody_elses(tenants, model):
    row = model.objects.first()
    assert list(model.objects.visible_to(row.user)) == [row]
    stranger = StaffFactory(is_superuser=True)
    assert list(model.objects.visible_to(stranger)) == []


@pytest.mark.django_db
@pytest.mark.parametrize("model", TENANTS, ids=lambda model: model._meta.label)
def test_a_credential_of_one_tenant_shows_no_row_of_another_its_person_sees(tenants, model):
    user = member(tenants[0].tenant, is_staff=True)
    Membership.objects.create(user=user, tenant=tenants[1].tenant, role="viewer")
    access.confine(user, tenants[0].tenant_id)
    own = set(model.objects.filter(**{model.tenant_path: tenants[0].tenant_id}).values_list("pk", flat=True))
    assert own
    assert set(model.objects.visible_to(user).values_list("pk", flat=True)) == own


@pytest.mark.django_db
@pytest.mark.parametrize("model", COMPANYS, ids=lambda model: model._meta.label)
def test_the_companys_rows_are_shown_to_no_customer(tenants, model):
    assert list(model.objects.visible_to(member(tenants[0].tenant))) == []


@pytest.mark.django_db
def test_rows_without_a_device_or_tenant_are_the_companys(tenants):
    customer = member(tenants[0].tenant)
    assert not Event.objects.visible_to(customer).filter(kind="of the company").exists()
    assert not Finding.objects.visible_to(customer).filter(kind="of_the_company").exists()


@pytest.mark.django_db
def test_a_member_of_two_tenants_sees_both(tenants):
    user = member(tenants[0].tenant)
    Membership.objects.create(user=user, tenant=tenants[1].tenant, role="viewer")
    assert set(Device.objects.visible_to(user)) == set(tenants)


@pytest.mark.django_db
def test_scope_joins_other_conditions(tenants):
    user = member(tenants[0].tenant)
    assert Device.objects.filter(device_id=tenants[1].device_id).visible_to(user).count() == 0
    assert Device.objects.visible_to(user).filter(device_id=tenants[1].device_id).count() == 0
    assert Claim.objects.none().visible_to(user).count() == 0


def errors_of(**attributes) -> list[str]:
    """What the system check says of a model with these attributes."""
    with isolate_apps("devices"):
        body = {"__module__": __name__, "Meta": type("Meta", (), {"app_label": "devices"})} | attributes
        model = type("Probe", (models.Model,), body)
        return [error.id for error in tenancy._errors(model, apps.get_model("devices", "Tenant"))]


def device_key():
    return models.ForeignKey(Device, models.PROTECT, related_name="+")


def scoped():
    return ScopedQuerySet.as_manager()


def test_our_models_pass_the_system_check():
    assert tenancy.check_tenant_paths() == []


def test_the_system_check_refuses_a_model_that_does_not_say_whose_it_is():
    assert errors_of(objects=scoped()) == ["tenancy.E001"]


def test_the_system_check_does_not_accept_an_inherited_answer():
    class Base:
        tenant_path = COMPANY

    with isolate_apps("devices"):
        meta = type("Meta", (), {"app_label": "devices"})
        model = type("Probe", (Base, models.Model), {"__module__": __name__, "Meta": meta, "objects": scoped()})
        assert [e.id for e in tenancy._errors(model, apps.get_model("devices", "Tenant"))] == ["tenancy.E001"]


def test_the_system_check_refuses_a_manager_that_cannot_be_scoped():
    assert errors_of(tenant_path=COMPANY, objects=models.Manager()) == ["tenancy.E002"]
    assert errors_of(tenant_path=COMPANY) == ["tenancy.E002"]


@pytest.mark.parametrize("path", ["tenant", "device", "device__site", "device__nothing", "device__tenant__name", ""])
def test_the_system_check_refuses_a_path_that_does_not_end_at_the_tenant(path):
    assert errors_of(tenant_path=path, device=device_key(), objects=scoped()) == ["tenancy.E003"]


def test_the_system_check_refuses_what_is_personal_and_nobodys():
    assert errors_of(tenant_path=PERSONAL, objects=scoped()) == ["tenancy.E004"]
    assert errors_of(tenant_path=PERSONAL, user=device_key(), objects=scoped()) == ["tenancy.E004"]


def test_the_system_check_accepts_a_path_that_ends_at_the_tenant():
    assert errors_of(tenant_path="device__tenant", device=device_key(), objects=scoped()) == []
    assert errors_of(tenant_path=COMPANY, objects=scoped()) == []


def test_the_check_is_one_that_django_runs():
    assert tenancy.check_tenant_paths in registry.registered_checks
    assert Authority in OURS
