"""The sandbox's folders: per clone under ``.sandbox/``, shared between clones in the user's cache."""

import hashlib
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The clone's root."""


def local() -> Path:
    """Return this clone's sandbox folder, created if missing; ``WATCHPOST_SANDBOX`` moves it (tests do)."""
    folder = Path(os.environ.get("WATCHPOST_SANDBOX", ROOT / ".sandbox"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cache() -> Path:
    """Return the cache shared by all clones: ``$XDG_CACHE_HOME/watchpost``, else ``~/.cache/watchpost``."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "watchpost"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keyed(name: str, *made_from: bytes | str | Path) -> Path:
    """Return a cache path keyed by a hash of its inputs.

    A ``Path`` is hashed by its file's content. The returned path is not created.
    """
    digest = hashlib.sha256()
    for part in made_from:
        content = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return cache() / f"{name}-{digest.hexdigest()[:16]}"
