"""A file on a host: owner and mode before content, and complete restoration. For real, as root.

Each run has its own /var/lib, where the script keeps originals, and /run for its lock.
"""

import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from sandbox.testing.processes import wait_until

from .scripts import Done, command, run

SCRIPT = "host/file.sh"
NOBODY = pwd.getpwnam("nobody")
OWNER = f"nobody:{NOBODY.pw_gid}"


def may_mount() -> bool:
    """Whether mount namespaces are available here."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    probe = ["unshare", "--mount", "mount", "--bind", "/var", "/var"]
    return subprocess.run(probe, stderr=subprocess.DEVNULL, timeout=10, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not may_mount(), reason="needs root and mount namespaces (unshare --mount)")


@dataclass(frozen=True, kw_only=True)
class Host:
    """A folder for files, and those in place of /var/lib and, next to it, /run."""

    files: Path
    kept: Path

    @property
    def run(self) -> Path:
        """The folder in place of /run."""
        return self.kept.with_name("run")

    def inside(self) -> list[str | Path]:
        """Return the command to run the script in, with these folders in place of /var/lib and /run."""
        self.run.mkdir(exist_ok=True)
        bind = 'mount --bind "$0" /var/lib && mount --bind "$1" /run && shift && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", bind, self.kept, self.run]

    def apply(self, path: Path, content: str, mode: str = "0640", python: str = "") -> Done:
        """Write ``content`` to ``path``, or merge it with ``python``."""
        variables = {"path": str(path), "owner": OWNER, "mode": mode, "python": python}
        return run(SCRIPT, variables=variables, stdin=content, inside=self.inside())

    def remove(self, path: Path) -> Done:
        """Undo it."""
        variables = {"path": str(path), "owner": OWNER, "mode": "0640"}
        return run(SCRIPT, "remove", variables=variables, inside=self.inside())

    @contextlib.contextmanager
    def applying(self, path: Path) -> "Iterator[subprocess.Popen[bytes]]":
        """Run the script with its standard input still open."""
        variables = {"path": str(path), "owner": OWNER, "mode": "0640"}
        process = subprocess.Popen(
            [*self.inside(), *command(SCRIPT, "apply", variables)], stdin=subprocess.PIPE, start_new_session=True
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait(10)

    def unfinished(self, path: Path) -> Path | None:
        """Return the temporary file beside ``path``, if there is one."""
        others = [other for other in path.parent.glob(f"{path.name}.*") if other.is_file()]
        return others[0] if others else None


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A bare host."""
    (tmp_path / "files").mkdir()
    (tmp_path / "kept").mkdir()
    return Host(files=tmp_path / "files", kept=tmp_path / "kept")


def look(path: Path) -> tuple[bytes, int, int, int, int]:
    """Return content, mode, owner, group, and modification time."""
    seen = path.lstat()
    return path.read_bytes(), stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid, seen.st_mtime_ns


def ok(done: Done) -> None:
    """Assert success without output."""
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_new_file_has_content_owner_and_mode_and_goes_without_a_trace(host: Host) -> None:
    path = host.files / "a b.conf"
    content = "line é\n$HOME `id` 'quoted' \"twice\"\nWATCHPOST\nno newline at the end"
    ok(host.apply(path, content))
    seen = look(path)
    assert seen[:4] == (content.encode(), 0o640, NOBODY.pw_uid, NOBODY.pw_gid)
    assert list(host.files.iterdir()) == [path]
    ok(host.remove(path))
    assert list(host.files.iterdir()) == []
    assert list(host.kept.iterdir()) == []
    ok(host.remove(path))


