"""One word per thing: what other packages call by words of their own, the admin calls as the portal does everywhere."""

from typing import Any

from django.apps import apps
from django.contrib import admin


def call(model: Any, one: str, many: str) -> None:
    """Name a model of another package, or one whose own name is spelt otherwise. No migration comes of it."""
    model._meta.verbose_name, model._meta.verbose_name_plural = one, many


def call_app(label: str, name: str) -> None:
    """Name the room that a package's pages stand in."""
    apps.get_app_config(label).verbose_name = name


def replaced(*models: Any) -> None:
    """Take away the pages that other packages made of these."""
    for model in models:
        if admin.site.is_registered(model):
            admin.site.unregister(model)
