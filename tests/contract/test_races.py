"""Write access to folders that root works in gains nothing of root's: tried in a loop, for real.

The steps run as root, on folders of another user, who meanwhile tries every file name trick; a second user holds every
available lock. Runs with the kernel's protection of links and pipes (``fs.protected_*``) as it is; the long tests,
which change it for the whole machine, run without and with it.

``WATCHPOST_RACES`` sets the seconds per race, ``WATCHPOST_SEED`` repeats a run.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.testing.processes import wait_until

from .scripts import Done, run, stand_in
from .test_host_file import NOBODY, Host, may_mount

pytestmark = pytest.mark.skipif(not may_mount(), reason="needs root and mount namespaces (unshare --mount)")

SECONDS = float(os.environ.get("WATCHPOST_RACES") or 3)
SEED = int(os.environ.get("WATCHPOST_SEED") or 17)
SWITCHES = [Path("/proc/sys/fs") / f"protected_{what}" for what in ("symlinks", "hardlinks", "fifos", "regular")]
SECRET, KEY = "fake-secret-of-root", "fake-key-of-the-account"
OWNER = f"nobody:{NOBODY.pw_gid}"
NAMES = ["datadog.yaml", "checks.d/mine.py", "conf.d/mine.d/conf.yaml"]
AS_NOBODY = ["setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups"]
PYTHON = ["env", "PATH=/usr/bin:/bin", "python3"]
"""An interpreter that ``nobody`` can run too."""
ATTACKER = Path(__file__).with_name("attacker.py")

Look = dict[str, tuple[object, ...]]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody can access."""
    folder = Path(tempfile.mkdtemp(prefix="watchpost-races-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def host(place: Path) -> Host:
    """A host with an Agent's folder, owned by the Agent's user, beside root's."""
    for name in ("etc", "kept", "root"):
        (place / name).mkdir()
    agent = place / "etc" / "agent"
    for folder in (agent, agent / "conf.d", agent / "checks.d"):
        folder.mkdir()
        os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
    canaries = place / "root"
    (canaries / "empty.d").mkdir()
    (canaries / "secret").write_text(f"secret: {SECRET}\n")
    (canaries / "secret").chmod(0o600)
    (canaries / "public").write_text("public: text\n")
    return Host(files=agent, kept=place / "kept")


def look(folder: Path) -> Look:
    """Return type, owner and content of everything below a folder of root's."""
    found: Look = {}
    for path in sorted([folder, *folder.rglob("*")]):
        seen = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(seen.st_mode) else b""
        found[str(path)] = (stat.S_IFMT(seen.st_mode), stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid, content)
    return found


def leaks(place: Path) -> list[str]:
    """List files with root's text that others can read, and with the key that not only the Agent's user can."""
    found = []
    for folder, _, names in os.walk(place):
        for path in (Path(folder, name) for name in names):
            with contextlib.suppress(OSError):
                seen = path.lstat()
                if not stat.S_ISREG(seen.st_mode):
                    continue
                text = path.read_text(errors="replace")
                if SECRET in text and (seen.st_uid != 0 or seen.st_mode & 0o044):
                    found.append(f"{path} shows root's text")
                if KEY in text and ((seen.st_mode & 0o044 and seen.st_gid != NOBODY.pw_gid) or seen.st_mode & 0o004):
                    found.append(f"{path} shows the key")
    return found


def step(host: Host, verb: str, name: str, content: str = "") -> Done:
    """Run a step on one of the Agent's files; assert that it ends, with success or one sentence."""
    variables = {"path": str(host.files / name), "owner": OWNER, "mode": "0640"}
    if name == NAMES[0]:
        variables["python"] = sys.executable
    done = run("host/file.sh", verb, variables=variables, stdin=content, inside=host.inside())
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    if done.returncode and verb != "check":
        assert [line for line in done.stderr.splitlines() if line.startswith("watchpost: ")], done.stderr
    return done


@contextlib.contextmanager
def switched(value: str) -> Iterator[None]:
    """Switch the kernel's protection off (0) or on (1), then restore it; or leave it ``as it is``."""
    if value == "as it is":
        yield
        return
    before = {switch: switch.read_text() for switch in SWITCHES}
    try:
        try:
            for switch in SWITCHES:
                switch.write_text(value)
        except OSError:
            pytest.skip("the kernel's protection can't be set here")
        yield
    finally:
        for switch, text in before.items():
            if switch.read_text() != text:
                switch.write_text(text)


@contextlib.contextmanager
def under_attack(host: Host, seed: int, counts: list[int]) -> Iterator["subprocess.Popen[str]"]:
    """Run the Agent's user's attack on root; append the number of attempts to ``counts``."""
    canaries = host.files.parents[1] / "root"
    words = [*AS_NOBODY, *PYTHON, "-I", "-", str(seed), str(host.files), str(canaries), *NAMES]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as attacker:
        assert attacker.stdin
        assert attacker.stdout
        attacker.stdin.write(ATTACKER.read_text())
        attacker.stdin.close()
        try:
            yield attacker
        finally:
            attacker.send_signal(signal.SIGTERM)
            attacker.send_signal(signal.SIGCONT)
            said = attacker.stdout.read()
    counts.append(int(said or 0))


@pytest.mark.parametrize("protected", ["as it is", *(pytest.param(x, marks=pytest.mark.long) for x in "01")])
def test_nobody_wins_a_race_against_root(host: Host, protected: str, capsys: pytest.CaptureFixture[str]) -> None:
    place = host.files.parents[1]
    before, won, steps, well = look(place / "root"), 0, 0, 0
    counts: list[int] = []
    dice = random.Random(SEED)  # noqa: S311 - a game
    with switched(protected), under_attack(host, SEED, counts) as attacker:
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends or steps < 5:
            name, verb = dice.choice(NAMES), dice.choice(["apply", "apply", "apply", "check", "remove"])
            well += step(host, verb, name, f"api_key: {KEY}\nround: {steps}\n").returncode == 0
            steps += 1
            attacker.send_signal(signal.SIGSTOP)  # so that it can't race the test itself
            won += look(place / "root") != before
            won += len(leaks(place))
            attacker.send_signal(signal.SIGCONT)
    # Without an attacker, everything can be removed.
    for path in host.files.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for name in NAMES:
        assert step(host, "remove", name).returncode == 0
    with capsys.disabled():
        print(
            f"\nfs.protected_*={protected} seed {SEED}: {steps} steps ({well} went through), races tried {sum(counts)},"
            f" won {won}"
        )
    assert sum(counts) > 0
    assert won == 0
    assert look(place / "root") == before


def test_a_link_to_a_folder_of_root_s_is_not_followed(host: Host) -> None:
    canaries = host.files.parents[1] / "root"
    before = look(canaries)
    (host.files / "conf.d" / "mine.d").symlink_to(canaries)
    done = step(host, "apply", NAMES[2], f"api_key: {KEY}\n")
    assert done.returncode == 1
    assert f"{host.files}/conf.d/mine.d is a link in a folder that nobody may change" in done.stderr
    assert look(canaries) == before
    step(host, "remove", NAMES[2])
    assert look(canaries) == before


def test_a_link_of_root_s_own_is_followed(host: Host) -> None:
    etc = host.files.parent
    (etc / "linked").symlink_to("agent")
    variables = {"path": str(etc / "linked" / "datadog.yaml"), "owner": OWNER, "mode": "0640"}
    done = run("host/file.sh", variables=variables, stdin="a: 1\n", inside=host.inside())
    assert (done.returncode, done.stderr) == (0, "")
    assert (host.files / "datadog.yaml").read_text() == "a: 1\n"


@pytest.mark.parametrize("kind", ["link", "hard", "theirs"])
def test_what_the_agent_could_not_read_is_not_merged_into_what_it_reads(host: Host, kind: str) -> None:
    secret, path = host.files.parents[1] / "root" / "secret", host.files / NAMES[0]
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "hard":
        os.link(secret, path)
    else:
        path.write_text(secret.read_text())
        path.chmod(0o600)
    before = look(secret.parent)
    done = step(host, "apply", NAMES[0], f"api_key: {KEY}\n")
    assert done.returncode == 0, done.stderr
    assert path.read_text() == f"api_key: {KEY}\n"
    assert SECRET not in done.stdout + done.stderr
    assert leaks(host.files.parents[1]) == []
    assert step(host, "remove", NAMES[0]).returncode == 0
    assert look(secret.parent) == before
    assert path.is_symlink() == (kind == "link")
    assert leaks(host.files.parents[1]) == []


def test_an_agent_s_file_of_root_s_comes_back_as_root_s(host: Host) -> None:
    path = host.files / NAMES[0]
    path.write_text("a: 1\n")
    path.chmod(0o644)
    before = look(host.files)
    assert step(host, "apply", NAMES[0], f"api_key: {KEY}\n").returncode == 0
    assert path.read_text() == f"a: 1\napi_key: {KEY}\n"
    assert step(host, "remove", NAMES[0]).returncode == 0
    assert look(host.files) == before


@pytest.mark.parametrize("verb", ["apply", "check", "remove"])
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(host: Host, verb: str) -> None:
    path = host.files / NAMES[0]
    if verb != "apply":
        path.write_text("a: 1\n")
        assert step(host, "apply", NAMES[0], "b: 2\n").returncode == 0
        path.unlink()
    os.mkfifo(path)
    done = step(host, verb, NAMES[0], "b: 2\n")
    if verb == "remove":
        assert done.returncode == 0, done.stderr
        assert path.read_text() == "a: 1\n"
    else:
        assert done.returncode == 1
        assert f"{path} is no file" in done.stderr


def test_a_python_of_the_agent_s_user_does_not_run_as_root(host: Host) -> None:
    python = host.files / "python3"
    stand_in(host.files, "python3", f'id -u >{host.files}/ran-as\nPATH=/usr/bin:/bin exec python3 "$@"')
    os.chown(python, NOBODY.pw_uid, NOBODY.pw_gid)
    (host.files / NAMES[0]).write_text("a: 1\n")
    variables = {"path": str(host.files / NAMES[0]), "owner": OWNER, "mode": "0640", "python": str(python)}
    run("host/file.sh", variables=variables, stdin="b: 2\n", inside=host.inside())
    assert (host.files / "ran-as").read_text() == f"{NOBODY.pw_uid}\n"


HOLDER = """
import fcntl, os, sys, time
held = {}
print("begun", flush=True)
while True:
    for name in sys.argv[1:]:
        for folder, _, files in os.walk(name) if os.path.isdir(name) else [(name, [], [])]:
            for path in [folder, *(os.path.join(folder, file) for file in files)]:
                if path not in held:
                    try:
                        held[path] = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                        fcntl.flock(held[path], fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except OSError:
                        pass
    time.sleep(0.01)
"""
"""Opens every file that it can, and locks it."""


def test_nobody_else_can_hold_a_lock_that_a_step_waits_for(host: Host, place: Path) -> None:
    app, programs = place / "app", place / "programs"
    app.mkdir()
    (app / "requirements.txt").write_text("")
    stand_in(
        programs,
        "python3",
        'case "$*" in *venv*) echo "the install began"; exit 1;; *) exec /usr/bin/python3 "$@";; esac',
    )
    within = [*host.inside()]
    # In the step's own view of the host's /var/lib.
    holder = [
        *within,
        *AS_NOBODY,
        *PYTHON,
        "-I",
        "-c",
        HOLDER,
        str(place),
        "/var/lib",
        "/run/watchpost",
        "/run",
        "/opt",
        "/etc",
    ]
    with subprocess.Popen(holder, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "begun\n"
        time.sleep(0.3)
        try:
            assert step(host, "apply", NAMES[0], "a: 1\n").returncode == 0
            assert step(host, "remove", NAMES[0]).returncode == 0
            for verb, code in (("apply", 1), ("remove", 0)):
                variables = {"directory": str(app)}
                done = run("traced_app/environment.sh", verb, variables=variables, programs=programs, inside=within)
                assert done.returncode == code, done.stderr
                assert "waiting" not in done.stdout
        finally:
            other.kill()


def test_a_lock_that_is_held_for_too_long_is_told_with_who_holds_it() -> None:
    text = "set -eu\n. files/host/cause.sh\nalone of-a-test\n"
    first = subprocess.Popen(["bash", "-c", f"{text}echo begun; exec sleep 60"], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout
        assert first.stdout.readline() == "begun\n"
        second = subprocess.run(
            ["bash", "-c", f"lock_wait=1\n{text}"], capture_output=True, text=True, timeout=30, check=False
        )
    finally:
        first.kill()
        first.wait()
        assert first.stdout
        first.stdout.close()
    assert second.returncode == 1
    assert second.stderr.endswith(f"of-a-test.lock: process {first.pid} (sleep) of root\n"), second.stderr
    subprocess.run(["bash", "-c", text], check=True)
    wait_until(lambda: not Path("/run/watchpost/of-a-test.lock").exists(), "the lock's file has gone")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("was", "is damaged"),
        ("original", "what was there before is damaged"),
        ("empty", "is damaged"),
        ("all", "is damaged"),
    ],
)
@pytest.mark.parametrize("existed", [True, False])
def test_what_a_damaged_note_tells_of_is_left_and_named(host: Host, existed: bool, damage: str, said: str) -> None:
    path = host.files / NAMES[1]
    if existed:
        path.write_text("original\n")
    elif damage == "original":
        return
    assert step(host, "apply", NAMES[1], "ours\n").returncode == 0
    kept = host.kept / "watchpost" / "files" / str(path).lstrip("/")
    assert json.loads((kept / "was").read_text())["kind"] == ("file" if existed else "absent")
    for file in list(kept.iterdir()):
        if damage in (file.name, "all"):
            file.unlink()
        elif damage == "empty":
            file.write_text("")
    done = step(host, "remove", NAMES[1])
    assert done.returncode == 0, done.stderr
    assert f"keeping {path}: what was there before " in done.stdout
    assert said in done.stdout
    assert path.read_text() == "ours\n"
    # The original is never discarded.
    assert (kept / "original").exists() == (existed and damage not in ("original", "all"))
    assert existed or list(host.kept.iterdir()) == []


def test_what_an_older_version_has_kept_comes_back(host: Host) -> None:
    """It kept no record of what was there."""
    for name in NAMES[:2]:
        (host.files / name).write_text("a: 1\n")
        assert step(host, "apply", name, "b: 2\n").returncode == 0
    for note in host.kept.rglob("was"):
        note.unlink()
    for name in NAMES[:2]:
        assert step(host, "apply", name, "b: 3\n").returncode == 0
    assert (host.files / NAMES[0]).read_text() == "a: 1\nb: 3\n"
    for name in NAMES[:2]:
        assert step(host, "remove", name).returncode == 0
        assert (host.files / name).read_text() == "a: 1\n"
    assert list(host.kept.iterdir()) == []


def test_a_note_that_is_gone_is_told_and_nothing_is_taken(host: Host) -> None:
    path = host.files / NAMES[1]
    assert step(host, "apply", NAMES[1], "ours\n").returncode == 0
    shutil.rmtree(host.kept / "watchpost" / "files")
    done = step(host, "remove", NAMES[1])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"keeping {path}: what was there before isn't known (")
    assert path.read_text() == "ours\n"
