"""`python -m tests.screens [run.json]`: the pictures of the README and docs/screens/, from a demo with a campaign."""

import json
import sys
from pathlib import Path

from tests.chromium import chromium, sign_in
from tests.fleet import ROOT

OUT = ROOT / "docs" / "screens"
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def main(run_file: Path) -> None:
    """Take them all."""
    run = json.loads(run_file.read_text())
    people = {each["username"]: each["password"] for each in run["sign_ins"]}
    with chromium() as browser:

        def shot(name: str, username: str, path: str, viewport: dict[str, int], scheme: str, click: str = "") -> None:
            context = browser.new_context(viewport=viewport, color_scheme=scheme)
            page = sign_in(context, run["http_url"], username, people[username], path)
            if click:
                page.locator(click).first.click()
            page.wait_for_timeout(6000)  # so that the picture has something live in it
            page.screenshot(path=OUT / f"{name}.png")
            assert page.errors == [], page.errors
            context.close()

        device = 'main a[href^="/devices/d-"]'
        shot("overview", "acme-owner", "/", WIDE, "light")
        shot("device", "acme-owner", "/devices/?type=cold-logger", WIDE, "light", device)
        shot("device-phone-dark", "acme-owner", "/devices/?type=pump", PHONE, "dark", device)
        shot("devices-phone", "acme-owner", "/devices/", PHONE, "light")
        shot("admin", "admin", "/admin/", WIDE, "light")
        shot("admin-devices", "admin", "/admin/devices/device/", WIDE, "dark")
        shot("admin-renewals", "admin", "/admin/devices/renewal/", WIDE, "light")
        shot("admin-approvals", "admin", "/admin/devices/approval/", WIDE, "light")
        shot("admin-certificate", "admin", "/admin/devices/certificate/", WIDE, "dark", "#result_list tbody th a")
        shot("admin-cockpit", "admin", "/admin/devices/device/", WIDE, "light", "#result_list tbody th a")
        campaign = "#result_list tbody th a"
        shot("campaign", "operator", "/admin/firmware/campaign/", WIDE, "light", campaign)
        shot("campaign-phone-dark", "operator", "/admin/firmware/campaign/", PHONE, "dark", campaign)
        shot("release", "author", "/admin/firmware/release/", WIDE, "light", campaign)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "var" / "run.json")
