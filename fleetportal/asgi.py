"""HTTP and WebSocket for uvicorn."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")
_http = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402 (these need the settings above)
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.urls import path  # noqa: E402

from telemetry.consumers import LiveConsumer  # noqa: E402

_sockets = URLRouter([path("ws/live", LiveConsumer.as_asgi())])
application = ProtocolTypeRouter(
    {"http": _http, "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(_sockets))}
)
