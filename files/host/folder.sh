#!/usr/bin/env bash
# Part of other scripts, after cause.sh: how root reads, writes and removes files in folders that others may change, such
# as the Agent's, which its user owns. It walks from folder to folder and keeps each one open, so that nobody can swap
# it; follows no link in a folder that isn't root's; completes a new file, with owner and mode, in a folder of root's
# before moving it to its name; and reads only regular files that the folder's owner could read. After a power cut, each
# file is either the new one or the old one.
set -eu

# Calls one of the functions at the end of the program with the other arguments.
folder() {
  python3 -I -c "$folder_program" "$@"
}

folder_program=$(
  cat <<'PYTHON'
import contextlib, errno, hashlib, json, os, pwd, grp, secrets, shutil, stat, sys

LARGE = 16 << 20


class Refused(Exception):
    """The file can't be handled; the message is a sentence."""


NOBODY = 65534


def is_shared(found):
    """Return whether others than a folder's owner may change it; the group root counts as root."""
    return found.st_mode & 0o002 or (found.st_mode & 0o020 and found.st_gid)


def walk(path, make=False):
    """Open a path's folder; return it, and who besides root may change it or a folder on the way."""
    left, so_far, whose, links = path.split("/")[1:-1], "", None, 0
    at = os.open("/", os.O_RDONLY)
    while left:
        name, here = left.pop(0), os.fstat(at)
        if name in ("", "."):
            continue
        try:
            inner = entered(at, name, make)
        except NotADirectoryError:
            if not stat.S_ISLNK(os.lstat(name, dir_fd=at).st_mode):
                raise Refused(f"{so_far}/{name} is no folder") from None
            links += 1
            if whose is not None or is_shared(here) or links > 40:
                user = called(NOBODY if whose is None else whose)
                raise Refused(f"{so_far}/{name} is a link in a folder that {user} may change: put a folder there") from None
            target = os.readlink(name, dir_fd=at)
            left = target.split("/") + left
            if target.startswith("/"):
                os.close(at)
                at, so_far = os.open("/", os.O_RDONLY), ""
            continue
        found = os.fstat(inner)
        # In a folder like /tmp, nobody can remove what is root's.
        if whose is None and (found.st_uid or (is_shared(found) and not found.st_mode & stat.S_ISVTX)):
            whose = found.st_uid or NOBODY
        os.close(at)
        at, so_far = inner, f"{so_far}/{name}"
    if whose is None and is_shared(os.fstat(at)):
        whose = NOBODY
    return at, whose


def entered(at, name, make):
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=at)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=at)
    return os.open(name, flags, dir_fd=at)


def called(user):
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


@contextlib.contextmanager
def acting_as(user):
    """Act with this user's rights; without a user, with root's."""
    if user is None:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    try:
        entry = pwd.getpwuid(user)
        theirs, first = os.getgrouplist(entry.pw_name, entry.pw_gid), entry.pw_gid
    except KeyError:
        theirs, first = [NOBODY], NOBODY
    os.setgroups(theirs)
    os.setegid(first)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def seen(at, name):
    try:
        return os.lstat(name, dir_fd=at)
    except FileNotFoundError:
        return None


def opened(at, name, path, user=None):
    """Open a file with the user's rights; anything but a regular file, such as a pipe, isn't opened at all."""
    with acting_as(user):
        held = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=at)
        try:
            found = os.fstat(held)
            if not stat.S_ISREG(found.st_mode):
                raise Refused(f"{path} is no file: remove it there")
        finally:
            os.close(held)
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        os.close(file)
        raise Refused(f"{path} is no file: remove it there")
    return file, found


def taken(file, found, path, whose):
    """Read an opened file."""
    if whose is not None and found.st_size > LARGE:
        raise Refused(f"{path} has more than {LARGE >> 20} MB")
    with open(file, "rb", closefd=False) as text:
        content = text.read(LARGE + 1 if whose is not None else -1)
    return content


@contextlib.contextmanager
def staged(at, name, whose):
    """Provide a folder and a name for a new file that only root can reach; leave nothing of it."""
    new = f"{name}.watchpost"
    clear(at, new)
    if whose is None:
        try:
            yield at, new
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new, dir_fd=at)
        return
    for _ in range(20):
        try:
            os.mkdir(new, 0o700, dir_fd=at)
        except FileExistsError:
            new = f"{name}.watchpost-{secrets.token_hex(8)}"
            continue
        try:
            inner = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
        except OSError:
            new = f"{name}.watchpost-{secrets.token_hex(8)}"
            continue
        found = os.fstat(inner)
        if found.st_uid == 0 and stat.S_IMODE(found.st_mode) & 0o077 == 0 and not os.listdir(inner):
            break
        os.close(inner)
        new = f"{name}.watchpost-{secrets.token_hex(8)}"
    else:
        raise Refused(f"{called(whose)} is in the way of {name}.watchpost, again and again")
    try:
        yield inner, "new"
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink("new", dir_fd=inner)
        os.close(inner)
        with contextlib.suppress(OSError):
            os.rmdir(new, dir_fd=at)


