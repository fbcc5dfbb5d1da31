"""Graph snapshots: a plain SVG of a query's lines, which says that the sandbox drew it."""

import datetime
import html
import itertools
from collections.abc import Sequence

WIDTH, HEIGHT, MARGIN = 640, 240, 42
COLORS = ("#632ca6", "#1a7f4e", "#b3540b", "#0b67a8", "#a3195b", "#5d6700")


def draw(title: str, lines: Sequence[Sequence[tuple[float, float]]], start: float, end: float) -> str:
    """Draw ``lines``, whose points are a Unix time and a value each, between two Unix times, as SVG."""
    points = [point for line in lines for point in line]
    low = min((value for _, value in points), default=0.0)
    high = max((value for _, value in points), default=1.0)
    across, up = max(end - start, 1), (high - low) or 1

    def place(at: float, value: float) -> str:
        # An interval may begin before the requested time.
        left = MARGIN + max(0.0, at - start) / across * (WIDTH - 2 * MARGIN)
        return f"{left:.1f},{HEIGHT - MARGIN - (value - low) / up * (HEIGHT - 2 * MARGIN):.1f}"

    drawn = "".join(
        f'<polyline points="{" ".join(place(*point) for point in line)}" fill="none" stroke="{color}"'
        ' stroke-width="1.5"/>'
        for line, color in zip(lines, itertools.cycle(COLORS))
    )
    right, bottom = WIDTH - MARGIN, HEIGHT - MARGIN
    captions = [
        (MARGIN, 18, "start", f"{title} (drawn by the sandbox, not by Datadog)"),
        (MARGIN - 4, MARGIN + 4, "end", f"{high:.4g}"),
        (MARGIN - 4, bottom + 4, "end", f"{low:.4g}"),
        (MARGIN, bottom + 18, "start", _clock(start)),
        (right, bottom + 18, "end", f"{_clock(end)} UTC"),
        (WIDTH / 2, bottom + 18, "middle", f"{len(points)} points"),
    ]
    font = 'font-family="sans-serif" font-size="12"'
    texts = "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" {font}>{html.escape(text)}</text>'
        for x, y, anchor, text in captions
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'<rect width="100%" height="100%" fill="#fff"/>{texts}'
        f'<path d="M{MARGIN} {MARGIN}H{right}M{MARGIN} {bottom}H{right}" stroke="#d8d5e2"/>{drawn}</svg>\n'
    )


def _clock(at: float) -> str:
    return f"{datetime.datetime.fromtimestamp(at, datetime.UTC):%Y-%m-%d %H:%M}"
