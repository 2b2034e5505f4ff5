"""The certificates a device holds and which of them it shows: the newest first, and another after a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from agent import credentials
from agent.credentials import Pending
from agent.identity import Identity, IdentityError
from agent.term import Term
from devices.contract import IssuedCertificate


class Wallet:
    """One device's certificates. Disk work is done in threads, one piece at a time."""

    def __init__(self, held: Sequence[Identity], pending: Pending | None = None) -> None:
        """`held`: newest first, at least one."""
        self.held, self.pending = tuple(held), pending
        self.enrolment, self._directory = held[0].enrolment, held[0].credentials.parent
        self.rotated = 0
        """Certificates that the broker accepted in place of another, since the start."""
        self._turn = 0
        self._before: Identity | None = None
        self._disk = asyncio.Lock()

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """What a directory holds, None before enrolment; blocks. Raises IdentityError if nothing is usable."""
        held = credentials.load(directory)
        return cls(held, credentials.pending(directory, held)) if held else None

    @property
    def directory(self) -> Path:
        """Where the device keeps what is its own."""
        return self._directory

    @property
    def using(self) -> Identity:
        """The one to show to the broker now."""
        return self.held[self._turn]

    def unproven(self, one: Identity) -> bool:
        """The broker has still to accept it for the first time."""
        return one.credentials.name == credentials.NEXT

    def term(self, one: Identity) -> Term:
        """How long it is good for."""
        return Term.of(one.serial, one.not_before, one.not_after, one.received, unproven=self.unproven(one))

    def expired(self, now: float) -> bool:
        """By this clock (epoch seconds) none is left that the broker would accept."""
        return all(one.not_after <= now for one in self.held)

    def refused(self, one: Identity) -> None:
        """It was refused: the next time it is another's turn."""
        if one is self.using:
            self._turn = (self._turn + 1) % len(self.held)

    async def request(self, given_up: str = "") -> Pending:
        """The open request, made and kept now if there is none or it is the one to be given up. Raises OSError.

        A new one takes the place of the old in one durable step: before it the old one is asked for again, and after
        it nothing is left of that.
        """
        async with self._disk:
            if self.pending is None or self.pending.csr == given_up:
                self.pending = await asyncio.to_thread(credentials.request, self._directory, self.enrolment.device_id)
            return self.pending

    async def keep(self, issued: IssuedCertificate) -> None:
        """Keep the answer to the open request, and use it from now on. Raises IdentityError or OSError."""
        if self.unproven(self.using):  # it is in use after all, and its place is needed
            await self.promote()
        async with self._disk:
            if self.pending is None:
                raise IdentityError("nothing was requested")
            new = await asyncio.to_thread(credentials.keep, self._directory, self.enrolment, self.pending, issued)
            others = [one for one in self.held if one.credentials.name != credentials.NEXT]
            self._before = self.using if self.using in others else None
            self.held, self.pending, self._turn = (new, *others), None, 0

    async def promote(self) -> None:
        """The one in use, unproven until now, was accepted: it becomes the current one. Raises OSError."""
        async with self._disk:
            before = self._before or next((one for one in self.held if one is not self.using), None)
            self.held = await asyncio.to_thread(credentials.promote, self._directory, before)
            self._turn, self._before, self.rotated = 0, None, self.rotated + 1