def clear(at, new):
    """Remove what a killed run has left under a new file's name."""
    found = seen(at, new)
    if not found:
        return
    with contextlib.suppress(OSError):
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(new, dir_fd=at)
            return
        inner = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
        mine = os.fstat(inner).st_uid == 0
        if mine:
            with contextlib.suppress(FileNotFoundError):
                os.unlink("new", dir_fd=inner)
        os.close(inner)
        if mine:
            os.rmdir(new, dir_fd=at)


def placed(path, fill, make=False):
    """Put a new file at a path, filling it while only root can reach it."""
    name = os.path.basename(path)
    try:
        at, whose = walk(path, make)
        with staged(at, name, whose) as (inner, new):
            fill(inner, new)
            os.rename(new, name, src_dir_fd=inner, dst_dir_fd=at)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Refused(f"{path} can't be written: {reason(error)}") from None
    os.fsync(at)
    again, _ = walk(path)
    if not os.path.samestat(os.fstat(at), os.fstat(again)):
        raise Refused(f"the folder of {path} was moved away while it was written, by {called(whose or 0)}")


def reason(error):
    """Return the system's words, and what they usually mean to root."""
    return f"{error.strerror}{' (immutable? see lsattr, and chattr -i)' if error.errno == errno.EPERM else ''}"


def ids(owner):
    user, _, group = owner.partition(":")
    try:
        return int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid, int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise Refused(f"there is no user or group {owner}") from None


def durable(path, content):
    """Write a file of root's, completely or not at all."""
    with open(path + ".new", "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".new", path)


def flushed(folder):
    at = os.open(folder, os.O_RDONLY)
    os.fsync(at)
    os.close(at)


def missing_folders(path):
    missing, folder = [], os.path.dirname(path)
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing


def was(kept):
    """Return what the note says of the earlier state, if it is complete."""
    try:
        with open(f"{kept}/was", encoding="utf-8") as file:
            note = json.load(file)
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) and note.get("kind") in ("absent", "file", "link") else None


def digest(path):
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


# The functions that scripts call.


def keep(path, kept):
    """Save what is at a path to a folder of root's: the file or link, and a note of what it is."""
    try:
        at, whose = walk(path)
        found = seen(at, os.path.basename(path))
    except FileNotFoundError:
        found = None
    new = kept + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new, 0o700)
    note = {"kind": "absent"}
    if found and stat.S_ISLNK(found.st_mode):
        target = os.readlink(os.path.basename(path), dir_fd=at)
        os.symlink(target, f"{new}/original")
        os.lchown(f"{new}/original", found.st_uid, found.st_gid)
        note = {"kind": "link", "target": target}
    elif found:
        file, found = opened(at, os.path.basename(path), path)
        content = taken(file, found, path, whose)
        original = os.open(f"{new}/original", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        like(file, found, original, content, whose)
        os.close(original)
        try:
            theirs, same = opened(at, os.path.basename(path), path, whose)
            readable = os.path.samestat(found, same)
            os.close(theirs)
        except (OSError, Refused):
            readable = False
        note = {"kind": "file", "sha256": hashlib.sha256(content).hexdigest(), "readable": readable}
    durable(f"{new}/was", json.dumps(note).encode())
    made, missing = os.path.dirname(kept) + ".made", missing_folders(path)
    if missing:
        durable(made, "".join(f"{folder}\n" for folder in missing).encode())
    os.rename(new, kept)
    # Journaling file systems keep the order of changes to folders, even across folders.
    flushed(os.path.dirname(kept))


def adopt(path, kept):
    """Write the note for what an older version saved: a file, or nothing if it created the folder itself."""
    original, note = f"{kept}/original", None
    try:
        _, whose = walk(path)
        if os.path.islink(original):
            note = {"kind": "link", "target": os.readlink(original)}
        elif os.path.isfile(original) and os.path.getsize(original):
            found = os.stat(original)
            readable = whose in (None, found.st_uid) or bool(found.st_mode & 0o004)
            note = {"kind": "file", "sha256": digest(original), "readable": readable}
        elif not os.path.lexists(original):
            with open(os.path.dirname(kept) + ".made", encoding="utf-8") as made:
                note = {"kind": "absent"} if os.path.dirname(path) in made.read().splitlines() else None
    except (OSError, Refused):
        pass
    if note:
        durable(f"{kept}/was", json.dumps(note).encode())


def like(file, found, other, content, whose):
    """Copy content, owner, mode, attributes and times to an opened file."""
    with open(other, "wb", closefd=False) as out:
        out.write(content)
    os.fchown(other, found.st_uid, found.st_gid)
    # Never restore a setuid program from a folder that others may change.
    os.fchmod(other, stat.S_IMODE(found.st_mode) & (0o777 if whose is not None else 0o7777))
    with contextlib.suppress(OSError):
        for name in os.listxattr(file):
            os.setxattr(other, name, os.getxattr(file, name))
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    os.fsync(other)


def put(path, owner, mode):
    """Write standard input to a path, in a file that gets owner and mode before its content."""
    user, group = ids(owner)

    def fill(inner, new):
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=inner)
        os.fchown(file, user, group)
        os.fchmod(file, int(mode, 8))
        while part := os.read(0, 1 << 16):
            os.write(file, part)
        os.fsync(file)
        os.close(file)

    placed(path, fill, make=True)


