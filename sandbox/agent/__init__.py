"""A stand-in for the Datadog Agent 7, for the sandbox machine only.

Datadog's own packages are in no package registry, so the sandbox installs this one: a Debian package named
``datadog-agent``, built on the machine by a stand-in for Datadog's install script. Paths, user, services, configuration
files and the ``datadog-agent`` commands are those of the real Agent; checks run with Datadog's own
``datadog-checks-base`` and traces are received by Datadog's own ``ddapm-test-agent``. The modules beside this one run
on the machine only.

It differs from the real Agent in this: host tags go out with every metric, latency is a gauge (the mean) and not a
distribution, received traces show in ``status`` at once and not once a minute, DogStatsD's sets and the ``historate``
of checks are left out, and so are logs, processes, secrets (``ENC[]``) and Single Step Instrumentation; traces and
their statistics travel as JSON, and nothing at all to an address on the internet, which counts as out of reach.
"""

import io
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
PLACEHOLDER = "@PACKAGE_URL@"


def install_script(base_url: str) -> str:
    """The install script, as it is served at ``/agent/install_script_agent7.sh``.

    ``base_url`` is the address that the machine sees (``http://10.0.2.2:PORT``); the package is fetched from below it.
    """
    script = (HERE / "install_script_agent7.sh").read_text()
    return script.replace(PLACEHOLDER, f"{base_url.rstrip('/')}/agent/package.tar.gz")


def package() -> bytes:
    """The Agent's files as a ``tar.gz``, served at ``/agent/package.tar.gz``; the same files give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path in sorted([*HERE.glob("*.py"), HERE / "requirements.txt", *_below("root"), *_below("debian")]):
            archive.add(path, arcname=str(path.relative_to(HERE)), filter=_anonymous)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00" + buffer.getvalue()[8:]  # no time stamp in the gzip header


def _below(folder: str) -> list[Path]:
    return [path for path in (HERE / folder).rglob("*") if path.is_file()]


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o755 if entry.mode & 0o100 else 0o644
    return entry
