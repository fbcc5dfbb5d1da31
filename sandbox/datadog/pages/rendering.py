"""Renders HTML from templates, which escape every value; and parses what a page was asked for."""

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from aiohttp import web
from markdown_it import MarkdownIt
from markupsafe import Markup

from sandbox.datadog.evaluation.messages import exact

Page = tuple[str, dict[str, Any]]
"""A template's name and its values."""


class NotFoundError(Exception):
    """The page doesn't exist; the message names what was asked for."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A page request: the parts of its path, and its query."""

    path: str
    match: Mapping[str, str]
    query: Mapping[str, str]

    @classmethod
    def of(cls, request: web.Request) -> "Asked":
        """Parse a request; of a repeated parameter, the first counts."""
        return cls(path=request.path, match=dict(request.match_info), query=dict(request.query))


URL = re.compile(r"(?<![(<\[`\"'=/\w])https?://[^\s<>\"]*[^\s<>\".,:;!?)\]]")
"""A bare URL in a text."""


def markdown(text: str) -> Markup:
    """Render a message's Markdown as HTML; HTML in it shows as text. Datadog delimits Markdown by ``%%%``.

    >>> markdown("**Look** at http://a/b?c=d. <i>")
    Markup('<p><strong>Look</strong> at <a href="http://a/b?c=d">http://a/b?c=d</a>. &lt;i&gt;</p>\\n')
    """
    lines = (URL.sub(r"<\g<0>>", line) for line in text.splitlines() if line.strip() != "%%%")
    return Markup(MarkdownIt("commonmark", {"html": False, "breaks": True}).render("\n".join(lines)))  # noqa: S704


def number(value: float | None) -> str:
    """Format a number in few digits.

    >>> number(1234.5678), number(0.012345), number(3.0), number(None)
    ('1,235', '0.0123', '3', '-')
    """
    if value is None:
        return "-"
    if abs(value) >= 999.5:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percentage(value: float | None) -> str:
    """Format a percentage with two places, rounded down: 99.999 is not all.

    >>> percentage(99.95), percentage(99.9999), percentage(100.0), percentage(None)
    ('99.95', '99.99', '100', '-')
    """
    return "-" if value is None else f"{math.floor(round(value * 100, 6)) / 100:g}"


def segment(text: str) -> str:
    """Quote a text as one segment of a path.

    >>> segment("a/b c")
    'a%2Fb%20c'
    """
    return quote(text, safe="")


def clock(at: float | datetime.datetime, pattern: str = "%Y-%m-%d %H:%M:%S UTC") -> str:
    """Format a time, given in Unix seconds or UTC; one outside the calendar as its number."""
    try:
        moment = at if isinstance(at, datetime.datetime) else datetime.datetime.fromtimestamp(at, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{at} s"
    return moment.strftime(pattern)


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.globals["bare"] = False  # without the frame that leads from page to page
ENVIRONMENT.globals["SHORT"] = 200  # characters of a text in a list or a heading; its own place has all of it
ENVIRONMENT.globals["TIME"] = "%Y-%m-%d %H:%M:%S"  # where the column says that it is UTC
ENVIRONMENT.filters |= {
    "markdown": markdown,
    "number": number,
    "exact": exact,
    "percentage": percentage,
    "clock": clock,
    "segment": segment,
}


def html(name: str, values: Mapping[str, Any]) -> str:
    """Render a page from its template."""
    return ENVIRONMENT.get_template(name).render(values)
