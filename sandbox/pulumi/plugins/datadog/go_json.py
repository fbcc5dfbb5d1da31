"""What Go's encoding/json says of a text that isn't JSON.

Source: https://github.com/golang/go/blob/master/src/encoding/json/scanner.go
"""

import json
import re

PLACES = {
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Illegal trailing comma before end of object": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    "Extra data": "after top-level value",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
    "Invalid \\uXXXX escape": "in \\u hexadecimal character escape",
}
"""Go's words for Python's."""

LITERALS = ("true", "false", "null")


def go_json_error(text: str) -> str | None:
    r"""Return Go's error for ``text``; ``None`` if it is JSON.

    >>> go_json_error("<html>"), go_json_error('{"a": tru}'), go_json_error("[1, 2")
    ("invalid character '<' looking for beginning of value",
     "invalid character '}' in literal true (expecting 'e')", 'unexpected end of JSON input')
    >>> go_json_error("{'a': 1}")
    "invalid character '\\'' looking for beginning of object key string"
    """
    try:
        json.loads(text, parse_constant=_constant)
    except json.JSONDecodeError as error:
        return _told(text, error.msg, error.pos)
    except _ConstantError as error:
        return _told(text, "Expecting value", text.index(str(error)))
    return None


class _ConstantError(ValueError):
    """NaN or Infinity, which Python takes."""


def _constant(name: str) -> None:
    raise _ConstantError(name)


def _told(text: str, said: str, at: int) -> str:
    if said.startswith("Unterminated string"):
        return "unexpected end of JSON input"
    if said.startswith("Invalid \\escape"):
        said, at = "Invalid \\escape", at + 1
    if said == "Expecting value":
        place, at = _value(text, at)
    elif said == "Expecting ',' delimiter":
        place = "after object key:value pair" if _in_object(text[:at]) else "after array element"
    else:
        place = next((words for beginning, words in PLACES.items() if said.startswith(beginning)), said)
    rest = text[at:].lstrip(" \t\r\n") if place != PLACES["Invalid control character at"] else text[at:]
    if not rest:
        return "unexpected end of JSON input"
    return f"invalid character {_quoted(rest[0])} {place}"


def _value(text: str, at: int) -> tuple[str, int]:
    """Return the place of a value's first wrong character, and its position: a literal may begin well."""
    for literal in LITERALS:
        length = next((n for n, (one, other) in enumerate(zip(text[at:], literal, strict=False)) if one != other), None)
        length = min(len(text) - at, len(literal)) if length is None else length
        if 0 < length < len(literal):
            return f"in literal {literal} (expecting '{literal[length]}')", at + length
    return "looking for beginning of value", at


def _in_object(text: str) -> bool:
    """Whether the text ends inside an object, not an array."""
    opened: list[str] = []
    for character in re.sub(r'"(?:[^"\\\\]|\\\\.)*"', "", text):
        if character in "{[":
            opened.append(character)
        elif character in "}]" and opened:
            opened.pop()
    return opened[-1:] == ["{"]


def _quoted(character: str) -> str:
    """Quote a character as Go does."""
    if character == "'":
        return r"'\''"
    if character == '"':
        return "'\"'"
    return "'" + json.dumps(character, ensure_ascii=False)[1:-1] + "'"
