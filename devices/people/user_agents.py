"""What a browser or an app says of itself, in words: `Firefox on Windows`. A hint only: anybody can say anything."""

import re
from typing import Final
from urllib.parse import unquote

_PRODUCT: Final = re.compile(r"([^\s/()]{1,60})/[^\s()]*")
_COMMENT: Final = re.compile(r"\([^()]*\)")
_PLAIN: Final = re.compile(r"[^\w .+-]+")
_BROWSERS: Final = {
    "Edg": "Edge", "EdgA": "Edge", "EdgiOS": "Edge", "OPR": "Opera", "OPX": "Opera", "Vivaldi": "Vivaldi",
    "SamsungBrowser": "Samsung Internet", "YaBrowser": "Yandex Browser", "Ddg": "DuckDuckGo",
    "DuckDuckGo": "DuckDuckGo", "FxiOS": "Firefox", "Firefox": "Firefox", "CriOS": "Chrome",
    "HeadlessChrome": "Chromium", "Chromium": "Chromium", "Chrome": "Chrome", "Safari": "Safari",
}  # fmt: skip
"""Product → browser. The first that is there: most of them say that they are Chrome or Safari, too."""
_NOISE: Final = frozenset({"Mozilla", "AppleWebKit", "Gecko", "KHTML", "Version", "Mobile", "Ubuntu", "Fedora", "GSA"})
_SYSTEMS: Final = {
    "iPhone": "iPhone", "iPad": "iPad", "iOS": "iPhone", "Darwin": "an Apple device", "Android": "Android",
    "okhttp": "Android", "Windows": "Windows", "CrOS": "ChromeOS", "Mac OS X": "macOS", "macOS": "macOS",
    "Macintosh": "macOS", "Linux": "Linux", "X11": "Linux",
}  # fmt: skip
"""Mark → system. The first that is there: phones say that they are like a Mac, or run on Linux."""
UNKNOWN: Final = "Unknown browser"


def words(user_agent: str) -> str:
    """`Chrome on Android`, `Cold Watch on iPhone`; what cannot be told is left out."""
    product, system = _product(user_agent), _system(user_agent)
    if product and system:
        return f"{product} on {system}"
    return product or (f"{UNKNOWN} on {system}" if system else UNKNOWN)


def _product(user_agent: str) -> str:
    """An app names itself first, or last where it shows its pages in a browser's engine."""
    products: list[str] = _PRODUCT.findall(_COMMENT.sub(" ", user_agent))
    own = [each for each in products if each not in _BROWSERS and each not in _NOISE]
    if products and products[0] != "Mozilla":
        return _name(products[0])
    if own and own[-1] == products[-1]:
        return _name(own[-1])
    return next((name for mark, name in _BROWSERS.items() if mark in products), "")


def _name(product: str) -> str:
    return " ".join(_PLAIN.sub(" ", unquote(product)).split())[:40]


def _system(user_agent: str) -> str:
    return next((name for mark, name in _SYSTEMS.items() if mark in user_agent), "")
