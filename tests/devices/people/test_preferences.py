import pytest

from devices.models import Preference
from devices.people import preferences
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def test_without_a_row_it_is_what_is_usual():
    row = preferences.of(UserFactory())
    assert (row.timezone, row.theme) == ("", "system")
    assert not Preference.objects.exists()


def test_what_was_saved_is_found_again_by_its_person_only():
    user = UserFactory()
    preferences.save(user, "Europe/Berlin", "dark")
    preferences.save(user, "Asia/Tokyo", "light")
    row = preferences.of(user)
    assert (row.timezone, row.theme) == ("Asia/Tokyo", "light")
    assert preferences.of(UserFactory()).timezone == ""
