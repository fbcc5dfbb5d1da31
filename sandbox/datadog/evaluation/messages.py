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
    "is_alert_recovery": lambda old, new: old == "Alert" and new in ("OK", "Warn"),
    "is_warning_recovery": lambda old, new: old == "Warn" and new == "OK",
    "is_no_data_recovery": lambda old, new: old == "No Data" and new == "OK",
    "is_alert_to_warning": lambda old, new: old == "Alert" and new == "Warn",
}
"""When a block is sent, by the previous and the new state."""

RENOTIFY = "is_renotify"
"""The block for renotifications only."""

BLOCK = re.compile(r"\{\{([#^])(is_\w+)([^{}]*)\}\}(.*?)\{\{/\2\}\}\n?", re.DOTALL)
VARIABLE = re.compile(r"\{\{\{?\s*([^{}#^/]+?)\s*\}?\}\}")
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

    A variable without a value is named in its place.
    """

    def block(match: re.Match[str]) -> str:
        sign, name, arguments, inside = match.groups()
        if name not in (*BLOCKS, RENOTIFY) or arguments.strip():
            return f"[the sandbox does not evaluate {{{{{sign}{name}{arguments}}}}}]"
        fits = again if name == RENOTIFY else BLOCKS[name](old, new)
        return inside.strip("\n") + "\n" if fits == (sign == "#") else ""

    kept = BLOCK.sub(block, text)
    whole = VARIABLE.sub(lambda match: _value(match[1], values), kept).strip()
    return Message(text=whole, recipients=mentioned(whole))


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

    >>> shown(812.0), shown(812.34567)
    ('812', '812.346')
    """
    return f"{number:.3f}".rstrip("0").rstrip(".")
