"""The sandbox's machine, for real: takes seconds, and a minute without a tree in the cache."""

import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.machine import Machine, cgroup
from sandbox.progress import SandboxError
from sandbox.testing.processes import wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("apt-get"),
    reason="a machine needs Linux, root and apt",
)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Machine]]:
    """Two machines, started at the same time."""
    folder = tmp_path_factory.mktemp("machines")
    both = Machine("first", folder / "first"), Machine("second", folder / "second")
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Machine.start, both))
        yield both
    finally:
        for machine in both:
            machine.stop()


def test_its_user_has_sudo_and_systemd_is_up(machines: tuple[Machine, Machine]) -> None:
    first, _ = machines
    assert first.run("whoami", user=first.user).stdout == "watchpost\n"
    assert first.run("whoami; hostname; systemctl is-system-running").stdout.split() == ["root", "first", "running"]
    assert first.private_key_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.long
def test_apt_works_inside(machines: tuple[Machine, Machine]) -> None:
    first, _ = machines
    first.run("apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends tree")
    assert first.run("tree --version").stdout.startswith("tree")


def test_two_machines_do_not_see_each_other(machines: tuple[Machine, Machine]) -> None:
    first, second = machines
    assert first.port != second.port
    assert first.host_key != second.host_key
    for machine in machines:
        machine.run("systemd-run --quiet --working-directory=/etc python3 -m http.server --bind 0.0.0.0 8000")
        fetch = "curl --silent --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8000/hostname"
        assert machine.run(fetch).stdout == f"{machine.name}\n"


def test_the_hosts_loopback_is_reachable_from_inside(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    (tmp_path / "word").write_text("hello")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://10.0.2.2:{server.server_address[1]}/word"
        assert machines[0].run(f"curl --silent --fail --max-time 10 {url}").stdout == "hello"
        server.shutdown()


def test_it_comes_back_after_a_reboot_and_after_its_death(machines: tuple[Machine, Machine]) -> None:
    _, second = machines
    boot, port = second.run("cat /proc/sys/kernel/random/boot_id").stdout, second.port
    second.run("touch /kept; systemctl reboot", check=False)
    wait_until(
        lambda: second.run("cat /proc/sys/kernel/random/boot_id", check=False).stdout not in ("", boot),
        "the machine comes back by itself",
        90,
    )
    cgroup.remove(second.id)
    assert not second.running()
    second.start()
    assert second.port == port
    second.run("test -e /kept")
    second.reset()
    second.run("test ! -e /kept")


def test_stop_leaves_nothing(tmp_path: Path) -> None:
    machine = Machine("short-lived", tmp_path / "machine")
    try:
        machine.start()
        assert machine.id in subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout
    finally:
        machine.stop()
    machine.stop()
    assert not machine.folder.exists()
    assert not cgroup.path(machine.id).exists()
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert machine.id not in subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout


def test_a_folder_with_other_things_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "dear").touch()
    with pytest.raises(SandboxError, match="holds something else"):
        Machine("careless", tmp_path).stop()
    assert (tmp_path / "dear").exists()
