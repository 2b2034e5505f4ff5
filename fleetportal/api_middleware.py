"""What holds for every answer below /api/: text that can be kept, how often one may ask, and who may keep it."""

from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import patch_vary_headers

from devices import problems

PREFIX = "/api/"
UNFIT = "The address is UTF-8, percent-encoded, and without NUL."


class ApiMiddleware:
    """Refuses what no view should have to look for, and adds to the head of what they answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer."""
        if not request.path_info.startswith(PREFIX):
            return self.get_response(request)
        unfit = _unfit(request.META.get("QUERY_STRING", ""))
        if unfit is not None:
            told = {"path": f"$.{unfit}", "errors": {unfit: [UNFIT]}}
            body = problems.problem(400, "invalid", f"$.{unfit}: {UNFIT}", **told).data
            response: HttpResponse = JsonResponse(body, status=400, content_type="application/problem+json")
        else:
            response = self.get_response(request)
        if "Cache-Control" not in response:
            response["Cache-Control"] = "private, no-store"
        if "public" not in response["Cache-Control"]:
            patch_vary_headers(response, ("Authorization", "Cookie"))
        rate = getattr(request, "rate_limit", None)
        if rate is not None:
            for name, value in zip(("Limit", "Remaining", "Reset"), rate, strict=True):
                response[f"RateLimit-{name}"] = str(value)
        return response


def _unfit(query: str) -> str | None:
    """The parameter that is no text: Django would put signs of replacement there, and a column cannot hold NUL."""
    if "%" not in query and query.isascii() and "\0" not in query:
        return None
    for part in query.split("&"):
        try:
            if "\0" not in unquote_to_bytes(part).decode():
                continue
        except (UnicodeDecodeError, UnicodeEncodeError):
            pass
        name = unquote_to_bytes(part.partition("=")[0].encode("utf-8", "replace")).decode("utf-8", "replace")
        return name.replace("\0", "")[:100]
    return None
