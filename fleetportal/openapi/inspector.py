"""How a view is described: by what its author said of it, and by what follows from its class."""

from http import HTTPStatus
from typing import Any

from django.core.validators import RegexValidator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.views import APIView

from devices.openapi import Problem, Refused
from devices.people.permissions import scope_of
from devices.people.scopes import FIRMWARE_WRITE
from fleetportal.openapi import security
from fleetportal.openapi.problems import RATE_HEADERS, USUAL, described

_WRITING = ("POST", "PUT", "PATCH")


class Inspector(AutoSchema):
    """drf-spectacular's, which knows our ways to sign in, our scopes, our problems, and what our fields take."""

    def get_auth(self) -> list[dict[str, list[str]]]:
        """Who may ask, and by which scope."""
        return security.required(self.view.get_authenticators(), scope_of(self.view, self.method), self.method)

    def get_extensions(self) -> dict[str, Any]:
        """Whose door it is: staff, members, devices or everybody."""
        names = {name for each in self.get_auth() for name in each}
        scope = scope_of(self.view, self.method)
        if not names:
            audience = "everybody"
        elif names & {security.DEVICE_TOKEN, security.DEVICE_CERTIFICATE, security.CLAIM}:
            audience = "devices"
        elif scope == FIRMWARE_WRITE or not getattr(self.view, "customers", True):
            audience = "staff"
        else:
            audience = "members"
        return super().get_extensions() | {"x-audience": audience}

    def _get_response_bodies(self, direction: Direction = "response") -> dict[str, Any]:
        """What the author said, and the usual mistakes by reference."""
        told: dict[str, Any] = super()._get_response_bodies(direction)
        self.resolve_serializer(Problem, direction)
        for status in self._usual():
            told.setdefault(str(status), {"$ref": f"#/components/responses/{USUAL[status].name}"})
        if self.view.get_throttles():
            for code, each in told.items():
                if code.startswith("2"):
                    each["headers"] = each.get("headers", {}) | RATE_HEADERS
        return dict(sorted(told.items()))

    def _usual(self) -> list[int]:
        """Statuses of the mistakes that can be made here, by what the view is."""
        view, found = self.view, []
        body = self.method in _WRITING and self.get_request_serializer() is not None
        if body or any(each["in"] == "query" for each in self._get_parameters()):
            found.append(400)
        if self.get_auth() != [{}]:
            found += [401, 403]
        if "{" in self.path:
            found.append(404)
        if type(view).perform_content_negotiation is APIView.perform_content_negotiation:
            found.append(406)
        if body and view.parser_classes:
            found.append(415)
        if any(issubclass(each, MultiPartParser) for each in view.parser_classes) and body:
            found.append(413)
        if view.get_throttles():
            found.append(429)
        return [*found, 503]

    def _get_response_for_code(
        self, serializer: Any, status_code: str, media_types: Any = None, direction: Direction = "response"
    ) -> dict[str, Any]:
        if not isinstance(serializer, Refused):
            usual: Any = super()  # without types
            answer: dict[str, Any] = usual._get_response_for_code(serializer, status_code, media_types, direction)
            return answer | {"description": answer["description"] or HTTPStatus(int(status_code)).phrase}
        return described(int(status_code), serializer)

    def _map_serializer_field(
        self, field: Any, direction: Direction, bypass_extensions: bool = False
    ) -> dict[str, Any]:
        usual: Any = super()  # without types
        found: dict[str, Any] = usual._map_serializer_field(field, direction, bypass_extensions)
        if direction != "request" or found.get("type") != "string":
            return found
        for rule in field.validators:
            if isinstance(rule, RegexValidator) and not rule.inverse_match:  # as JavaScript writes it
                pattern = str(getattr(rule.regex, "pattern", rule.regex))
                return found | {"pattern": pattern.replace(r"\A", "^").replace(r"\Z", "$")}
        bare = isinstance(field, serializers.CharField) and "enum" not in found and "format" not in found
        if bare and field.trim_whitespace and not field.allow_blank:
            return found | {"pattern": r"\S"}  # blanks are cut off, and nothing is left of them
        return found

    def _map_serializer(self, serializer: Any, direction: Direction, bypass_extensions: bool = False) -> dict[str, Any]:
        """What refuses unknown names says so."""
        usual: Any = super()  # without types
        found: dict[str, Any] = usual._map_serializer(serializer, direction, bypass_extensions)
        strict = direction == "request" and getattr(serializer, "strict", False)
        return found | {"additionalProperties": False} if strict else found

    def _get_serializer_name(self, serializer: Any, direction: Direction, bypass_extensions: bool = False) -> str:
        name: str = super()._get_serializer_name(serializer, direction, bypass_extensions)
        return name.replace("RequestRequest", "Request")
