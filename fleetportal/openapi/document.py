"""The description itself, made once in a process: it changes with the code and with nothing else."""

import hashlib
import json
from functools import cache
from typing import Any, NamedTuple

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiYamlRenderer


class Written(NamedTuple):
    """As it is sent."""

    text: bytes
    etag: str


@cache
def document() -> dict[str, Any]:
    """As it is built. Not to be changed."""
    made: dict[str, Any] = SchemaGenerator().get_schema(public=True)
    return made


@cache
def written(form: str) -> Written:
    """As `json` or `yaml`."""
    if form == "yaml":
        text: bytes = OpenApiYamlRenderer().render(document())
    else:
        text = json.dumps(document(), ensure_ascii=False).encode()
    return Written(text, f'"{hashlib.sha256(text).hexdigest()[:32]}"')
