"""A user who can write to some folders attacks root: tries every file name trick, again and again.

Run as that user: ``python attacker.py SEED FOLDER CANARIES NAME...``. ``FOLDER`` is the user's, with the folders and
files that steps write to, each ``NAME`` a path in it; ``CANARIES`` is a folder of root's on the same file system. Runs
until told to end, and prints the number of attempts.
"""

import contextlib
import os
import random
import shutil
import signal
import sys
from pathlib import Path


class OverError(Exception):
    """Ends the attack."""


def over(*_: object) -> None:
    """End at the next attempt."""
    raise OverError


def away(path: Path) -> None:
    """Move ``path`` aside, as its folder's owner may."""
    with contextlib.suppress(OSError):
        path.rename(path.with_name(f".{path.name}.{random.randrange(3)}"))  # noqa: S311 - a game
    with contextlib.suppress(OSError):
        path.unlink()
    with contextlib.suppress(OSError):
        shutil.rmtree(path)


def trick(dice: random.Random, path: Path, canaries: Path) -> None:
    """Replace a file where root is about to read or write by something else than the user's own file."""
    goal = dice.choice([canaries / "secret", canaries / "public", canaries / "empty.d", canaries])
    kind = dice.choice(["link", "link", "hard", "pipe", "folder", "own", "nothing"])
    away(path)
    with contextlib.suppress(OSError):
        if kind == "link":
            path.symlink_to(goal)
        elif kind == "hard":
            os.link(canaries / dice.choice(["secret", "public"]), path)
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "own":
            path.write_text("a: mine\n")


def folder_trick(dice: random.Random, path: Path, canaries: Path) -> None:
    """Replace a parent folder by a link to a folder of root's, and restore it."""
    aside = path.with_name(f".{path.name}.aside")
    with contextlib.suppress(OSError):
        path.rename(aside)
    with contextlib.suppress(OSError):
        path.symlink_to(dice.choice([canaries, canaries / "empty.d"]))
    with contextlib.suppress(OSError):
        path.unlink()
    with contextlib.suppress(OSError):
        aside.rename(path)


def main() -> None:
    """Attack until told to end."""
    seed, folder, canaries, *names = sys.argv[1:]
    dice, tried = random.Random(seed), 0  # noqa: S311 - a game
    files = [Path(folder, name + end) for name in names for end in ("", "", ".watchpost", ".new")]
    folders = sorted({Path(folder, name).parent for name in names} - {Path(folder)})
    folders += [folder for folder in {path.parent for path in folders} if folder != Path(sys.argv[2])]
    signal.signal(signal.SIGTERM, over)
    try:
        while True:
            if folders and dice.random() < 0.5:
                folder_trick(dice, dice.choice(folders), Path(canaries))
            else:
                trick(dice, dice.choice(files), Path(canaries))
            tried += 1
            if dice.random() < 0.01:
                # Let root's steps succeed sometimes.
                for path in files:
                    away(path)
    except OverError:
        print(tried)


if __name__ == "__main__":
    main()
