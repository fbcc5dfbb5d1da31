"""Reads files under ``files/``, and renders text, JSON and YAML templates.

A placeholder is ``${name}`` inside a string. It is filled in after parsing, so a value can't break the document's
syntax; a string that is a single placeholder becomes the value itself, with its type. Datadog's own ``$host`` and
``{{value}}`` are left alone.
"""

import contextlib
import json
import re
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pulumi
import yaml

FILES = Path(__file__).resolve().parents[1] / "files"


class _Template(string.Template):
    # Only ${name}: a bare $name is Datadog's, and "$$" is no escape.
    pattern = r"\$(?:\{(?P<braced>[a-z_]+)\}|(?P<named>(?!))|(?P<escaped>(?!))|(?P<invalid>(?!)))"  # type: ignore[assignment]


class _Dumper(yaml.SafeDumper):
    """Quotes strings that begin with a digit: the Agent's YAML reads more of them as numbers than PyYAML, such as 1e3.

    Escapes Unicode line breaks, which PyYAML would fold in a quoted string.
    """


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if re.search("[\x85\u2028\u2029]", text) else "'" if text[:1].isdigit() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quoted)


def text(path: str) -> str:
    """Read a file under ``files/``."""
    return (FILES / path).read_text(encoding="utf-8")


def fill(document: Any, values: Mapping[str, Any]) -> Any:
    """Return a copy of ``document`` with its placeholders filled in; entries whose value is ``None`` are left out.

    Raises:
        KeyError: a placeholder has no value.
    """
    if isinstance(document, dict):
        filled = {key: fill(value, values) for key, value in document.items()}
        return {key: value for key, value in filled.items() if value is not None}
    if isinstance(document, list):
        return [fill(value, values) for value in document]
    if not isinstance(document, str):
        return document
    template = _Template(document)
    names = template.get_identifiers()
    if names and document == f"${{{names[0]}}}":
        return values[names[0]]
    return template.substitute(values)


def merged(document: Any, more: Any) -> Any:
    """Merge ``more`` into ``document``: maps recursively; anything else is replaced.

    >>> merged({"apm_config": {"enabled": True}}, {"apm_config": {"env": "x"}})
    {'apm_config': {'enabled': True, 'env': 'x'}}
    """
    if not isinstance(document, Mapping) or not isinstance(more, Mapping):
        return more
    return {**document, **{key: merged(document.get(key), value) for key, value in more.items()}}


def text_file(path: str, values: Mapping[str, Any]) -> str:
    """Render a text template under ``files/``.

    Raises:
        pulumi.RunError: a placeholder has no value.
    """
    with _explained(path, "text"):
        return _Template(text(path)).substitute(values)


def json_file(path: str, values: Mapping[str, Any]) -> str:
    """Render a JSON template under ``files/``.

    Raises:
        pulumi.RunError: the file isn't JSON, or a placeholder has no value.
    """
    with _explained(path, "JSON"):
        return json.dumps(fill(json.loads(text(path)), values))


def yaml_file(path: str, values: Mapping[str, Any]) -> str:
    """Render a YAML template under ``files/``.

    Raises:
        pulumi.RunError: the file isn't YAML, or a placeholder has no value.
    """
    return yaml_text(yaml_document(path, values))


def yaml_document(path: str, values: Mapping[str, Any]) -> Any:
    """Load a YAML template under ``files/`` and fill it in.

    Raises:
        pulumi.RunError: the file isn't YAML, or a placeholder has no value.
    """
    with _explained(path, "YAML"):
        return fill(yaml.safe_load(text(path)), values)


def yaml_text(document: Any) -> str:
    """Dump ``document`` as YAML that Go parsers, such as the Agent's, read identically."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


@contextlib.contextmanager
def _explained(path: str, form: str) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise pulumi.RunError(f"files/{path} names ${{{error.args[0]}}}, which has no value") from None
    except (ValueError, yaml.YAMLError) as error:
        raise pulumi.RunError(f"files/{path} is not valid {form}: {error}") from None
