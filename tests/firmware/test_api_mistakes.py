"""The way to the first mistake in a document, whatever shape the mistakes have."""

import pytest
from rest_framework.exceptions import ErrorDetail

from firmware.api.base import mistake

E = ErrorDetail("No.")


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ({"name": [E]}, ("$.name", "No.")),
        ({"gates": {"burn_rate": [E]}}, ("$.gates.burn_rate", "No.")),
        ({"stages": {"1": {"percent": [E]}}}, ("$.stages[1].percent", "No.")),
        ([{}, {"a": [E]}], ("$[1].a", "No.")),
        ({"non_field_errors": [E]}, ("$", "No.")),
        ([E], ("$", "No.")),
        (E, ("$", "No.")),
        ({}, ("$", "{}")),
    ],
)
def test_leads_to_it(detail, expected):
    assert mistake(detail) == expected