def test_owner_and_mode_are_set_before_there_is_content(host: Host) -> None:
    path = host.files / "secret"
    path.write_text("as before")
    with host.applying(path) as process:

        def guarded() -> bool:
            new = host.unfinished(path)
            seen = look(new) if new else None
            assert not seen or seen[0] == b""
            return bool(seen) and seen[1:4] == (0o640, NOBODY.pw_uid, NOBODY.pw_gid) if seen else False

        wait_until(guarded, "the file has its owner and mode while nothing was sent yet", 10)
        assert path.read_text() == "as before"
        process.communicate(b"a secret", timeout=10)
        assert process.returncode == 0
    assert look(path)[:4] == (b"a secret", 0o640, NOBODY.pw_uid, NOBODY.pw_gid)


def test_applying_again_changes_the_content_and_forgets_nothing(host: Host) -> None:
    path = host.files / "app.conf"
    path.write_bytes(b"original\x00bytes\r\n")
    path.chmod(0o604)
    os.chown(path, 1, 2)
    os.utime(path, ns=(10**18, 10**18 + 7))
    before = look(path)
    for content, mode in (("one", "0640"), ("one", "0640"), ("two", "0600")):
        ok(host.apply(path, content, mode))
        assert look(path)[:2] == (content.encode(), int(mode, 8))
    ok(host.remove(path))
    assert look(path) == before
    assert list(host.files.iterdir()) == [path]
    assert list(host.kept.iterdir()) == []
    ok(host.remove(path))
    assert look(path) == before


def test_a_link_comes_back_as_the_link_that_it_was(host: Host) -> None:
    (host.files / "target").write_text("linked")
    for name, target in (("link", "target"), ("dangling", "nowhere")):
        path = host.files / name
        path.symlink_to(target)
        ok(host.apply(path, "ours"))
        assert not path.is_symlink()
        ok(host.remove(path))
        assert path.readlink() == Path(target)
    assert (host.files / "target").read_text() == "linked"


def test_the_kept_original_is_for_root_alone(host: Host) -> None:
    path = host.files / "app.conf"
    path.write_text("original")
    ok(host.apply(path, "ours"))
    assert stat.S_IMODE((host.kept / "watchpost" / "files").stat().st_mode) == 0o700


def test_a_directory_that_was_made_goes_with_the_last_file_in_it(host: Host) -> None:
    first, second = host.files / "app.d" / "one", host.files / "app.d" / "two"
    ok(host.apply(first, "1"))
    ok(host.apply(second, "2"))
    ok(host.remove(first))
    assert list((host.files / "app.d").iterdir()) == [second]
    ok(host.remove(second))
    assert list(host.files.iterdir()) == []
    assert list(host.kept.iterdir()) == []


def test_directories_that_were_made_one_in_the_other_go_all(host: Host) -> None:
    path = host.files / "a" / "b" / "file"
    ok(host.apply(path, "1"))
    ok(host.remove(path))
    assert list(host.files.iterdir()) == []


def test_a_directory_that_was_there_or_is_used_by_others_stays(host: Host) -> None:
    (host.files / "there").mkdir()
    ok(host.apply(host.files / "there" / "file", "1"))
    ok(host.remove(host.files / "there" / "file"))
    ok(host.apply(host.files / "made" / "file", "1"))
    (host.files / "made" / "foreign").write_text("somebody else's")
    ok(host.remove(host.files / "made" / "file"))
    assert sorted(host.files.rglob("*")) == [host.files / "made", host.files / "made" / "foreign", host.files / "there"]
    assert list(host.kept.iterdir()) == []


def test_what_python_has_compiled_of_a_module_goes_with_it(host: Host) -> None:
    path, compiled = host.files / "my_metric.py", host.files / "__pycache__"
    ok(host.apply(path, "pass\n"))
    compiled.mkdir()
    for name in ("my_metric.cpython-311.pyc", "my_metric.cpython-313.opt-1.pyc", "my_metric_2.cpython-311.pyc"):
        (compiled / name).touch()
    ok(host.remove(path))
    assert [each.name for each in compiled.iterdir()] == ["my_metric_2.cpython-311.pyc"]
    (compiled / "my_metric_2.cpython-311.pyc").unlink()
    ok(host.apply(path, "pass\n"))
    ok(host.remove(path))
    assert not compiled.exists()


