"""``files/agent/install.sh``, around Datadog's install script, leaves no traces and breaks nothing.

The tests build on each other in their order.
"""

import pytest

from sandbox.agent.repository import DEFAULT, NEWER, OLDER
from sandbox.datadog import Account
from sandbox.machine import Machine
from sandbox.testing.stacks import host_state
from tests.engine.steps import hold_lock, in_background, sentence, step, went_well

SCRIPT = "agent/install.sh"
NEEDS = {"packages": "curl, gnupg, python3-venv"}
LIST = "/etc/apt/sources.list.d/datadog.list"
WORKER = "datadog-observability-pipelines-worker"

SOMEBODYS = rf"""
set -eu
# Another package of Datadog's.
mkdir -p /srv/p/DEBIAN /srv/p/etc/{WORKER}
printf 'Package: {WORKER}\nVersion: 1\nArchitecture: all\nMaintainer: me <me@example.com>\nDescription: mine\n' \
  >/srv/p/DEBIAN/control
dpkg-deb --build --root-owner-group /srv/p /srv/worker.deb >/dev/null
DEBIAN_FRONTEND=noninteractive apt-get -qq install /srv/worker.deb >/dev/null
# What a run of the install script by hand has left.
echo mine >/root/ddagent-install.log
echo mine >/home/watchpost/ddagent-install.log
for name in ddog_install_error_msg DATADOG_APT_KEY_CURRENT.public policy-do-not-start-service-rc.d; do
  echo mine >/tmp/$name && chown watchpost /tmp/$name && chmod 0600 /tmp/$name
done
rm -f /var/cache/apt/*.bin
"""


@pytest.fixture(scope="module")
def machine(machine: Machine) -> Machine:
    """The machine, after the install script was run by hand and the Agent removed."""
    went_well(step(machine, "host/packages.sh", "apply", NEEDS))
    machine.run(SOMEBODYS)
    return machine


@pytest.fixture(scope="module")
def before(machine: Machine) -> set[str]:
    """The machine's state before the tests."""
    return host_state(machine)


def wanted(account: Account, version: str = "", **other: str) -> dict[str, str]:
    """Return the step's variables; without ``version``, as if the setting is left out."""
    url = f"http://10.0.2.2:{account.port}/agent/install_script_agent7.sh"
    return {"url": url, "version": version or DEFAULT, "exact": "yes" if version else "no", **other}


def agent(machine: Machine) -> str:
    """Return the Agent's version, and whether its two services run."""
    done = machine.run("datadog-agent version; systemctl is-active datadog-agent datadog-agent-trace", check=False)
    return " ".join(done.stdout.split()[1:2] + done.stdout.split()[-2:])


@pytest.mark.parametrize(
    ("fault", "status", "told"),
    [
        ("/agent/keys/*", "404", "vm can't have the keys of Datadog's repository"),
        ("/agent/apt/dists/stable/InRelease", "garbage", "the signature of Datadog's repository is not good on vm"),
        ("/agent/apt/dists/*", "500", "apt on vm can't reach Datadog's repository: "),
        ("/agent/install_script_agent7.sh", "404", "(watchpost:installScriptUrl): (22) The requested URL returned er"),
    ],
)
def test_a_first_install_that_fails_is_undone_and_its_cause_told(
    machine: Machine, account: Account, before: set[str], fault: str, status: str, told: str
) -> None:
    assert before
    account.fault("GET", fault, int(status) if status.isdigit() else "garbage", times=60)
    done = step(machine, SCRIPT, "apply", wanted(account))
    account.clear_faults()
    assert told in sentence(done)
    machine.run(f"test ! -e {LIST} && test ! -e /var/lib/watchpost/agent && test ! -e /var/lib/watchpost/undo/agent")


