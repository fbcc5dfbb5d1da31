"""The user's cache: expensive artifacts shared by all clones, each built once, atomically, under a lock."""

import contextlib
import fcntl
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from sandbox.progress import say


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock ``path`` in the cache; while another process holds the lock, say so and wait."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is making {path.name}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def once(path: Path, make: Callable[[Path], object], *, mode: int = 0o755) -> Path:
    """Return the folder ``path``; if it doesn't exist, ``make`` fills a partial folder, renamed when complete.

    Raises:
        Exception: whatever ``make`` raises; nothing is left in the cache.
    """
    with locked(path):
        if not path.exists():
            partial = path.with_name(f"{path.name}.part")
            shutil.rmtree(partial, ignore_errors=True)  # left by a killed process
            partial.mkdir(mode=0o700)
            try:
                make(partial)
                partial.chmod(mode)
                partial.rename(path)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return path