def test_what_python_has_compiled_of_a_module_of_somebody_s_stays(host: Host) -> None:
    path, compiled = host.files / "my_metric.py", host.files / "__pycache__"
    path.write_text("mine\n")
    compiled.mkdir()
    (compiled / "my_metric.cpython-311.pyc").touch()
    ok(host.apply(path, "pass\n"))
    ok(host.remove(path))
    assert (compiled / "my_metric.cpython-311.pyc").exists()
    # Nor does a link of the folder's owner lead to others' files.
    path.unlink()
    os.chown(host.files, NOBODY.pw_uid, NOBODY.pw_gid)
    compiled.rename(host.files.with_name("elsewhere"))
    compiled.symlink_to(host.files.with_name("elsewhere"))
    ok(host.apply(path, "pass\n"))
    ok(host.remove(path))
    assert (compiled / "my_metric.cpython-311.pyc").exists()


@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_killed_leaves_the_file_alone_and_the_next_one_works(
    host: Host, existed: bool, number: signal.Signals
) -> None:
    path = host.files / "app.conf"
    if existed:
        path.write_text("original")
    with host.applying(path) as process:
        assert process.stdin is not None
        process.stdin.write(b"half of")
        process.stdin.flush()
        wait_until(lambda: (new := host.unfinished(path)) and new.read_bytes() == b"half of", "half is written", 10)
        os.killpg(process.pid, number)
        process.wait(10)
    assert path.exists() == existed
    assert not existed or path.read_text() == "original"
    ok(host.apply(path, "whole"))
    assert path.read_text() == "whole"
    ok(host.remove(path))
    assert path.exists() == existed
    assert not existed or path.read_text() == "original"
    # No partial secret may stay behind either.
    assert list(host.files.iterdir()) == ([path] if existed else [])
    assert list(host.kept.iterdir()) == []


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_what_can_not_be_written_is_told_with_the_true_cause(host: Host, user: str) -> None:
    path = host.files / "there"
    path.write_text("mine")
    os.chown(host.files, pwd.getpwnam(user).pw_uid, -1)
    variables = {"path": str(path), "owner": OWNER, "mode": "0640"}
    read_only = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    inside = ["unshare", "--mount", "sh", "-c", read_only, host.files, *host.inside()]
    for verb in ("apply", "remove"):
        done = run(SCRIPT, verb, variables=variables, stdin="new", inside=inside)
        assert done.returncode == 1
        assert done.stderr.startswith(f"watchpost: {path} on {os.uname().nodename} can't be written (Read-only file ")
    for immutable in (host.files, path):
        if subprocess.run(["chattr", "+i", immutable], check=False).returncode:
            pytest.skip("no file can be made immutable here")
        try:
            done = host.apply(path, "new")
        finally:
            subprocess.run(["chattr", "-i", immutable], check=True)
        words = "Operation not permitted (immutable? see lsattr, and chattr -i)"
        assert (done.returncode, done.stderr) == (1, f"watchpost: {path} can't be written: {words}\n")
    assert host.apply(path, "new").returncode == 0
    assert host.remove(path).returncode == 0
    assert path.read_text() == "mine"


def test_a_file_system_without_inodes_is_told_as_such(host: Host) -> None:
    path = host.files / "there"
    variables = {"path": str(path), "owner": OWNER, "mode": "0640"}
    without = 'mount -t tmpfs -o nr_inodes=1 none "$0" && exec "$@"'
    inside = ["unshare", "--mount", "sh", "-c", without, host.files, *host.inside()]
    done = run(SCRIPT, variables=variables, stdin="new", inside=inside)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"watchpost: no space left on {os.uname().nodename}: make room there and run `pulumi u"
    )
    assert f"no inodes on {host.files}" in done.stderr


