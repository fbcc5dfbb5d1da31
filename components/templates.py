"""What stands in ``files/``: read as text, or as JSON and YAML with their placeholders filled in.

A placeholder is ``${name}`` inside a string. It is filled in after parsing, so a value can't break the document's form;
a string that is nothing but one placeholder becomes the value itself, with its type. Datadog's own ``$host`` and
``{{value}}`` stay as they are.
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
    # Only ${name}: a bare $name is Datadog's, and "$$" is nothing special.
    pattern = r"\$(?:\{(?P<braced>[a-z_]+)\}|(?P<named>(?!))|(?P<escaped>(?!))|(?P<invalid>(?!)))"  # type: ignore[assignment]


class _Dumper(yaml.SafeDumper):
    """Quotes what begins with a digit: the Agent's YAML takes more for a number than PyYAML, such as 1e3.

    Line breaks of Unicode are escaped, since PyYAML folds them in a quoted text.
    """


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if re.search("[\x85\u2028\u2029]", text) else "'" if text[:1].isdigit() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quoted)


def text(path: str) -> str:
    """The content of a file under ``files/``."""
    return (FILES / path).read_text(encoding="utf-8")


def fill(document: Any, values: Mapping[str, Any]) -> Any:
    """A copy of ``document`` with its placeholders replaced; an entry whose value is ``None`` is left out.

    Raises:
        KeyError: a placeholder without a value.
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


def text_file(path: str, values: Mapping[str, Any]) -> str:
    """A plain file of ``files/``, filled in.

    Raises:
        pulumi.RunError: the file names something that has no value.
    """
    with _explained(path, "text"):
        return _Template(text(path)).substitute(values)


def json_file(path: str, values: Mapping[str, Any]) -> str:
    """A JSON file of ``files/``, filled in.

    Raises:
        pulumi.RunError: the file isn't JSON, or names something that has no value.
    """
    with _explained(path, "JSON"):
        return json.dumps(fill(json.loads(text(path)), values))


def yaml_file(path: str, values: Mapping[str, Any]) -> str:
    """A YAML file of ``files/``, filled in.

    Raises:
        pulumi.RunError: the file isn't YAML, or names something that has no value.
    """
    return yaml_text(yaml_document(path, values))


def yaml_document(path: str, values: Mapping[str, Any]) -> Any:
    """What stands in a YAML file of ``files/``, filled in.

    Raises:
        pulumi.RunError: the file isn't YAML, or names something that has no value.
    """
    with _explained(path, "YAML"):
        return fill(yaml.safe_load(text(path)), values)


def yaml_text(document: Any) -> str:
    """``document`` as YAML that Go's readers, such as the Agent's, take for the same."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


@contextlib.contextmanager
def _explained(path: str, form: str) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise pulumi.RunError(f"files/{path} names ${{{error.args[0]}}}, which has no value") from None
    except (ValueError, yaml.YAMLError) as error:
        raise pulumi.RunError(f"files/{path} is not valid {form}: {error}") from None
