"""A member of staff at the admin: presses buttons with a reason, and what the workers would be told."""

import json

from django.conf import settings
from django.contrib.messages import get_messages
from django.urls import reverse
from redis import Redis

from tests.fleetportal import world

ROLES = ["Fleet operator", "Firmware author", "Firmware approver", "Security officer", "Support"]
ON_DUTY = ["Fleet operator", "Security officer"]
OTHERS = [role for role in ROLES if role not in ON_DUTY]


def url(model: str, page: str, *args: object) -> str:
    """An admin page of this room."""
    return reverse(f"admin:devices_{model}_{page}", args=args)


class Desk:
    """One person's session."""

    def __init__(self, client, callbacks, role: str) -> None:
        self.client, self._callbacks = client, callbacks
        self.user = world.staff(role)
        client.force_login(self.user)

    def act(self, model: str, action: str, *rows, reason: str = "", query: str = "", **told):
        """Choose an action for rows; with a reason it is confirmed, too."""
        data = {"action": action, "_selected_action": [row.pk for row in rows]} | told
        data |= {"reason": reason, "confirmed": "yes"} if reason else {}
        with self._callbacks(execute=True):
            return self.client.post(url(model, "changelist") + query, data)

    def post(self, address: str, told: dict):
        """Send a form."""
        with self._callbacks(execute=True):
            return self.client.post(address, told)

    def page(self, model: str, page: str, *args: object, query: str = "") -> str:
        """The text of a page."""
        return self.client.get(url(model, page, *args) + query).content.decode()

    def actions(self, model: str) -> set[str]:
        """What the list offers to do."""
        form = self.client.get(url(model, "changelist")).context["action_form"]
        return {name for name, _ in form.fields["action"].choices if name} if form else set()


def said(response) -> str:
    """The messages that this answer added to those not shown yet."""
    return " ".join(str(message) for message in get_messages(response.wsgi_request)._queued_messages)


def queued() -> list[tuple[str, str]]:
    """Tasks that wait for a worker, with their arguments as text; taken from the queue."""
    queues = {settings.CELERY_TASK_DEFAULT_QUEUE, *(route["queue"] for route in settings.CELERY_TASK_ROUTES.values())}
    with Redis.from_url(settings.REDIS_URL) as redis:
        found = [each for queue in queues for each in redis.lrange(queue, 0, -1)]
        redis.delete(*queues)
    headers = [json.loads(each)["headers"] for each in found]
    return [(each["task"], each["argsrepr"]) for each in headers]
