"""The project's name, the namespace of its settings: ``watchpost:env``.

``pulumi new`` renames the project, so the name is read from ``Pulumi.yaml``.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _name() -> str:
    found = re.search(r"""^name: *["']?([\w.-]+)""", (ROOT / "Pulumi.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        raise ValueError("Pulumi.yaml has no name")
    return found[1]


PROJECT = _name()


def key(*path: str | int) -> str:
    """Build a setting's key for ``pulumi config set --path``.

    >>> key("hosts", "db.example.com", "tags", 0)
    'watchpost:hosts["db.example.com"].tags[0]'
    >>> key("hosts", "1", "address")
    'watchpost:hosts["1"].address'
    """
    parts = [
        f"[{part}]" if isinstance(part, int) else f'["{part}"]' if "." in part or part.isdigit() else f".{part}"
        for part in path
    ]
    return f"{PROJECT}:" + "".join(parts).removeprefix(".")
