"""Carries out what `rotation.step` decides: keys, files and the way over HTTPS, all off the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from random import Random

from agent import rotation
from agent.client import end
from agent.identity import IdentityError
from agent.reenroll import Door, Later, reenroll
from agent.rotation_messages import Failed, KeepCertificate, Kept, MakeRequest, Message, Promote, Refused, Requested
from agent.wallet import Wallet
from devices.contract import IssuedCertificate

logger = logging.getLogger(__name__)


class Renewal:
    """The work of one device's renewals. `tell` hears how each piece went, on the event loop."""

    def __init__(self, wallet: Wallet, tell: Callable[[Message], None], online: Callable[[], bool], door: Door) -> None:
        self._wallet, self._tell, self._online, self._door = wallet, tell, online, door
        self._name, self._rng = wallet.enrolment.device_id, Random()  # noqa: S311 - jitter
        self._attempt = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def act(self, effect: MakeRequest | KeepCertificate | Promote) -> None:
        """Begin to carry out an effect."""
        match effect:
            case MakeRequest(given_up):
                self._begin("cannot make a request", self._request(given_up))
            case KeepCertificate(issued):
                self._begin("cannot keep the certificate", self._keep(issued))
            case Promote():
                self._begin("cannot make the new certificate current", self._promote())

    async def reenroll(self) -> float:
        """Ask once over HTTPS for a certificate in place of expired ones. Seconds until it makes sense to try again.

        0 is for success. Several expired certificates take turns: the portal may know only one of them.
        """
        held = self._wallet.held
        shown, csr = held[self._attempt % len(held)], ""
        try:
            csr = (await self._wallet.request()).csr
            self._tell(Requested(csr, online=False))
            issued = await reenroll(self._door, shown.credentials, csr, self._attempt, self._rng)
            await self._keep(issued)
        except Later as later:
            wait, text = later.seconds, str(later)
            self._tell(Refused(csr, later.status))
        except Exception as error:  # whatever it was: the device has to find its way back
            wait, text = rotation.FIRST_SECONDS, repr(error)
        else:
            self._attempt = 0
            return 0.0
        self._attempt += 1
        logger.info("%s: certificate rotation: cannot re-enrol: %s", self._name, text)
        return wait

    async def close(self) -> None:
        """End what is still being done."""
        await end(self._tasks)

    async def _request(self, given_up: str) -> None:
        request = await self._wallet.request(given_up)
        self._tell(Requested(request.csr, self._online()))

    async def _keep(self, issued: IssuedCertificate) -> None:
        await self._wallet.keep(issued)
        self._tell(Kept())

    async def _promote(self) -> None:
        try:
            await self._wallet.promote()
        except OSError as error:  # it is in use nevertheless, and the next connection tries again
            logger.info("%s: certificate rotation: cannot make the new certificate current: %s", self._name, error)

    def _begin(self, trouble: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(self._done(trouble, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _done(self, trouble: str, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception as error:  # whatever it was: the device lives on with what it has, and tries again
            level = logging.WARNING if isinstance(error, IdentityError) else logging.INFO
            self._tell(Failed(f"{trouble}: {error!r}", level))
