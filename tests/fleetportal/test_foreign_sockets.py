"""No socket says anything of another tenant. One without a question here fails."""

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.db import connection

from fleetportal import asgi
from tests.factories import TenantFactory, UserFactory, member
from tests.fleetportal import world


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("channels")
class TestSockets:
    def test_every_socket_has_its_question_here(self):
        assert {str(each.pattern) for each in asgi._sockets.routes} == {"ws/live", "ws/campaigns/<int:pk>"}

    @pytest.mark.parametrize("who", ["a member of another tenant", "somebody without a tenant"])
    def test_nothing_of_another_tenant_is_heard(self, ca, who):
        foreign = world.add(TenantFactory(), 7)
        user = member(TenantFactory(), "owner") if who.startswith("a member") else UserFactory()
        campaign = foreign.updates.order_by("pk")[0].campaign_id

        async def scene():
            live = _line("/ws/live", user)
            await live.send_input({"type": "websocket.connect"})
            assert (await live.receive_output(5))["type"] == "websocket.accept"
            text = json.dumps({"watch": [foreign.device_id]})
            await live.send_input({"type": "websocket.receive", "text": text})
            assert json.loads((await live.receive_output(5))["text"]) == {"watching": []}
            await live.send_input({"type": "websocket.disconnect", "code": 1001})
            await live.wait()
            page = _line(f"/ws/campaigns/{campaign}", user)
            await page.send_input({"type": "websocket.connect"})
            assert (await page.receive_output(5))["type"] == "websocket.accept"
            assert (await page.receive_output(5))["type"] == "websocket.close"
            await page.send_input({"type": "websocket.disconnect", "code": 1001})
            await page.wait()
            await sync_to_async(_close)()

        asyncio.run(scene())


def _close():
    connection.close()


def _line(path, user):
    return ApplicationCommunicator(asgi._sockets, {"type": "websocket", "path": path, "user": user, "session": {}})
