"""Keys, passwords and private keys are only where docs/operating.md says, tested on the real engine.

Searched in every encoding that occurs, after an update as verbose as Pulumi can be without printing secrets itself.
Planted secrets prove that the search works; the tests run in order.
"""

import base64
import contextlib
import gzip
import json
import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from sandbox import paths
from sandbox.stack import Stack
from sandbox.testing.stacks import up
from startup.process import DEBUG
from tests.engine.leaks import Processes, Search, fake_key, forms, generated_password, set_secret
from watchpost import drift

CUSTOMERS = True
"""The stack also keeps the key of its customers' pseudonyms."""

TALKATIVE = ("-v=8", "--logflow", "--logtostderr", "--debug")

WITHOUT_KEYS = {"DD_API_KEY": "", "DD_APP_KEY": ""}

ALL_MESSAGES = {**WITHOUT_KEYS, DEBUG: "true"}
"""Enables the debug messages of Pulumi's SDK, which otherwise stay in the program's process."""

RPC_TRACE = ("Marshaling property for RPC[", "Unmarshaling property for RPC[")
"""Prefixes of the engine's lines that show what it sends and receives, from ``-v=9`` on."""

PULUMIS_OWN = r"pulumi-language-python-exec|pulumi-resource-datadog|(sandbox\.pulumi\.plugins|launch\.py \S+) datadog"
"""Matches the processes that get decrypted configuration from Pulumi: the program, and the plugin it is meant for."""

MANUAL = paths.ROOT / "docs" / "operating.md"


@dataclass(frozen=True)
class Watched:
    """A stack whose first update was recorded: its output, processes and start, and the secrets to search for."""

    stack: Stack
    output: str
    processes: Processes
    began: float
    secrets: dict[str, str]

    @property
    def search(self) -> Search:
        return Search(self.secrets)


