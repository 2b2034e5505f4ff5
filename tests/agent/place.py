"""A device at home, beside an HTTPS door with images for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.image import Health
from devices import contract
from devices.contract import Offer
from tests.agent.bench import Bench, Home, heard
from tests.agent.releases import Signer, UpdateDoor, make_image, make_offer

OTA = "/acme/cold-logger/d-1/ota"


@dataclass
class Place:
    """A device, a door, and who signs."""

    home: Home
    door: UpdateDoor
    signer: Signer
    folder: Path

    def offer(self, version: str = "1.1.0", *, health: Health = Health.GOOD, **changes: Any) -> Offer:
        """An image that the door has."""
        path = make_image(self.folder, version, health=health, size=changes.pop("size", 40_000))
        self.door.hold(path)
        return make_offer(path, self.signer, **changes)

    async def say(self, offer: Offer) -> None:
        """Tell the device."""
        await self.home.listener.say(OTA, contract.encode(offer))

    @property
    def reports(self) -> list[dict[str, Any]]:
        """What was reported, once each."""
        told = {word["seq"]: word for word in self.home.listener.payloads("update_status")}
        return [told[seq] for seq in sorted(told)]

    @property
    def words(self) -> list[str]:
        """The states of all reports."""
        return [word["state"] for word in self.reports]

    @property
    def versions(self) -> list[str]:
        """What the births said."""
        births = [word for word in self.home.listener.payloads("status") if word["state"] == "online"]
        return [word["firmware_version"] for word in births]

    async def ended(self, word: str, reason: str = "") -> None:
        """Wait for a report."""
        await self.home.listener.until(
            lambda: any((r["state"], r.get("reason_code", "")) == (word, reason) for r in self.reports)
        )

    def run(self, scenario: Callable[[Bench], Awaitable[None]]) -> None:
        """Run a scenario with the device online."""

        async def whole() -> None:
            async with heard(self.home.listener), self.home.switched_on() as bench:
                await self.home.listener.until(self.home.listener.births)
                await scenario(bench)

        asyncio.run(whole())
