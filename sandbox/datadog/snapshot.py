"""Graph snapshots: a plain SVG of the points that were stored, which says that the sandbox drew it."""

import html
from collections.abc import Sequence

WIDTH, HEIGHT, MARGIN = 640, 240, 28


def draw(title: str, points: Sequence[tuple[float, float]], start: float, end: float) -> str:
    """An SVG of ``points``, each a Unix time and a value, between two Unix times."""
    low = min((value for _, value in points), default=0.0)
    high = max((value for _, value in points), default=1.0)
    across, up = max(end - start, 1), (high - low) or 1
    line = " ".join(
        f"{MARGIN + (at - start) / across * (WIDTH - 2 * MARGIN):.1f},"
        f"{HEIGHT - MARGIN - (value - low) / up * (HEIGHT - 2 * MARGIN):.1f}"
        for at, value in points
    )
    captions = [
        (18, f"{title} (drawn by the sandbox, not by Datadog)"),
        (HEIGHT - 8, f"{len(points)} points, {low:g} to {high:g}"),
    ]
    texts = "".join(
        f'<text x="{MARGIN}" y="{y}" font-family="sans-serif" font-size="12">{html.escape(text)}</text>'
        for y, text in captions
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">'
        f'<rect width="100%" height="100%" fill="#fff"/>{texts}'
        f'<polyline points="{line}" fill="none" stroke="#632ca6" stroke-width="1.5"/></svg>\n'
    )
