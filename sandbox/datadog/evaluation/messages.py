"""Renders a monitor's message: the blocks for its state, their variables, and whom they mention.

Source: https://docs.datadoghq.com/monitors/notify/variables/
"""

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal["OK", "Warn", "Alert", "No Data"]

BLOCKS: Mapping[str, Callable[[State, State], bool]] = {
    "is_alert": lambda _, new: new == "Alert",
    "is_warning": lambda _, new: new == "Warn",
    "is_no_data": lambda _, new: new == "No Data",
    "is_recovery": lambda old, new: new == "OK" and old != "OK",
    "is_alert_recovery": lambda old, new: old == "Alert" and new == "OK",
    "is_warning_recovery": lambda old, new: old == "Warn" and new == "OK",
    "is_no_data_recovery": lambda old, new: old == "No Data" and new == "OK",
    "is_alert_to_warning": lambda old, new: old == "Alert" and new == "Warn",
}
"""When a block is sent, by the previous and the new state."""

WITHOUT_TEXT = "is_alert_recovery"
"""The block whose recipients are notified of ALERT to WARNING, without its text."""

RENOTIFY = "is_renotify"
"""The block for renotifications only."""

MATCHES: Mapping[str, Callable[[str, str], bool]] = {
    "is_match": lambda value, text: bool(value) and text in value,
    "is_exact_match": lambda value, text: _same(value, text),
}
"""Blocks that are sent if a variable's value matches one of the given texts."""

_TAG = r"\{\{\s*(?:[#^/]\s*[A-Za-z]\w*(?:[^{}\w][^{}]*)?|else\s*)\}\}"
# As in Handlebars, whose syntax this is, a tag alone on its line removes the line.
TAG = re.compile(rf"^[ \t]*(?P<alone>{_TAG})[ \t]*(?:\n|\Z)|{_TAG}", re.MULTILINE)
PARTS = re.compile(r"\{\{\s*(?:(?P<sign>[#^/])\s*(?P<name>\w+)\s*(?P<arguments>.*?)|else)\s*\}\}", re.DOTALL)
ARGUMENT = re.compile(r"\"([^\"]*)\"|'([^']*)'|(\S+)")
VARIABLE = re.compile(r"\{\{\{?\s*([^{}\s#^/][^{}]*?)\s*\}?\}\}")
EVAL = re.compile(r"""eval\s+(["'])(?P<sum>.+)\1""")

MENTION = re.compile(r"(?<![\w.@/])@([\w.+-]+@[\w-]+(?:\.[\w-]+)+|[A-Za-z](?:[\w.-]*\w)?)")
"""A recipient in a message: an address, or the handle of an integration such as ``@webhook-tickets``.

Source: https://docs.datadoghq.com/monitors/notify/#notifications
"""


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message to ``recipients``, in Markdown."""

    text: str
    recipients: tuple[str, ...]


def mentioned(text: str) -> tuple[str, ...]:
    """Return whom a text mentions, each once, in order.

    >>> mentioned("ask me@example.com, @you@example.com. @slack-ops")
    ('you@example.com', 'slack-ops')
    """
    return tuple(dict.fromkeys(match[1] for match in MENTION.finditer(text)))


def render(text: str, old: State, new: State, values: Mapping[str, str], *, again: bool = False) -> Message:
    """Render the message for a group that went from ``old`` to ``new``, or is renotified (``again``).

    A variable without a value, and a block that isn't evaluated here, are named in their place.
    """

    def fits(name: str, arguments: str) -> bool | None:
        if name in MATCHES:
            variable, *texts = ("".join(found) for found in ARGUMENT.findall(arguments)) if arguments else ("",)
            value = _matched(variable, values)
            return None if value is None or not texts else any(MATCHES[name](value, each) for each in texts)
        if arguments or name not in (*BLOCKS, RENOTIFY):
            return None
        return again if name == RENOTIFY else BLOCKS[name](old, new)

    def filled(chosen: str) -> str:
        return VARIABLE.sub(lambda match: _value(match[1], values), chosen).strip()

    shown = filled(_chosen(text, fits))
    silent = ""
    if (old, new) == ("Alert", "Warn") and WITHOUT_TEXT in text:
        apart = text.replace(f"{{{{/{WITHOUT_TEXT}}}}}", f"\n{{{{/{WITHOUT_TEXT}}}}}")
        silent = filled(_chosen(apart, lambda name, arguments: name == WITHOUT_TEXT or fits(name, arguments)))
    return Message(text=shown, recipients=tuple(dict.fromkeys((*mentioned(shown), *mentioned(silent)))))


@dataclass(kw_only=True)
class _Block:
    """An open block; ``fits`` is ``None`` if it isn't evaluated here, and inverted by ``{{else}}``."""

    tag: str = ""
    name: str = ""
    fits: bool | None = True
    text: str = ""

    def add(self, text: str) -> None:
        if self.fits:
            self.text += text

    def turn(self) -> None:
        self.fits = None if self.fits is None else not self.fits


