"""Column rules shared by rows."""

from django.core.validators import RegexValidator
from django.db import models

from devices import contract

validate_part = RegexValidator(
    rf"\A{contract.PART}\Z", "Lower-case letters, digits, - and _; it is a part of the MQTT topic and cannot change."
)


def is_part(field: str) -> models.Q:
    """Database side of `validate_part`, so that no door can write a name that breaks a topic."""
    return models.Q(**{f"{field}__regex": rf"^{contract.PART}$"})
