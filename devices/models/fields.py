"""Column rules shared by rows."""

from django.core.validators import RegexValidator
from django.db import models

from devices import contract

validate_part = RegexValidator(
    rf"\A{contract.PART}\Z", "Lower-case letters, digits, - and _; it is a part of the MQTT topic and cannot change."
)

MAX_HARDWARE_ID = 100
HARDWARE_ID_RULE = f"A hardware id has 1 to {MAX_HARDWARE_ID} printable characters."


def is_hardware_id(text: str) -> bool:
    """May a device be known by it? Every door that takes one asks here: another one could never join."""
    return 0 < len(text) <= MAX_HARDWARE_ID and text.isprintable()


def is_part(field: str) -> models.Q:
    """Database side of `validate_part`, so that no door can write a name that breaks a topic."""
    return models.Q(**{f"{field}__regex": rf"^{contract.PART}$"})
