"""HTTP and WebSocket for uvicorn."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")
_django = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402 (these need the settings above)
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.urls import path  # noqa: E402

from firmware.consumers import CampaignConsumer  # noqa: E402
from firmware.sending import Sender  # noqa: E402
from fleetportal import uploads  # noqa: E402
from fleetportal.bodies import Limited  # noqa: E402
from telemetry.consumers import LiveConsumer  # noqa: E402

_sockets = URLRouter(
    [path("ws/live", LiveConsumer.as_asgi()), path("ws/campaigns/<int:pk>", CampaignConsumer.as_asgi())]
)
_http = Limited(Sender(_django), uploads.limit)
application = ProtocolTypeRouter(
    {"http": _http, "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(_sockets))}
)