def _chosen(text: str, fits: Callable[[str, str], bool | None]) -> str:
    """Return the text without the blocks that don't fit; blocks may be nested.

    Source: https://docs.datadoghq.com/monitors/notify/variables/?tab=is_renotify#examples, which nests them
    """
    stack, place = [_Block()], 0
    for match in TAG.finditer(text):
        stack[-1].add(text[place : match.start()])
        place, tag = match.end(), match["alone"] or match[0]
        found = PARTS.fullmatch(tag)
        assert found is not None
        if found["sign"] in ("#", "^"):
            whether = fits(found["name"], found["arguments"])
            stack.append(
                _Block(tag=tag, name=found["name"], fits=None if whether is None else whether == (found["sign"] == "#"))
            )
        elif found["sign"] is None and len(stack) > 1:
            stack[-1].turn()
        elif found["sign"] is None:
            stack[-1].add(tag)
        elif found["name"] == stack[-1].name:
            block = stack.pop()
            stack[-1].add(block.text if block.fits is not None else _unknown(block.tag))
        else:
            stack[-1].add(_unknown(f"{tag} without its beginning"))
    stack[-1].add(text[place:])
    for block in reversed(stack[1:]):
        stack[0].add(_unknown(f"{block.tag} without its end"))
    return stack[0].text


def _unknown(tag: str) -> str:
    return f"[the sandbox does not evaluate {tag}]"


def _matched(name: str, values: Mapping[str, str]) -> str | None:
    """Return the value to match, of a variable or of a tag's key; ``None`` if unknown here."""
    for known in (name, f"{name}.name"):
        if known in values:
            return values[known]
    # All tags of a host are known; one that it lacks has no value.
    return "" if "host.name" in values and "." not in name.removesuffix(".name") else None


def _same(value: str, text: str) -> bool:
    try:
        return float(value) == float(text)
    except ValueError:
        return value == text


def without_group(name: str) -> str:
    """Render a monitor's name where there is no group, as for a downtime: variables have values only in an alert.

    Unsure: Datadog doesn't document such names; its templates show nothing for a variable without a value.

    >>> without_group("my_metric on {{host.name}} (dev)")
    'my_metric on (dev)'
    """
    return " ".join(VARIABLE.sub("", name).split())


def _value(name: str, values: Mapping[str, str]) -> str:
    if match := EVAL.fullmatch(name):
        try:
            return f"{arithmetic(ast.parse(match['sum'], mode='eval').body, values):.15g}"
        except (ValueError, SyntaxError, KeyError, ZeroDivisionError):
            pass
    return values.get(name, f"[the sandbox has no {{{{{name}}}}}]")


def arithmetic(node: ast.expr, values: Mapping[str, str] | Mapping[str, float]) -> float:
    """Evaluate a formula over numbers.

    Raises:
        ValueError: the operation is unknown.
        KeyError: a name has no value.
        ZeroDivisionError: it divides by zero.
    """
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return float(values[name])
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -arithmetic(operand, values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return arithmetic(left, values) + arithmetic(right, values)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return arithmetic(left, values) - arithmetic(right, values)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return arithmetic(left, values) * arithmetic(right, values)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return arithmetic(left, values) / arithmetic(right, values)
    raise ValueError(ast.dump(node))


def shown(number: float) -> str:
    """Format a number as messages show it.

    >>> shown(812.0), shown(812.34567), shown(0.000412)
    ('812', '812.346', '0.000412')
    """
    return f"{number:.3g}" if abs(number) < 1 else f"{number:.3f}".rstrip("0").rstrip(".")


def exact(number: float) -> str:
    """Format a threshold: without rounding.

    >>> exact(800.0), exact(0.0005)
    ('800', '0.0005')
    """
    return f"{number:.15g}"