def copied_back(path, original):
    """Restore a saved file or link to its path."""
    if os.path.islink(original):
        found = os.lstat(original)

        def fill(inner, new):
            os.symlink(os.readlink(original), new, dir_fd=inner)
            os.chown(new, found.st_uid, found.st_gid, dir_fd=inner, follow_symlinks=False)
            os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=inner, follow_symlinks=False)
    else:
        file = os.open(original, os.O_RDONLY | os.O_NOFOLLOW)
        found = os.fstat(file)

        def fill(inner, new):
            other = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=inner)
            like(file, found, other, taken(file, found, original, None), None)
            os.close(other)

    placed(path, fill)


def drop(path):
    """Remove a file."""
    try:
        at, _ = walk(path)
        os.unlink(os.path.basename(path), dir_fd=at)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Refused(f"{path} can't be removed: {reason(error)}") from None
    os.fsync(at)


def back(path, kept):
    """Restore what was at a path before, if that is known; else say that it is left."""
    tidy(path)
    if not os.path.isdir(kept) and (os.path.islink(kept) or (os.path.isfile(kept) and os.path.getsize(kept))):
        copied_back(path, kept)  # as an older version of this program kept it
        return
    note, original = was(kept), f"{kept}/original"
    why = None
    if note is None:
        why = f"what was there before isn't known ({kept} is damaged)"
    elif note["kind"] == "file" and digest(original) != note["sha256"]:
        why = f"what was there before is damaged ({original})"
    elif note["kind"] == "link" and not os.path.islink(original):
        why = f"what was there before is damaged ({original})"
    if why:
        print(f"keeping {path}: {why}")
        sys.exit(3)
    elif note["kind"] == "absent":
        drop(path)
        forget_module(path)
    else:
        try:
            copied_back(path, original)
        except FileNotFoundError:
            print(f"keeping no {path}, whose folder is gone")


def forget_module(path):
    """Remove what Python has compiled of a module that is gone, and the folder for that if nothing else is in it.

    Source: https://peps.python.org/pep-3147/
    """
    folder, name = os.path.split(path)
    module, extension = os.path.splitext(name)
    if extension != ".py":
        return
    with contextlib.suppress(OSError, Refused):
        at, _ = walk(f"{folder}/__pycache__/")
        for compiled in os.listdir(at):
            if compiled.split(".")[0] == module and compiled.endswith(".pyc"):
                os.unlink(compiled, dir_fd=at)
        os.rmdir("__pycache__", dir_fd=walk(path)[0])


def tidy(path):
    """Remove what a killed run has left of a new file."""
    with contextlib.suppress(FileNotFoundError, Refused):
        clear(walk(path)[0], os.path.basename(path) + ".watchpost")


def empty(list_of_folders):
    """Remove the folders named in a list, innermost first, if they are empty."""
    with open(list_of_folders, encoding="utf-8") as lines:
        for folder in lines.read().splitlines():
            try:
                at, _ = walk(folder)
                os.rmdir(os.path.basename(folder), dir_fd=at)
            except (OSError, Refused):
                return


def same(path, owner, mode):
    """Check that the file at a path has its owner and mode, and the content of standard input."""
    content = sys.stdin.buffer.read()
    try:
        at, whose = walk(path)
        file, found = opened(at, os.path.basename(path), path)
    except FileNotFoundError:
        raise Refused(f"{path} is not there") from None
    if taken(file, found, path, whose) != content:
        raise Refused(f"{path} has another content")
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    wanted = f"{owner} {mode.lstrip('0')}"
    # A number works like a name.
    if (found.st_uid, found.st_gid) != ids(owner) or stat.S_IMODE(found.st_mode) != int(mode, 8):
        raise Refused(f"{path} is {called(found.st_uid)}:{group} {stat.S_IMODE(found.st_mode):o} instead of {wanted}")


def show(path):
    """Print a file, if the owner of its folder may read it; else nothing."""
    with contextlib.suppress(OSError, Refused):
        at, whose = walk(path)
        file, found = opened(at, os.path.basename(path), path, whose)
        sys.stdout.buffer.write(taken(file, found, path, whose))


def is_ours(program):
    """Check that only root can change a program, or what it links to."""
    for _ in range(40):
        at, whose = walk(program)
        found = os.lstat(os.path.basename(program), dir_fd=at)
        if whose is not None or found.st_uid:
            raise Refused("")
        if not stat.S_ISLNK(found.st_mode):
            return
        program = os.path.join(os.path.dirname(program), os.readlink(os.path.basename(program), dir_fd=at))


try:
    globals()[sys.argv[1]](*sys.argv[2:])
except Refused as refused:
    sys.exit(str(refused))
except OSError as error:
    sys.exit(f"{error.filename or sys.argv[2]}: {error.strerror}")
PYTHON
)
