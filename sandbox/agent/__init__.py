"""A stand-in for the Datadog Agent 7, for the sandbox machine only.

Datadog's own packages are in no package registry, so the sandbox installs this one: a Debian package named
``datadog-agent``, from a signed repository on loopback (:mod:`sandbox.agent.repository`) at which a stand-in for
Datadog's install script points. Paths, user, services, configuration
files and the ``datadog-agent`` commands are those of the real Agent; checks run with Datadog's own
``datadog-checks-base`` and traces are received by Datadog's own ``ddapm-test-agent``. The modules beside this one run
on the machine only.

It differs from the real Agent in this: host tags go out with every metric, latency is a gauge (the mean) and not a
distribution, received traces show in ``status`` at once and not once a minute, DogStatsD's sets and the ``historate``
of checks are left out, and so are logs, processes, secrets (``ENC[]``) and Single Step Instrumentation; traces and
their statistics travel as JSON, and nothing at all to an address on the internet, which counts as out of reach.
"""

from pathlib import Path

HERE = Path(__file__).parent
PLACEHOLDER = "@BASE@"


def install_script(base_url: str) -> str:
    """The install script, as it is served at ``/agent/install_script_agent7.sh``.

    ``base_url`` is the address that the machine sees (``http://10.0.2.2:PORT``); the repository is below it.
    """
    return (HERE / "install_script_agent7.sh").read_text().replace(PLACEHOLDER, base_url.rstrip("/"))
