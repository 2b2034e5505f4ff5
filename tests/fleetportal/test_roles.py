import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.core.management.sql import emit_post_migrate_signal

from devices.tenancy import ROOMS
from fleetportal.roles import ROLES

pytestmark = pytest.mark.django_db
MADE_BY_DEVICES = {"event", "certificate", "presence", "reading", "latest", "deadletter", "authority", "finding"}
KEPT = MADE_BY_DEVICES | {"device"}


def codenames(role):
    return set(Group.objects.get(name=role).permissions.values_list("codename", flat=True))


def ours():
    models = [m for room in ROOMS if apps.is_installed(room) for m in apps.get_app_config(room).get_models()]
    return {model._meta.model_name for model in models if not model._meta.auto_created}


def test_a_fresh_installation_gives_every_role_the_sight_of_every_model_of_every_room():
    Group.objects.all().delete()
    Permission.objects.all().delete()
    emit_post_migrate_signal(verbosity=0, interactive=False, db="default")
    for role in ROLES:
        assert {f"view_{model}" for model in ours()} <= codenames(role)


@pytest.mark.parametrize("role", ROLES)
def test_no_role_deletes_evidence_or_makes_what_devices_make(role):
    powers = codenames(role)
    assert {f"delete_{model}" for model in KEPT} & powers == set()
    assert {f"add_{model}" for model in MADE_BY_DEVICES} & powers == set()


@pytest.mark.parametrize("role", ROLES)
def test_no_role_reaches_beyond_the_rooms(role):
    """Making users or giving permissions would be making oneself an administrator."""
    labels = Group.objects.get(name=role).permissions.values_list("content_type__app_label", flat=True)
    assert set(labels) <= set(ROOMS)


def test_support_changes_nothing():
    assert {name.split("_")[0] for name in codenames("Support")} == {"view"}


def test_only_some_may_hand_out_claims():
    assert {role for role in ROLES if "add_claim" in codenames(role)} == {"Fleet operator", "Security officer"}


def test_only_those_who_run_devices_register_them():
    assert {role for role in ROLES if "add_device" in codenames(role)} == {"Fleet operator"}


def test_powers_somebody_added_by_hand_are_taken_back_with_the_next_release():
    Group.objects.get(name="Support").permissions.add(Permission.objects.get(codename="delete_device"))
    emit_post_migrate_signal(verbosity=0, interactive=False, db="default")
    assert "delete_device" not in codenames("Support")


def test_every_named_model_exists():
    named = {model for verbs in ROLES.values() for models in verbs.values() for model in models}
    assert named <= ours()