REDIRECTS = """
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", sys.argv[1])
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", 4443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/srv/tls.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def test_another_install_script_than_the_one_that_is_known_is_not_run(machine: Machine, account: Account) -> None:
    done = step(machine, SCRIPT, "apply", wanted(account, sha256="0" * 64))
    got = machine.run(f"curl -fsS {wanted(account)['url']} | sha256sum").stdout.split()[0]
    assert f" has the SHA-256 {got} instead of {'0' * 64} (watchpost:installScriptSha256)" in sentence(done)
    machine.run(f"test ! -e {LIST} && test ! -e /var/lib/watchpost/agent && test ! -e /opt/datadog-agent")


def test_what_is_asked_for_by_https_never_comes_by_http(machine: Machine, account: Account) -> None:
    machine.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
        " -keyout /srv/tls.pem -out /srv/tls.crt 2>/dev/null && cat /srv/tls.crt >>/srv/tls.pem"
        " && cp /srv/tls.crt /usr/local/share/ca-certificates/tests.crt && update-ca-certificates >/dev/null"
    )
    machine.run("cat >/srv/redirects.py", input=REDIRECTS)
    in_background(machine, "redirects", f"python3 /srv/redirects.py {wanted(account)['url']}")
    machine.run("timeout 20 bash -c 'until (: </dev/tcp/127.0.0.1/4443) 2>/dev/null; do sleep 0.1; done'")
    done = step(machine, SCRIPT, "apply", wanted(account) | {"url": "https://127.0.0.1:4443/agent.sh"})
    machine.run(
        "systemctl stop redirects; rm -r /srv/tls.* /srv/redirects.py /usr/local/share/ca-certificates/tests.crt"
        " && update-ca-certificates --fresh >/dev/null"
    )
    assert "can't be had from https://127.0.0.1:4443/agent.sh (watchpost:installScriptUrl): (1) " in sentence(done)


def test_a_user_that_did_not_come_with_our_agent_stays(machine: Machine, account: Account, before: set[str]) -> None:
    """After a run killed before apt began, somebody has created the user."""
    note = r"begun .\nversion  .\nabsent /etc/datadog-agent .\nscript .\nabsent-user dd-agent .\n"
    kept = "/var/lib/watchpost/agent"
    for rest in ("", r"installing datadog-agent purge .\n"):
        machine.run(f"mkdir -p {kept}/files && printf '{note}{rest}' >{kept}/ours && useradd --system dd-agent")
        said = went_well(step(machine, SCRIPT, "remove", wanted(account)))
        assert "keeping the user dd-agent, of which it isn't known who made it" in said
        machine.run("getent passwd dd-agent && userdel dd-agent && rm -f /var/cache/apt/*.bin")
    assert sorted(before ^ host_state(machine)) == []


@pytest.mark.parametrize("damage", [": >{}/ours", "rm -f {}/ours", "printf 'begun .\\nscri' >{}/ours"])
def test_what_a_damaged_note_does_not_tell_of_stays(machine: Machine, account: Account, damage: str) -> None:
    kept = "/var/lib/watchpost/agent"
    machine.run(f"mkdir -p {kept}/files /etc/datadog-agent /opt/datadog-agent && echo mine >/etc/datadog-agent/mine")
    machine.run(f"useradd --system dd-agent; {damage.format(kept)}")
    said = went_well(step(machine, SCRIPT, "remove", wanted(account)))
    assert "can't be read in full on vm" in said
    machine.run("cat /etc/datadog-agent/mine && test -d /opt/datadog-agent && getent passwd dd-agent")
    machine.run("rm -r /etc/datadog-agent /opt/datadog-agent; userdel dd-agent; rm -f /var/cache/apt/*.bin")


def test_a_version_that_there_is_not_is_told_by_its_setting(machine: Machine, account: Account) -> None:
    done = step(machine, SCRIPT, "apply", wanted(account, "7.99.9"))
    assert sentence(done).startswith(
        "there is no Agent 7.99.9 in Datadog's repository: set watchpost:agentVersion to one that is"
    )


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("mine.list", "deb {} stable 7"),
        ("mine.list", "deb [trusted=yes] {} stable 7"),
        ("datadog.sources", "Types: deb\nURIs: {}\nSuites: stable\nComponents: 7\nTrusted: yes"),
    ],
)
def test_apt_is_whole_again_where_the_repository_was_listed_before_in_another_way(
    machine: Machine, account: Account, before: set[str], name: str, source: str
) -> None:
    listed = f"/etc/apt/sources.list.d/{name}"
    machine.run(f"cat >{listed}", input=source.format(f"http://10.0.2.2:{account.port}/agent/apt/") + "\n")
    told = sentence(step(machine, SCRIPT, "apply", wanted(account)))
    assert told.startswith(f"apt on vm has Datadog's repository already, in {listed}, with ")
    machine.run(f"apt-get check && apt-get update --print-uris && rm -f {listed} /var/cache/apt/*.bin")
    if "rusted" in source:
        assert sorted(before ^ host_state(machine)) == []


IOT_AGENT = r"""
set -eu
mkdir -p /srv/q/DEBIAN
printf 'Package: datadog-iot-agent\nVersion: 1\nArchitecture: all\nMaintainer: me <me@example.com>
Conflicts: datadog-agent\nDescription: mine\n' >/srv/q/DEBIAN/control
dpkg-deb --build --root-owner-group /srv/q /srv/iot.deb >/dev/null && rm -r /srv/q
DEBIAN_FRONTEND=noninteractive apt-get -qq install /srv/iot.deb >/dev/null
rm -f /srv/iot.deb /var/cache/apt/*.bin
"""


def test_an_agent_of_another_flavor_is_not_taken_away_for_ours(
    machine: Machine, account: Account, before: set[str]
) -> None:
    machine.run(IOT_AGENT)
    told = sentence(step(machine, SCRIPT, "apply", wanted(account)))
    assert told.startswith("the Agent can't be installed on vm: datadog-iot-agent would have to go. Remove it there")
    machine.run("dpkg-query -W datadog-iot-agent; apt-get -qq -y purge datadog-iot-agent; rm -f /var/cache/apt/*.bin")
    assert sorted(before ^ host_state(machine)) == []


def test_it_waits_for_every_lock_and_leaves_nothing_of_its_own(machine: Machine, account: Account) -> None:
    hold_lock(machine, "/var/lib/apt/lists/lock", 300)
    went_well(step(machine, SCRIPT, "apply", wanted(account)))
    machine.run("systemctl stop held-lock; rm -f /run/held")
    assert agent(machine).startswith(DEFAULT)
    found = machine.run(
        "cat /root/ddagent-install.log /home/watchpost/ddagent-install.log /tmp/ddog_install_error_msg"
        " /tmp/DATADOG_APT_KEY_CURRENT.public /tmp/policy-do-not-start-service-rc.d;"
        " ls /tmp/DATADOG* | wc -l; ls -d /root/.gnupg /usr/share/keyrings/datadog-archive-keyring.gpg~ 2>/dev/null;"
        " pgrep gpg-agent; find /var/cache/apt/archives /var/lib/apt/lists -name '*agent*'; ls /var/lib/watchpost"
    )
    assert found.stdout.split() == [*["mine"] * 5, "1", "agent", "packages", "undo"]
    assert not [request for request in account.requests() if request["path"] == "/agent/apmtelemetry"]
    machine.run("apt-get -qq check && systemctl enable -q --now datadog-agent")


def test_another_version_is_installed_by_name_down_and_up_and_the_services_run_on(
    machine: Machine, account: Account
) -> None:
    hold_lock(machine, "/var/lib/dpkg/lock-frontend", 5)
    for version in (OLDER, NEWER):
        went_well(step(machine, SCRIPT, "apply", wanted(account, version)))
        assert agent(machine) == f"{version} active active"
    told = sentence(step(machine, SCRIPT, "apply", wanted(account, "7.99.9")))
    assert "there is no Agent 7.99.9" in told
    assert agent(machine) == f"{NEWER} active active"


def test_a_newer_one_is_kept_where_none_is_named(machine: Machine, account: Account) -> None:
    said = went_well(step(machine, SCRIPT, "apply", wanted(account)))
    assert f"keeping Agent {NEWER}, which is newer than {DEFAULT}" in said
    went_well(step(machine, SCRIPT, "check", wanted(account)))
    assert step(machine, SCRIPT, "check", wanted(account, DEFAULT)).returncode == 1


def test_what_it_brought_goes_and_nothing_else(machine: Machine, account: Account, before: set[str]) -> None:
    machine.run("mkdir /etc/datadog-agent/conf.d/mine.d && rm -rf /var/cache/apt/*.bin")
    machine.run("systemctl stop datadog-agent datadog-agent-trace && userdel dd-agent")  # which a purge needs
    theirs = "/opt/datadog-packages/datadog-apm-inject"
    machine.run(f"mkdir {theirs} && touch {theirs}/launcher.preload.so")
    said = went_well(step(machine, SCRIPT, "remove", wanted(account)))
    assert "keeping /opt/datadog-packages, which others use: datadog-apm-inject" in said
    machine.run(f"rm {theirs}/launcher.preload.so && rm -r /opt/datadog-packages")
    assert sorted(before ^ host_state(machine)) == []


@pytest.mark.long
def test_somebody_else_s_user_of_the_agent_s_name_keeps_its_group(machine: Machine, account: Account) -> None:
    machine.run("useradd --uid 4321 --gid users --no-create-home dd-agent")
    theirs = host_state(machine)
    went_well(step(machine, SCRIPT, "apply", wanted(account)))
    # As the real package does: omnibus/package-scripts/agent-deb/postinst of DataDog/datadog-agent.
    machine.run("usermod --gid dd-agent dd-agent")
    went_well(step(machine, SCRIPT, "remove", wanted(account)))
    assert sorted(theirs ^ host_state(machine)) == []
    machine.run("userdel dd-agent")


def theirs(line: str) -> bool:
    """Whether a line differs because of somebody else's running Agent: its logs and rewritten units."""
    return "/var/log/datadog/" in line or (line.startswith("size ") and "/datadog-agent" in line)


@pytest.mark.long
def test_an_agent_that_was_there_gets_back_its_version_its_hold_and_its_files(
    machine: Machine, account: Account
) -> None:
    url = wanted(account)["url"]
    machine.run(
        f"mkdir /srv/mine && cd /srv/mine && curl -fsS {url} -o agent.sh && rm -f /tmp/DATADOG* /tmp/ddog* /tmp/policy*"
        f" && DD_API_KEY=fake-of-before DD_AGENT_MINOR_VERSION={OLDER[2:]} bash agent.sh >/dev/null"
        " && apt-mark hold datadog-agent && gpgconf --kill all && rm -rf /root/.gnupg /var/cache/apt/*.bin"
        f" && echo '# mine' >>{LIST} && echo DD_MINE=1 >/etc/datadog-agent/environment"
    )
    before = host_state(machine)
    said = went_well(step(machine, SCRIPT, "apply", wanted(account)))
    assert f"keeping Agent {OLDER}, which is on hold (apt-mark)" in said
    went_well(step(machine, SCRIPT, "remove", wanted(account)))
    assert sorted(line for line in before ^ host_state(machine) if not theirs(line)) == []
    for version in (DEFAULT, NEWER):
        went_well(step(machine, SCRIPT, "apply", wanted(account, version)))
        assert agent(machine) == f"{version} active active"
        assert machine.run("apt-mark showhold; rm -f /var/cache/apt/*.bin").stdout == "datadog-agent\n"
    went_well(step(machine, SCRIPT, "remove", wanted(account, NEWER)))
    assert agent(machine) == f"{OLDER} active active"
    assert sorted(line for line in before ^ host_state(machine) if not theirs(line)) == []


@pytest.mark.long
def test_an_agent_that_was_removed_but_not_purged_keeps_its_configuration(machine: Machine, account: Account) -> None:
    machine.run("apt-get -qq -y --allow-change-held-packages remove datadog-agent && rm -f /var/cache/apt/*.bin")
    before = host_state(machine)
    went_well(step(machine, SCRIPT, "apply", wanted(account)))
    went_well(step(machine, SCRIPT, "remove", wanted(account)))
    assert (
        sorted(line for line in before ^ host_state(machine) if "package config-files datadog-agent" not in line) == []
    )
    assert "api_key: fake-of-before" in machine.run("cat /etc/datadog-agent/datadog.yaml").stdout
    machine.run("apt-get -qq -y purge datadog-agent datadog-signing-keys")


@pytest.mark.long
def test_a_note_of_a_killed_run_does_not_make_ours_what_was_installed_by_hand_since(
    machine: Machine, account: Account
) -> None:
    kept = "/var/lib/watchpost/agent"
    note = r"begun .\nversion  .\nabsent /etc/datadog-agent .\nscript .\ninstalling datadog-agent purge .\n"
    machine.run(
        f"mkdir -p {kept}/files && printf '{note}' >{kept}/ours && cd /srv/mine && rm -rf /tmp/DATADOG*"
        f" && DD_API_KEY=fake-of-before DD_AGENT_MINOR_VERSION={DEFAULT[2:]} bash agent.sh >/dev/null"
    )
    for _ in range(2):
        went_well(step(machine, SCRIPT, "apply", wanted(account)))
    went_well(step(machine, SCRIPT, "remove", wanted(account)))
    assert agent(machine) == f"{DEFAULT} active active"
    assert "api_key: fake-of-before" in machine.run("cat /etc/datadog-agent/datadog.yaml").stdout
    # The same with notes of an earlier version, without a line on what it found, and with lost ones.
    machine.run(f"mkdir -p {kept} && : >{kept}/version-before && : >{kept}/paths-before")
    went_well(step(machine, SCRIPT, "remove", wanted(account)))
    assert agent(machine) == f"{DEFAULT} active active"
