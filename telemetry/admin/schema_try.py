"""The box in which a payload is tried against a version, saved or not. Nothing is stored."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from devices.contract import MAX_PAYLOAD_BYTES, ContractError
from devices.models import DeviceType
from telemetry import payload
from telemetry.models import DeadLetter
from telemetry.packing import Compiled
from telemetry.schema import trying
from telemetry.schema.compatibility import Vocabulary

LETTERS = 200
"""Dead letters that are tried."""
_AMONG = 5_000
"""The newest refusals of all device types, among which they are looked for: so the question has an end."""
_REASONS = ("schema", "schema_version")
_MISTAKES = 5


@dataclass(frozen=True, slots=True)
class Letters:
    """What the newest dead letters of a version would come to."""

    taken: int
    refused: int
    mistakes: list[tuple[DeadLetter, ContractError]]
    """The first few that would be refused again."""

    @property
    def total(self) -> int:
        """Letters that name this version."""
        return self.taken + self.refused


@dataclass(frozen=True, slots=True)
class Box:
    """What the page shows of it."""

    text: str = ""
    """What was pasted."""
    asked: bool = False
    written: str = ""
    """How the payload was written: text, hex, Base64, file."""
    answer: trying.Answer | None = None
    letters: Letters | None = None
    against: str = ""


def wants(request: HttpRequest) -> bool:
    """Was one of the box's buttons pressed?"""
    return request.method == "POST" and bool({"_try", "_letters"} & request.POST.keys())


def refilled(request: HttpRequest) -> Box:
    """The box as it was typed in, when another button was pressed or there is nothing to try against."""
    return Box(_shown(request.POST.get("payload", "")), asked=wants(request))


def box(request: HttpRequest, device_type: DeviceType, version: int, wanted: Vocabulary, against: str) -> Box:
    """Try what was asked for against what is wanted."""
    compiled = Compiled(wanted)
    text = request.POST.get("payload", "")
    told: dict[str, Any] = {"text": _shown(text), "asked": True, "against": against}
    if "_letters" in request.POST:
        return Box(**told, letters=_letters(request, device_type, version, compiled))
    file = request.FILES.get("file")
    if file:
        data, written = file.read(MAX_PAYLOAD_BYTES + 1), "file"
    else:
        data, written = trying.from_text(text)
    if not data:
        return Box(**told)
    answer = trying.attempt(data, compiled, version, timezone.now(), settings.HOT_DAYS)
    return Box(**told, written=written, answer=answer)


def _shown(text: str) -> str:
    return text.replace("\0", "�")


def _letters(request: HttpRequest, device_type: DeviceType, version: int, compiled: Compiled) -> Letters:
    newest = DeadLetter.objects.visible_to(request.user).filter(reason__in=_REASONS).order_by("-received_at")
    rows = DeadLetter.objects.filter(pk__in=newest.values("pk")[:_AMONG], device__device_type=device_type)
    taken, refused = 0, []
    for letter in rows.order_by("-received_at")[:LETTERS].iterator(chunk_size=20):
        messages = [
            item
            for item in payload.decode(bytes(letter.payload))
            if isinstance(item, payload.Message) and item.schema_version == version
        ]
        try:
            for message in messages:
                compiled.pack(message.values)
            taken += bool(messages)
        except ContractError as error:
            refused.append((letter, error))
    return Letters(taken, len(refused), refused[:_MISTAKES])
