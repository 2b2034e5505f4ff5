"""Fields of the admin's forms say what to know of them."""

import pytest
from django.contrib import admin
from django.test import RequestFactory

from devices.tenancy import ROOMS
from tests.factories import StaffFactory

pytestmark = pytest.mark.django_db
PLAIN: set[tuple[str, str]] = set()
"""Fields whose label says it all."""


def test_every_field_somebody_may_doubt_has_a_help_text():
    request = RequestFactory().get("/")
    request.user = StaffFactory()
    silent, seen = set(), 0
    for model, page in admin.site._registry.items():
        if model._meta.app_label not in ROOMS or model._meta.model_name == "schema":  # an editor of its own
            continue
        forms = []
        if page.has_add_permission(request):
            forms.append(page.get_form(request, None))
        if page.has_change_permission(request):
            forms.append(page.get_form(request, model(), change=True))
        lines = list(page.get_formsets_with_inlines(request))
        forms += [formset.form for formset, _ in lines]
        parents = {formset.fk.name for formset, _ in lines}
        for form in forms:
            for name, field in form.base_fields.items():
                seen += 1
                if name not in parents and not field.help_text and not field.widget.is_hidden:
                    silent.add((model._meta.label_lower, name))
    assert seen > 50
    assert sorted(silent - PLAIN) == []
    assert PLAIN - silent == set(), "these have one now: take them off the list"
