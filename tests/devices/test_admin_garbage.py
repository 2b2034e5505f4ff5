"""Forms with fields that are searched for take garbage for what it is: a mistake, beside the field."""

import pytest
from django.contrib import admin
from django.urls import reverse

from devices.tenancy import ROOMS
from tests.factories import StaffFactory

NAMES = ["tenant", "device_type", "device", "site", "groups", "tenants", "sites", "device_types", "user"]
PAGES = [
    reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add")
    for model, page in admin.site._registry.items()
    if model._meta.app_label in ROOMS and page.autocomplete_fields
]


@pytest.mark.django_db
def test_garbage_where_a_row_is_chosen_is_a_mistake_and_no_crash(client, ca):
    client.force_login(StaffFactory(is_superuser=True))
    tried = [address for address in PAGES if client.get(address).status_code == 200]
    assert len(tried) > 5
    for address in tried:
        for garbage in ("zz", "1e9", "9" * 30):
            assert client.post(address, dict.fromkeys(NAMES, garbage)).status_code == 200, (address, garbage)
