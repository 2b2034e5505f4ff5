"""Browsers and apps, in words that people know."""

import pytest

from devices.people.user_agents import UNKNOWN, words

_CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"
_APPLE = "AppleWebKit/605.1.15 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox on Windows"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {_CHROME} Safari/537.36", "Chrome on Linux"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {_CHROME} Chromium/142.0 Safari/537.36", "Chromium on Linux"),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/142.0 Safari/537.36", "Chromium on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME} Safari/537.36 Edg/142.0", "Edge on Windows"),
        (f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_APPLE} Version/26.1 Safari/605.1.15", "Safari on macOS"),
        (f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_CHROME} Safari/537.36 OPR/120.0", "Opera on macOS"),
        (f"Mozilla/5.0 (iPhone; CPU iPhone OS 26_1 like Mac OS X) {_APPLE} Version/26.1 Mobile/15E148 Safari/604.1",
         "Safari on iPhone"),
        (f"Mozilla/5.0 (iPad; CPU OS 26_1 like Mac OS X) {_APPLE} CriOS/142.0 Mobile/15E148 Safari/604.1",
         "Chrome on iPad"),
        (f"Mozilla/5.0 (iPhone; CPU iPhone OS 26_1 like Mac OS X) {_APPLE} FxiOS/145.0 Mobile/15E148 Safari/605.1.15",
         "Firefox on iPhone"),
        (f"Mozilla/5.0 (Linux; Android 10; K) {_CHROME} Mobile Safari/537.36", "Chrome on Android"),
        ("Mozilla/5.0 (Linux; Android 15; SM-S921B) AppleWebKit/537.36 SamsungBrowser/29.0 Chrome/136.0 Safari/537.36",
         "Samsung Internet on Android"),
        ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox on Linux"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {_CHROME} Safari/537.36", "Chrome on ChromeOS"),
        ("ColdWatch/3.1 (iPhone; iOS 26.1)", "ColdWatch on iPhone"),
        ("Cold%20Watch/12 CFNetwork/1490.0.4 Darwin/23.2.0", "Cold Watch on an Apple device"),
        ("Mozilla/5.0 (Linux; Android 15; wv) AppleWebKit/537.36 Version/4.0 Chrome/142.0 Safari/537.36 ColdWatch/3",
         "ColdWatch on Android"),
        ("python-httpx/0.28.1", "python-httpx"),
        ("Mozilla/5.0 (Windows NT 10.0)", f"{UNKNOWN} on Windows"),
        ("", UNKNOWN),
        ("()", UNKNOWN),
    ],
)  # fmt: skip
def test_are_told_in_words(told, expected):
    assert words(told) == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("<script>alert(1)</script>", UNKNOWN),
        ("%3Cb%3Ebold%3C%2Fb%3E/1", "b bold b"),
        ("evil\u202etxt/1", "evil txt"),
        ("line\nbreak/1 (Windows)", "break on Windows"),
        ("%00%ff/1", UNKNOWN),
        ("x" * 60 + "/1", "x" * 40),
    ],
)
def test_what_is_hostile_becomes_letters(told, expected):
    assert words(told) == expected


def test_the_longest_is_read_at_once():
    """Nobody keeps the page waiting with what they say."""
    assert words("(" * 200_000) == UNKNOWN
    assert words("a/" * 100_000)
