"""``watchpost.drift``: reads an exported state, and compares downtimes with Datadog's answers."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import time
from types import SimpleNamespace
from typing import Any

import asyncssh
import pytest
from datadog_api_client.exceptions import ApiException
from datadog_api_client.v2.api import downtimes_api
from hypothesis import given
from hypothesis import strategies as st

from components.downtime_names import identity, identity_in_datadog
from components.recurrences import duration_text
from components.recurrences import recurrences as schedules
from components.step_command import StepCommand
from settings.office_hours import DAYS, OfficeHours
from tests.unit.mocks import COMMAND, DOWNTIME, run_program
from watchpost import drift
from watchpost.drift import Downtime, HostStep, check_downtimes, check_hosts, deviation, downtimes, report, steps
from watchpost.errors import WatchpostError
from watchpost.stack import plain

NAME = "closed-office-nights-1a2b3c4d-mo-tu-we-th-fr-su-1900-14h-Europe-Paris"
NIGHTS = {"rrule": "FREQ=WEEKLY;INTERVAL=1;BYDAY=MO,TU,WE,TH,FR,SU", "start": "2027-01-04T19:00:00", "duration": "14h"}
ONCE = {"rrule": "FREQ=DAILY;INTERVAL=1;COUNT=1", "start": "2027-01-01T19:00:00", "duration": "3h"}
SIGNATURE = "4dabf18193072939515e22adb298388d"


def encrypted(value: Any) -> dict[str, Any]:
    """A secret as ``pulumi stack export --show-secrets`` shows it."""
    return {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "plaintext": json.dumps(value)}


def exported(*resources: dict[str, Any]) -> dict[str, Any]:
    return {"resources": list(resources)}


def resource(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "urn": f"urn:pulumi:dev::watchpost::{kind}::{name}", "id": name, "inputs": {}, **more}


def test_secrets_inside_secrets_are_taken_off_as_the_real_plugin_keeps_them() -> None:
    inside = {"host": "h", "privateKey": encrypted("key"), "proxy": {"password": encrypted("word")}}
    command = StepCommand(script="x.sh", verb="apply", text="it's", variables={"a": "b c"}, sudo=True)
    inputs = {"connection": encrypted(inside), "create": command.render(), "stdin": encrypted("in")}
    (step,) = steps(exported(resource(COMMAND, "vm-x", inputs=inputs)))
    assert step.connection == {"host": "h", "privateKey": "key", "proxy": {"password": "word"}}
    assert (step.name, step.command, step.stdin) == ("vm-x", command.with_verb("check").render(), "in")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: key != "plaintext"), inner),
    ),
    st.integers(min_value=0, max_value=5),
)
def test_whatever_is_in_a_secret_comes_out_of_it(value: Any, times: int) -> None:
    held = value
    for _ in range(times):
        held = encrypted({"a": [held]})
    for _ in range(times):
        value = {"a": [value]}
    assert plain(held) == value


def test_a_command_that_is_no_step_is_told() -> None:
    with pytest.raises(WatchpostError, match="vm-x is no step of Watchpost: 'echo hello'"):
        steps(exported(resource(COMMAND, "vm-x", inputs={"connection": {}, "create": "echo hello"})))


def test_what_waits_to_be_deleted_is_not_looked_at() -> None:
    state = exported(
        resource(DOWNTIME, "old", delete=True), resource(DOWNTIME, "new"), resource(COMMAND, "x", delete=True)
    )
    assert downtimes(state) == [Downtime(name="new", identifier="new")]
    assert steps(state) == []
    assert downtimes({}) == []


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"status": "active", "schedule": {"timezone": "Europe/Paris", "recurrences": [NIGHTS, ONCE]}}, None),
        ({"status": "scheduled", "schedule": {"timezone": "Europe/Paris", "recurrences": [NIGHTS]}}, None),
        (
            {
                "status": "active",
                "schedule": {"timezone": "Europe/Paris", "recurrences": [NIGHTS]},
                "message": None,
            },
            "the downtime's message was removed in Datadog",
        ),
        ({"status": "canceled"}, "the downtime was cancelled in Datadog and mutes nothing any more"),
        ({"status": "ended"}, "the downtime has ended and mutes nothing any more"),
        ({"status": "gone"}, "the downtime is not in Datadog any more"),
        (
            {"status": "active", "schedule": {"timezone": "Asia/Tokyo", "recurrences": [NIGHTS]}},
            "the downtime's schedule was changed in Datadog: it is mo-tu-we-th-fr-su-1900-14h-Asia-Tokyo now",
        ),
        (
            {
                "status": "active",
                "schedule": {"timezone": "Europe/Paris", "recurrences": [{**NIGHTS, "duration": "4h"}]},
            },
            "the downtime's schedule was changed in Datadog: it is mo-tu-we-th-fr-su-1900-4h-Europe-Paris now",
        ),
        (
            {"status": "active", "schedule": {"timezone": "Europe/Paris", "recurrences": [ONCE]}},
            "the downtime's schedule was changed in Datadog: it is over now",
        ),
        (
            {"status": "active", "schedule": {"start": "2027-01-01T00:00:00Z", "end": None}},
            "the downtime's schedule was changed in Datadog: it is over now",
        ),
    ],
)
def test_a_downtime_that_does_not_mute_as_it_was_made_is_told(attributes: dict[str, Any], reason: str | None) -> None:
    assert deviation(Downtime(name=NAME, identifier="id"), attributes) == reason


def test_the_schedule_that_the_program_makes_is_no_drift() -> None:
    (nights, closed) = run_program().of(DOWNTIME)
    for made in (nights, closed):
        assert (
            deviation(
                Downtime(name=made.name, identifier="id"),
                {"status": "active", "schedule": made.inputs["recurringSchedule"]},
            )
            is None
        )


@pytest.mark.parametrize("days", [("MO",), ("MO", "WE", "FR"), ("SA", "SU"), ("MO", "TU", "WE", "TH", "FR"), DAYS])
def test_a_schedule_is_read_as_the_program_names_it(days: tuple[str, ...]) -> None:
    hours = OfficeHours(timezone="America/New_York", start=time(8, 30), end=time(17, 45), days=days)
    for told in schedules(hours).values():
        each = [
            {
                "rrule": recurrence.rrule,
                "start": f"2027-01-04T{recurrence.start:%H:%M}:00",
                "duration": duration_text(recurrence.duration),
            }
            for recurrence in told
        ]
        assert identity_in_datadog({"timezone": hours.timezone, "recurrences": each}) == identity(told)


class Api:
    """Answers for each downtime with what it is asked for, or refuses."""

    def __init__(self, _: object) -> None: ...

    def get_downtime(self, identifier: str) -> Any:
        if identifier.isdigit():
            error = ApiException(status=int(identifier), reason="No")
            error.body = {"errors": ["No"]} if identifier != "0404" else "<html>no such page</html>"
            raise error
        attributes = {"status": identifier, "schedule": {"timezone": "Europe/Paris", "recurrences": [NIGHTS]}}
        return SimpleNamespace(data=SimpleNamespace(attributes=SimpleNamespace(to_dict=lambda: attributes)))


def test_findings_of_downtimes_carry_the_key_of_their_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downtimes_api, "DowntimesApi", Api)
    client: Any = None
    found = check_downtimes(
        client, [Downtime(name=NAME, identifier=status) for status in ("active", "canceled", "404")]
    )
    assert [finding.repair for finding in found] == ["closed-office-nights"] * 2
    assert report(found).splitlines() == [
        f"{NAME}: the downtime was cancelled in Datadog and mutes nothing any more",
        f"{NAME}: the downtime is not in Datadog any more",
    ]
    for refused in ("403", "0404"):  # the latter of something else than Datadog
        with pytest.raises(ApiException):
            check_downtimes(client, [Downtime(name=NAME, identifier=refused)])


@contextmanager
def ssh_host(
    answer: Callable[["asyncssh.SSHServerProcess[str]"], Awaitable[None]], sessions: int = 10
) -> Iterator[list[HostStep]]:
    """Two steps of a host on loopback, whose SSH server calls ``answer`` for each command, in so many ``sessions``."""
    key, user_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    begun, ended, port = threading.Event(), threading.Event(), 0
    open_now = 0

    async def process(process: "asyncssh.SSHServerProcess[str]") -> None:
        nonlocal open_now
        try:
            await answer(process)
        finally:
            open_now -= 1

    class Server(asyncssh.SSHServer):
        def session_requested(self) -> Any:
            nonlocal open_now
            if open_now >= sessions:
                raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "open failed")
            open_now += 1
            return asyncssh.process.SSHServerProcess(process, None, 3, False)

    async def serve() -> None:
        nonlocal port
        users = asyncssh.import_authorized_keys(user_key.export_public_key().decode())
        server = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Server, server_host_keys=[key], authorized_client_keys=users, gss_host=None
        )
        port = server.get_port()
        begun.set()
        await asyncio.to_thread(ended.wait)
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        assert begun.wait(10)
        connection = {
            "host": "127.0.0.1",
            "port": port,
            "user": "me",
            "privateKey": user_key.export_private_key().decode(),
            "hostKey": key.export_public_key().decode(),
        }
        yield [
            HostStep(name=name, connection=connection, command=f"check {name}", stdin="fake-secret\n")
            for name in ("vm-ready", "vm-packages")
        ]
    finally:
        ended.set()
        thread.join(10)


def checked(found: list[HostStep]) -> list[str]:
    return report(asyncio.run(check_hosts(found))).splitlines()


async def as_a_shell(process: "asyncssh.SSHServerProcess[str]") -> None:
    program, _, argument = str(process.command).partition(" ")
    await process.stdin.read()
    await asyncio.sleep(0.02)
    process.stdout.write(f"{argument}\n" if program == "echo" else "as it was\n")
    process.exit(0)


@pytest.mark.parametrize("sessions", [10, 2, 1])
def test_a_host_is_checked_however_many_sessions_its_ssh_server_allows(sessions: int) -> None:
    with ssh_host(as_a_shell, sessions) as found:
        assert checked(found * 3) == []


def test_a_command_that_runs_in_place_of_every_check_is_told_and_gets_no_secret() -> None:
    received = []

    async def forced(process: "asyncssh.SSHServerProcess[str]") -> None:
        received.append(await process.stdin.read())
        process.stdout.write("Welcome\n")
        process.exit(0)

    with ssh_host(forced) as found:
        assert checked(found) == ["vm-ready: can't check the host: 'Welcome' answers, and not the login shell"]
    assert received == [""]


def test_a_check_that_ends_without_an_exit_status_is_no_success() -> None:
    async def cut_off(process: "asyncssh.SSHServerProcess[str]") -> None:
        if str(process.command).startswith("echo "):
            await as_a_shell(process)
        await process.stdin.read()
        process.close()

    with ssh_host(cut_off) as found:
        (told,) = checked(found)
    assert told.startswith("vm-ready: can't check the host: the check of vm-")


def test_a_host_that_falls_silent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "KEEPALIVE_SECONDS", 0.1)
    told = threading.Event()

    async def silent(process: "asyncssh.SSHServerProcess[str]") -> None:
        if not str(process.command).startswith("echo "):
            told.wait(5)  # nothing of the server goes on, as where the network drops all packets
        await as_a_shell(process)

    with ssh_host(silent) as found:
        findings = checked(found)
        told.set()
    assert [finding.partition(" the check of ")[0] for finding in findings] == ["vm-ready: can't check the host:"]


def test_a_key_that_is_none_is_told() -> None:
    connection = {"host": "127.0.0.1", "port": 1, "user": "me", "privateKey": "nonsense"}
    (told,) = checked([HostStep(name="vm-ready", connection=connection, command="", stdin="")])
    assert told.startswith("vm-ready: can't check the host: ")
