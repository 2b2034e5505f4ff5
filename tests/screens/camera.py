"""What takes the pictures: pages in the look that a name says, waited for until they show what they should."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page
from playwright.sync_api import Error as BrowserError

from tests.chromium import sign_in
from tests.fleet import ROOT, Fleet

OUT = ROOT / "docs" / "screens"
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
TALLEST = 1400
"""A picture shows its page from the top, so far at most."""
ENGINE = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0"
HAND = f"Mozilla/5.0 (Linux; Android 15; Pixel 9) {ENGINE} Mobile Safari/537.36"
DESK = f"Mozilla/5.0 (X11; Linux x86_64) {ENGINE} Safari/537.36"
HALF = """() => {
  const seen = (selector) => [...document.querySelectorAll(selector)].filter((each) => each.offsetParent !== null);
  const drawn = (chart) => ["live", "past", "quiet"].includes(chart.querySelector(".chart-state").dataset.state)
    && chart.closest("live-chart").chart?.data[0].length > 2;
  const half = (name, found) => found.map((each) => `${name} ${each.outerHTML.slice(0, 200)}`);
  return [
    ...(document.readyState === "complete" && document.fonts.status === "loaded" ? [] : ["the page"]),
    ...half("image", seen("img").filter((image) => !image.complete)),
    ...half("socket", seen("[data-live-state]").filter((place) => place.dataset.liveState !== "open")),
    ...half("socket", seen("[data-link-state]").filter((place) => place.dataset.linkState !== "open")),
    ...half("chart", seen(".chart").filter((chart) => !drawn(chart))),
  ];
}"""
"""What is only half there: type, images, sockets, charts."""
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@dataclass(frozen=True)
class Shot:
    """A picture of one page that needs no story."""

    name: str
    says: str
    path: str
    """With the names of facts: `/devices/{freezer}/`."""
    by: str = "acme-owner"
    clicks: tuple[str, ...] = ()
    ready: str = ""
    """A selector that must be there besides."""


@dataclass(frozen=True)
class Story:
    """Pictures that are taken together: what is in them, and who does what."""

    title: str
    pictures: dict[str, str]
    """Name → what it shows."""
    play: "Callable[[Camera], None]"


def pages(title: str, *shots: Shot) -> Story:
    """A story in which nothing happens."""

    def play(camera: "Camera") -> None:
        wrong = []
        for shot in shots:
            try:
                camera.one(shot)
            except (AssertionError, BrowserError) as error:  # the others are still worth having
                wrong.append(f"{shot.name}: {error}")
        assert not wrong, "\n".join(wrong)

    return Story(title, {shot.name: shot.says for shot in shots}, play)


@dataclass
class Camera:
    """A browser before a demo."""

    browser: Browser
    fleet: Fleet
    folder: Path
    """For what is only needed on the way."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What stands in addresses: keys of rows that a story made."""
    taken: set[str] = field(default_factory=set)
    _signed_in: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The demo, under a name that passkeys work with."""
        return str(self.fleet.run["http_url"]).replace("127.0.0.1", "localhost")

    def fresh(self, name: str) -> Page:
        """A browser of its own, of nobody who is signed in."""
        return _page(self._context(name))

    def open(self, name: str, by: str, path: str) -> Page:
        """A page of somebody who is signed in, in the look that the picture's name says."""
        if by not in self._signed_in:
            first = self._context("")
            sign_in(first, self.url, by, self.fleet.user(by)["password"], "/preferences/")
            self._signed_in[by] = first.storage_state()
            first.close()
        page = _page(self._context(name, storage_state=self._signed_in[by]))
        self.go(page, path)
        return page

    def go(self, page: Page, path: str) -> None:
        """Lead a page elsewhere."""
        page.goto(self.url + path.format_map(self.facts))

    def one(self, shot: Shot) -> None:
        """A picture that needs no story."""
        page = self.open(shot.name, shot.by, shot.path)
        for click in shot.clicks:
            page.locator(click).first.click()
        if shot.ready:
            page.wait_for_selector(shot.ready)
        self.take(shot.name, page)
        page.context.close()

    def take(self, name: str, page: Page) -> None:
        """The picture, as soon as the page is whole. Fails where the browser's console complains."""
        try:
            page.wait_for_function(f"() => !({HALF})().length")
        except BrowserError as error:
            half = [*page.evaluate(HALF), *page.errors]
            raise AssertionError(f"{name} is half there: {half}") from error
        page.evaluate("scrollTo(0, 0)")  # an address may have led to a part of it
        page.evaluate(DRAWN)
        width = page.evaluate("innerWidth")
        tall = min(TALLEST, page.evaluate("Math.max(innerHeight, document.documentElement.scrollHeight)"))
        clip = {"x": 0, "y": 0, "width": width, "height": tall}
        page.screenshot(path=OUT / f"{name}.png", full_page=True, clip=clip, animations="disabled")
        assert page.errors == [], (name, page.errors)
        self.taken.add(name)

    def _context(self, name: str, **more: Any) -> BrowserContext:
        hand = "-phone" in name
        context = self.browser.new_context(
            viewport=PHONE if hand else WIDE,
            color_scheme="dark" if name.endswith("-dark") else "light",
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="Europe/Berlin",
            user_agent=HAND if hand else DESK,
            **more,
        )
        context.set_default_timeout(15_000)
        return context


def _page(context: BrowserContext) -> Page:
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda told: errors.append(told.text) if told.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.errors = errors
    return page