@pytest.fixture(scope="module")
def watched(stack: Stack) -> Watched:
    """The stack, brought up with its own keys, encrypted in its configuration."""
    secrets = {"API key": fake_key(32), "application key": fake_key(40)}
    stack.account.accept([secrets["API key"]], [secrets["application key"]])
    set_secret(stack, "datadog:apiKey", secrets["API key"])
    set_secret(stack, "datadog:appKey", secrets["application key"])
    stack.configure(loadRequests=0)
    # A separate temporary folder, below the stack's, so that everything in it can be searched.
    temporary = stack.folder / "tmp"
    temporary.mkdir()
    began = time.time()
    with Processes(stack.machines["vm"]) as processes:
        done = up(stack, *TALKATIVE, environment={**ALL_MESSAGES, "TMPDIR": str(temporary)})
    assert done.code == 0, done.text[-5000:]
    secrets["private key"] = stack.machines["vm"].private_key_file.read_text()
    secrets["database password"] = generated_password(stack)
    secrets["pseudonym key"] = generated_password(stack, "pseudonym-key")
    secrets["shared link"] = stack.account.public_dashboards()[0]["token"]
    return Watched(stack, done.text, processes, began, secrets)


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("secret", ["fa4e0123456789abcdef0123456789ab", "aB3/+'\"$ \\é-0123456789abcdefghij"])
def test_a_secret_is_found_in_every_encoding_wherever_it_stands(secret: str, before: str) -> None:
    search, text = Search({"it": secret}), f"{before}{secret}zz"
    raw, once = text.encode(), json.dumps(text)
    encodings = [text, once, json.dumps(once), quote(text), quote(text, safe=""), shlex.quote(text), raw.hex()]
    for encoded in (*encodings, base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()):
        assert search.names(encoded) == {"it"}, encoded
        assert search.names(encoded[: len(encoded) * 3 // 4]) == {"it"}, encoded
    assert search.names(text[::-1]) == set()


@pytest.mark.parametrize("name", ["stack.json.gz", "stack.json.gz.bak", "stack"])
def test_a_secret_is_found_in_compressed_files_whatever_their_name_also_in_a_part(tmp_path: Path, name: str) -> None:
    secret, file = fake_key(32), tmp_path / name
    other = gzip.compress(os.urandom(10_000).hex().encode())
    whole = gzip.compress(json.dumps({"key": secret}).encode() + os.urandom(10_000))
    for content in (
        whole,
        whole[:-5000],
        other + whole,
        whole + b"\0\0",
        secret.encode(),
        b"\x1f\x8b" + secret.encode(),
    ):
        file.write_bytes(content)
        assert Search({"it": secret}).in_files(tmp_path) == {str(file): {"it"}}
    file.write_bytes(other)
    assert Search({"it": secret}).in_files(tmp_path) == {}


def test_pulumi_writes_no_secret(watched: Watched) -> None:
    stack = watched.stack
    assert list(stack.folder.glob("state/.pulumi/backups/**/*.json.gz"))
    assert (stack.folder / "events.json").stat().st_mtime > watched.began
    # The account has to know its keys; the machine is searched from inside.
    others = [stack.folder / "datadog", stack.folder / "machines"]
    assert watched.search.in_files(stack.folder, but=others) == {}
    export = stack.pulumi("stack", "export", "--stack", stack.name).stdout
    assert "ciphertext" in export
    assert watched.search.names(export) == set()


def test_pulumi_prints_no_secret(watched: Watched) -> None:
    stack = watched.stack
    assert len(watched.output) > 100_000
    assert watched.search.names(watched.output) == set()
    for words in (["preview", "--diff", "--refresh", "--json"], ["stack", "output", "--json"], ["stack", "history"]):
        done = stack.pulumi(*words, "--stack", stack.name, environment=WITHOUT_KEYS)
        assert watched.search.names(done.stdout + done.stderr) == set(), words


@pytest.mark.stand_in("command", reason="the real one logs what it gets as well, each line of a private key by itself")
def test_from_verbosity_9_on_the_engine_tells_secrets_and_nothing_else_does(watched: Watched) -> None:
    words = ["preview", "--stack", watched.stack.name, "-v=11", "--logflow", "--logtostderr", "--debug"]
    done = watched.stack.pulumi(*words, environment=ALL_MESSAGES)
    telling = [line for line in (done.stdout + done.stderr).splitlines() if watched.search.names(line)]
    assert [line[:300] for line in telling if not any(words in line for words in RPC_TRACE)] == []


def test_no_process_shows_a_secret_but_two_of_pulumi_in_their_environment(watched: Watched) -> None:
    exposed = watched.processes.exposed(watched.search)
    for found in exposed:
        assert (found.inside, found.variable) == (False, "PULUMI_CONFIG"), found
        assert re.search(PULUMIS_OWN, found.program), found
        assert found.secret in ("API key", "application key")


def test_the_machine_holds_secrets_only_where_the_manual_says(watched: Watched) -> None:
    machine = watched.stack.machines["vm"]
    row = re.compile(r"^\| `(/[^`]+)` \| ([\w ]+) \| `([^`]+)` \| `(\d+)` \|$", re.MULTILINE)
    documented = {path: (secret, owner, mode) for path, secret, owner, mode in row.findall(MANUAL.read_text())}
    held = {path: {secret} for path, (secret, _, _) in documented.items()}
    (credential,) = re.findall(r"`(/run/credentials/[^`]+)`", MANUAL.read_text())
    assert watched.search.on_machine(machine) == {**held, credential: {"pseudonym key"}}
    assert machine.run(f"stat -c 0%a {credential}").stdout.strip() == "0400"
    for path, (_, owner, mode) in documented.items():
        assert machine.run(f"stat -c '%U:%G 0%a' {path}").stdout.strip() == f"{owner} {mode}"


def test_no_secret_is_left_in_histories_or_the_clone_or_the_common_temporary_folder(watched: Watched) -> None:
    home, temporary, search = Path.home(), Path(tempfile.gettempdir()), watched.search
    files = [path for folder in (home, temporary) for path in folder.iterdir() if path.is_file()]
    assert search.in_files(*files, home / ".pulumi", since=watched.began) == {}
    assert search.in_files(paths.ROOT, but=[paths.ROOT / ".venv", paths.local()]) == {}


def test_keys_of_the_environment_stay_in_that_of_pulumi_s_own_processes(watched: Watched) -> None:
    stack = watched.stack
    for key in ("apiKey", "appKey"):
        stack.pulumi("config", "rm", f"datadog:{key}", "--stack", stack.name)
    keys = {"DD_API_KEY": watched.secrets["API key"], "DD_APP_KEY": watched.secrets["application key"]}
    stack.configure(version="1.0.1")
    with Processes(stack.machines["vm"]) as processes:
        done = up(stack, *TALKATIVE, environment=keys)
    assert done.code == 0, done.text[-5000:]
    assert watched.search.names(done.text) == set()
    assert watched.search.in_files(stack.folder / "state", stack.folder / "project", stack.folder / "pulumi-home") == {}
    exposed = processes.exposed(watched.search)
    assert {found.variable for found in exposed} == set(keys)
    assert not any(found.inside for found in exposed)


LEAKING = ("cat", "install", "mv", "sed", "tail", "sync", "mariadb", "datadog-agent", "journalctl", "curl", "ab")
"""Programs of the steps, made to print their input, and the Agent's to print what it hides."""

LEAK = """#!/bin/bash
exec 8>&2
echo "$*" >&2
own=/etc/datadog-agent
[ "${0##*/}" != datadog-agent ] || /usr/bin/tail -n +1 $own/datadog.yaml $own/conf.d/mysql.d/conf.yaml >&2 2>&8
# One that is told what to read leaves the step's own input alone.
[ $# = 0 ] || [ "${0##*/}" = mariadb ] || { %s "$@" && exit %d; exit; }
/usr/bin/tee /dev/fd/8 | %s "$@"
status=${PIPESTATUS[1]}
exit $((status + %d))
"""


@contextlib.contextmanager
def leaking(watched: Watched, names: tuple[str, ...], failing: int) -> Iterator[None]:
    """Make these programs of the machine print everything; ``failing`` is added to their exit code."""
    machine = watched.stack.machines["vm"]
    try:
        for name in names:
            real = machine.run(f"command -v {name}").stdout.strip()
            machine.run(
                f"install -m 0755 /dev/stdin /usr/local/sbin/{name}", input=LEAK % (real, failing, real, failing)
            )
        yield
    finally:
        machine.run(f"cd /usr/local/sbin && rm -f {' '.join(names)}")


def commands(watched: Watched) -> dict[str, tuple[str, str]]:
    """Return the stack's steps by name: command and standard input."""
    export = json.loads(watched.stack.pulumi("stack", "export", "--show-secrets", "--stack", watched.stack.name).stdout)
    steps = drift.steps(export["deployment"])
    assert steps
    return {step.name: (step.command.removesuffix(" check"), step.stdin) for step in steps}


@pytest.mark.long
def test_no_step_shows_a_secret_whatever_its_programs_print(watched: Watched) -> None:
    machine, hidden = watched.stack.machines["vm"], set()
    with leaking(watched, LEAKING, failing=0):
        for name, (command, stdin) in commands(watched).items():
            for verb in ("check", "apply"):
                traced = command.replace("\nclaim=/var", "\nset -x\nclaim=/var", 1)
                done = machine.run(f"{traced} {verb}", input=stdin, user=machine.user, check=False)
                assert watched.search.names(done.stdout + done.stderr) == set(), (name, verb)
                hidden |= {name} if "[secret]" in done.stdout + done.stderr else set()
        # What the Agent's own programs say is shown only where they fail.
        assert hidden >= {"vm-mysql-user", "vm-mysql-conf.yaml"}
        command, stdin = commands(watched)["vm-mysql-user"]
        bare = command.replace("= masked ]; then", "= masked ] && false; then", 1).replace(
            "\nclaim=/var", "\nset -x\nclaim=/var", 1
        )
        shown = machine.run(f"{bare} apply", input=stdin, check=False)
        assert "database password" in watched.search.names(shown.stderr)


@pytest.mark.long
def test_an_update_whose_steps_fail_shows_no_secret(watched: Watched) -> None:
    stack = watched.stack
    stack.configure(repairs=dict.fromkeys(commands(watched), "2027-01-01T00:00:00"))
    keys = {"DD_API_KEY": watched.secrets["API key"], "DD_APP_KEY": watched.secrets["application key"]}
    # The packages succeed, then each step's first program fails.
    for failing in (("mariadb", "datadog-agent", "curl", "ab"), ("cat", "install")):
        with leaking(watched, failing, failing=1):
            done = up(stack, "--continue-on-error", *TALKATIVE, environment=keys)
        assert done.code, done.text[-5000:]
        assert "[secret]" in done.text
        assert watched.search.names(done.text) == set()
        assert watched.search.in_files(stack.folder / "state", stack.folder / "events.json") == {}
    mended = up(stack, environment=keys)
    assert mended.code == 0, mended.text[-5000:]


def test_a_planted_secret_is_found_in_files_and_output(watched: Watched, tmp_path: Path) -> None:
    for name in ("API key", "application key", "database password"):
        encodings = sorted(forms(watched.secrets[name]))
        for number, form in enumerate(encodings):
            (tmp_path / f"{number}.json").write_text(f'{{"a": "x{form}x"}}')
        (tmp_path / "backup.json.gz").write_bytes(gzip.compress(json.dumps({"a": watched.secrets[name]}).encode()))
        found = watched.search.in_files(tmp_path, since=watched.began)
        assert len(found) == len(encodings) + 1
        assert set.union(*found.values()) == {name}
        assert watched.search.names(f"  ~ stdin: {watched.secrets[name]}\n") == {name}
    (tmp_path / "key.json").write_text(json.dumps({"privateKey": watched.secrets["private key"]}))
    assert watched.search.in_files(tmp_path / "key.json") == {str(tmp_path / "key.json"): {"private key"}}


def test_a_planted_secret_is_found_in_processes_on_both_sides(watched: Watched) -> None:
    machine, key, password = (
        watched.stack.machines["vm"],
        watched.secrets["API key"],
        watched.secrets["database password"],
    )
    with Processes(machine) as processes:
        subprocess.run(["sh", "-c", "sleep 0.3; true", "planted", key], check=True)
        subprocess.run(["sleep", "0.3"], env={"PLANTED": base64.b64encode(key.encode()).decode()}, check=True)
        inside = "read -r it; sh -c 'sleep 0.3; true' planted $it; PLANTED=$it sleep 0.3"
        machine.run(inside, input=f"{password.encode().hex()}\n")
    assert {(found.secret, found.inside, found.variable) for found in processes.exposed(watched.search)} == {
        ("API key", False, ""),
        ("API key", False, "PLANTED"),
        ("database password", True, ""),
        ("database password", True, "PLANTED"),
    }


def test_a_planted_secret_is_found_in_journals_histories_and_files_of_the_machine(watched: Watched) -> None:
    where = {
        "journal": "logger -t planted $it",
        "/root/.bash_history": "echo \"export KEY='$it'\" >>/root/.bash_history",
        "/dev/shm/planted": "echo $it >/dev/shm/planted",  # noqa: S108 - on the machine
        "/tmp/planted": "printf x$it | base64 >/tmp/planted",  # noqa: S108
        "/var/lib/planted": "printf $it | od -An -v -tx1 -w64 | tr -d ' ' >/var/lib/planted",
        "compressed": "echo $it | gzip >/var/log/planted.gz",
    }
    machine = watched.stack.machines["vm"]
    machine.run(f"read -r it; {'; '.join(where.values())}", input=f"{watched.secrets['application key']}\n")
    found = watched.search.on_machine(machine)
    assert set(where) <= {path for path, names in found.items() if "application key" in names}
