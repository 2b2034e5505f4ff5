"""The database lets an e-mail address sign in one active person."""

from importlib import import_module

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction

from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def test_of_one_active_person_in_whatever_letters():
    first = UserFactory(email="ann@example.com")
    with pytest.raises(IntegrityError, match="user_one_address"), transaction.atomic():
        UserFactory(email="Ann@Example.com")
    other = UserFactory(email="Ann@example.com", is_active=False)
    with pytest.raises(IntegrityError), transaction.atomic():
        type(other).objects.filter(pk=other.pk).update(is_active=True)
    type(first).objects.filter(pk=first.pk).update(is_active=False)
    type(other).objects.filter(pk=other.pk).update(is_active=True)


def test_nobody_needs_one():
    assert [UserFactory().email, UserFactory().email] == ["", ""]


def test_people_who_share_one_are_named_before_anything_is_changed():
    migration = import_module("devices.migrations.0008_one_address")
    migration.check(apps, None)
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX user_one_address")
    UserFactory(email="ann@example.com")
    UserFactory(email="ANN@example.com")
    UserFactory(email="bob@example.com", is_active=False)
    UserFactory(email="bob@example.com")
    with pytest.raises(ValueError, match=r"active people.*: ann@example\.com\. Give each"):
        migration.check(apps, None)