def test_an_owner_that_is_not_there_changes_nothing(host: Host) -> None:
    path = host.files / "app.conf"
    path.write_text("original")
    variables = {"path": str(path), "owner": "nobody-of-that-name:root", "mode": "0640"}
    done = run(SCRIPT, variables=variables, stdin="a secret", inside=host.inside())
    assert done.returncode != 0
    assert "nobody-of-that-name" in done.stderr
    assert path.read_text() == "original"
    assert list(host.files.iterdir()) == [path]


THERE = """\
# The Agent's own comments.
api_key: old
# api_key: a comment that looks like one

proxy:
  https: http://proxy.example.com:3128
tags:
- team:theirs
logs_enabled: true
apm_config:
    # theirs
    max_traces_per_second: 10
"""
OURS = "api_key: new\ntags:\n- team:ours\napm_config:\n  enabled: true\n  env: '1e3'\n"


def test_a_merged_file_keeps_what_was_there_and_names_what_it_changes(host: Host) -> None:
    path = host.files / "datadog.yaml"
    path.write_text(THERE)
    for _ in range(2):
        done = host.apply(path, OURS, python=sys.executable)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{path}: api_key, tags, apm_config are changed, everything else in it stays\n"
        text = path.read_text()
        assert yaml.safe_load(text) == {
            "api_key": "new",
            "proxy": {"https": "http://proxy.example.com:3128"},
            "tags": ["team:ours"],
            "logs_enabled": True,
            "apm_config": {"max_traces_per_second": 10, "enabled": True, "env": "1e3"},
        }
        assert 'env: "1e3"' in text
        assert "# The Agent's own comments.\n" in text
        assert "old" not in text.replace("# api_key", "")
    ok(host.remove(path))
    assert path.read_text() == THERE


@pytest.mark.parametrize("there", ["", "{a: 1, api_key: old}\n", "---\na: 1\n", "a: 1", "'a': 1\n'api_key': old\n"])
def test_a_file_of_any_form_is_merged(host: Host, there: str) -> None:
    path = host.files / "datadog.yaml"
    path.write_text(there)
    assert host.apply(path, OURS, python=sys.executable).returncode == 0
    expected = {**yaml.safe_load(OURS), **({"a": 1} if there else {})}
    assert yaml.safe_load(path.read_text()) == expected


def test_a_file_that_can_t_be_read_is_replaced_with_a_word_and_comes_back(host: Host) -> None:
    path = host.files / "datadog.yaml"
    path.write_text("a: [\n")
    done = host.apply(path, OURS, python=sys.executable)
    assert (done.returncode, done.stdout) == (0, f"{path} was no valid YAML and is replaced until it is taken back\n")
    assert yaml.safe_load(path.read_text()) == yaml.safe_load(OURS)
    ok(host.remove(path))
    assert path.read_text() == "a: [\n"


INTEGRATION = """\
# theirs
init_config:
  service: shop
instances:
  - host: localhost
    username: theirs
  - host: db.example.com
    username: remote
    tags: [team:theirs]
  - host: 127.0.0.1
    port: 3307
logs:
  - type: file
    path: /var/log/mysql/error.log
"""
OUR_INTEGRATION = "init_config: {}\ninstances:\n- host: 127.0.0.1\n  port: 3306\n  username: datadog\n"


def test_an_integration_s_file_keeps_what_it_collects_besides(host: Host) -> None:
    path = host.files / "conf.yaml"
    path.write_text(INTEGRATION)
    for _ in range(2):
        done = host.apply(path, OUR_INTEGRATION, python=sys.executable)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{path}: instances are changed, everything else in it stays\n"
        theirs, ours = yaml.safe_load(INTEGRATION), yaml.safe_load(OUR_INTEGRATION)
        assert yaml.safe_load(path.read_text()) == {
            **theirs,
            "instances": ours["instances"] + theirs["instances"][1:],
        }
    ok(host.remove(path))
    assert path.read_text() == INTEGRATION
