"""What a user does who may change some folders, and who wants what is root's: every trick with names, again and again.

Run as that user: ``python attacker.py SEED FOLDER CANARIES NAME...``. ``FOLDER`` is a folder of that user's with the
folders and files that steps write to, each a path in it; ``CANARIES`` is a folder of root's on the same file system. It
goes on until it is told to end, and prints how often it has tried something.
"""

import contextlib
import os
import random
import shutil
import signal
import sys
from pathlib import Path


class OverError(Exception):
    """The time to end has come."""


def over(*_: object) -> None:
    """End at the next step."""
    raise OverError


def away(path: Path) -> None:
    """Put aside whatever is at ``path``, as the owner of its folder may."""
    with contextlib.suppress(OSError):
        path.rename(path.with_name(f".{path.name}.{random.randrange(3)}"))  # noqa: S311 - a game
    with contextlib.suppress(OSError):
        path.unlink()
    with contextlib.suppress(OSError):
        shutil.rmtree(path)


def trick(dice: random.Random, path: Path, canaries: Path) -> None:
    """One try: something else than a file of one's own where root is about to read or write."""
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
    """One try: a link to a folder of root's in the place of one on the way, and back."""
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
    """Try until it is over."""
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
                # Root's steps get somewhere, too.
                for path in files:
                    away(path)
    except OverError:
        print(tried)


if __name__ == "__main__":
    main()
