"""The API's page: what an address leads to is open, a word finds operations, and it fits a phone."""

import pytest

pytestmark = pytest.mark.browser


def test_an_operation_is_found_and_opened(visit):
    page = visit("/api/docs/#create_export", width=390, scheme="dark")
    assert page.locator("#create_export .docs-text").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert not page.locator("#list_devices .docs-text").is_visible()
    page.fill("[data-find]", "series")
    assert page.locator("#get_series").is_visible()
    assert not page.locator("#create_export").is_visible()
    page.click("#get_series > summary")
    assert "curl" in page.locator("#get_series pre").first.inner_text()
    page.press("[data-find]", "Escape")
    assert page.locator("#create_export").is_visible()
    assert page.errors == []
