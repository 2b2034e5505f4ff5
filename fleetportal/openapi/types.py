"""A schema of the description in a few words. Pure."""

from typing import Any, NamedTuple

_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_FORMATS = {
    "date-time": "time",
    "uri": "address",
    "uuid": "UUID",
    "binary": "file",
    "email": "mail address",
    "date": "day",
}
_MANY = 12


class Type(NamedTuple):
    """What a value is."""

    text: str
    link: str = ""
    """Name of the document that it is, where there is one."""


def told(schema: dict[str, Any]) -> Type:
    """In words, with the name of the document it leads to."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Type(name, name)
    for key in ("oneOf", "anyOf", "allOf"):
        if key in schema:
            each_of = [told(each) for each in schema[key]]
            links = [each.link for each in each_of if each.link]
            return Type(" or ".join(each.text for each in each_of), links[0] if links else "")
    named = schema.get("type", "object")
    kinds: list[str] = named if isinstance(named, list) else [named]
    null = " or null" if "null" in kinds else ""
    kind = next((each for each in kinds if each != "null"), "")
    if kind == "array":
        inner = told(schema.get("items", {}))
        return Type(f"list of {inner.text}{null}", inner.link)
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict) and schema["additionalProperties"]:
        inner = told(schema["additionalProperties"])
        return Type(f"by name: {inner.text}{null}", inner.link)
    return Type(_simple(kind, schema) + null)


def _simple(kind: str, schema: dict[str, Any]) -> str:
    if "enum" in schema:
        values = [str(each) or "(empty)" for each in schema["enum"] if each is not None]
        return ", ".join(values[:_MANY]) + (", …" if len(values) > _MANY else "")
    word = _FORMATS.get(schema.get("format", ""), _WORDS.get(kind, kind))
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None and high < 2**31:
        return f"{word}, {low}…{high}"
    if low is not None:
        return f"{word}, {low} or more"
    if "maxLength" in schema and word == "text":
        return f"text, at most {schema['maxLength']} characters"
    return word
