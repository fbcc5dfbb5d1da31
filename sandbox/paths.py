"""Where the sandbox keeps its things: per clone under ``.sandbox/``, shared between clones in the user's cache."""

import hashlib
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The clone."""


def local() -> Path:
    """The folder of this clone's sandbox, made if need be; ``WATCHPOST_SANDBOX`` moves it (tests do)."""
    folder = Path(os.environ.get("WATCHPOST_SANDBOX", ROOT / ".sandbox"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cache() -> Path:
    """What is dear to make and the same for every clone: ``$XDG_CACHE_HOME/watchpost``, else ``~/.cache/watchpost``."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "watchpost"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keyed(name: str, *made_from: bytes | str | Path) -> Path:
    """A path in the cache named after what the thing there is made from: other content, other path.

    A ``Path`` counts by the content of the file. The path is not created.
    """
    digest = hashlib.sha256()
    for part in made_from:
        content = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return cache() / f"{name}-{digest.hexdigest()[:16]}"
