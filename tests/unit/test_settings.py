"""What settings accept, and how they report what they don't."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

import settings
from settings import agent_options, load, project
from settings.faults import LISTS, STRUCTURED, SettingsError, validate
from settings.model import CustomerExperience, Settings
from tests.unit import mocks
from tests.unit.mocks import HOST, PRIVATE_KEY, ROOT

PLACES = (
    "hosts.vm.privateKey",
    "hosts.vm.proxy.privateKey",
    "hosts.vm.proxy.privateKeyPassword",
    "customerExperience.ticketToken",
)


def host(**changes: Any) -> dict[str, dict[str, Any]]:
    return {"vm": {key: value for key, value in {**HOST, **changes}.items() if value is not None}}


def accepted(**changes: Any) -> Settings | list[str]:
    """The settings of the `dev` stack with ``changes``, or what is wrong with them; ``None`` removes one."""
    try:
        return validate(mocks.settings(**changes))
    except SettingsError as error:
        return error.faults


def faults(**changes: Any) -> list[str]:
    """The faults of the settings of the `dev` stack with ``changes``."""
    found = accepted(**changes)
    return found if isinstance(found, list) else []


def test_the_settings_of_the_dev_stack_are_accepted() -> None:
    assert faults() == []


def test_every_setting_is_declared_with_a_description_and_a_default() -> None:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    keys = {str(field.alias) for field in Settings.model_fields.values()}
    assert set(declared) == keys
    for entry in declared.values():
        assert entry["description"]
        assert "default" in entry


def test_what_is_declared_as_a_list_or_a_map_is_parsed_as_one() -> None:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    of_type = {
        kind: {key for key, entry in declared.items() if entry.get("type") == kind} for kind in ("array", "object")
    }
    assert set(LISTS) == of_type["array"] | {"recipients"}  # which `pulumi new` asks for as a text
    assert set(STRUCTURED) == {*LISTS, *of_type["object"]}


def documented(name: str) -> set[str]:
    """Return the settings in the first column of the table under ``Settings`` of a document."""
    _, _, section = (ROOT / name).read_text().partition("\n## Settings\n")
    rows = re.findall(r"^\| (`[^|]*`) \|", section.partition("\n## ")[0], re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}


@pytest.mark.parametrize(
    ("name", "model"), [("README.md", Settings), ("docs/customer-experience.md", CustomerExperience)]
)
def test_every_setting_is_in_its_table(name: str, model: type[BaseModel]) -> None:
    assert documented(name) == {str(field.alias) for field in model.model_fields.values()}


def test_defaults_lack_only_hosts_and_recipients() -> None:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    raw = {key: entry["default"] for key, entry in declared.items()}
    with pytest.raises(SettingsError) as error:
        validate(raw)
    assert [fault.split()[0] for fault in error.value.faults] == ["watchpost:hosts", "watchpost:recipients"]


def test_values_arrive_as_text_and_are_understood() -> None:
    settings = accepted(windowMinutes="6", noDataMinutes="12", shareDashboards="public", loadRequests="0")
    assert isinstance(settings, Settings)
    assert (settings.window_minutes, settings.no_data_minutes, settings.load_requests) == (6, 12, 0)
    assert settings.share_dashboards == "public"


def test_recipients_become_mentions() -> None:
    settings = accepted(recipients=["you@example.com", "on-call@example.org"])
    assert isinstance(settings, Settings)
    assert settings.mentions == "@you@example.com @on-call@example.org"


URL = "must be an https:// address without a user in it"
LOGIN = "needs one of `privateKey` (as a secret), `privateKeyFile` and `agent: true`"
KEY_FILE = "must be the path of a private key's file; no file is there"
HIDDEN = "(not shown)"
FAULTS: list[tuple[dict[str, Any], str, str, str]] = [
    # changes, setting, its value as shown or how that begins, what is allowed
    ({"env": "Prod"}, "env", '"Prod":', "must be small letters, digits"),
    ({"env": ""}, "env", '"":', "must be small letters, digits"),
    ({"service": "my app"}, "service", '"my app":', "must be small letters, digits"),
    ({"service": "a" * 101}, "service", '"aaa', "at most 100 characters"),
    ({"version": "V 1"}, "version", '"V 1":', "must be small letters, digits"),
    ({"tags": ["team"]}, "tags[0]", '"team":', "must be key:value in small letters"),
    ({"tags": ["a:b", "a b:c"]}, "tags[1]", '"a b:c":', "must be key:value in small letters"),
    ({"tags": ["a:b:"]}, "tags[0]", '"a:b:":', "must be key:value in small letters"),
    ({"tags": ["env:x"]}, "tags", '["env:x"]:', "must leave out env:x"),
    ({"tags": "a:b"}, "tags", '"a:b":', "must be a"),
    ({"site": "datadog.com"}, "site", '"datadog.com":', "'datadoghq.eu'"),
    ({"timezone": "Paris"}, "timezone", '"Paris":', "must be an IANA time zone such as Europe/Paris"),
    ({"timezone": "America/Argentina"}, "timezone", '"America/Argentina":', "must be an IANA time zone"),
    ({"timezone": "posix/Europe/Paris"}, "timezone", '"posix/Europe/Paris":', "must be an IANA time zone"),
    ({"timezone": "Factory"}, "timezone", '"Factory":', "must be an IANA time zone such as Europe/Paris"),
    ({"officeStart": "9:00"}, "officeStart", '"9:00":', "HH:MM, from 00:00 to 24:00"),
    ({"officeStart": "0٩:00"}, "officeStart", "", "HH:MM, from 00:00 to 24:00"),
    ({"officeStart": "24:00"}, "officeStart", '"24:00":', "must be earlier than 24:00"),
    ({"officeEnd": "24:01"}, "officeEnd", '"24:01":', "HH:MM, from 00:00 to 24:00"),
    ({"officeDays": ["MON"]}, "officeDays[0]", '"MON":', "must be 'MO', 'TU'"),
    ({"windowMinutes": 0}, "windowMinutes", "0:", "must be greater than or equal to 1"),
    ({"windowMinutes": "x"}, "windowMinutes", '"x":', "must be a valid integer"),
    ({"warningThreshold": -1}, "warningThreshold", "-1:", "must be greater than or equal to 0"),
    ({"alertThreshold": 500}, "alertThreshold", "500:", "must be above warningThreshold (500)"),
    ({"alertThreshold": 1001}, "alertThreshold", "1001:", "must be less than or equal to 1000"),
    ({"noDataMinutes": 9}, "noDataMinutes", "9:", "must be at least twice windowMinutes (2 * 5 = 10)"),
    ({"checkInterval": 0}, "checkInterval", "0:", "must be greater than or equal to 1"),
    ({"checkInterval": 151}, "checkInterval", "151:", "at least 2 points in the monitor's window: at most 150 seconds"),
    ({"checkInterval": 3600, "windowMinutes": 60, "noDataMinutes": 120}, "checkInterval", "3600:", "at most 1800"),
    ({"loadRequests": -1}, "loadRequests", "-1:", "must be greater than or equal to 0"),
    ({"loadConcurrency": 0}, "loadConcurrency", "0:", "must be greater than or equal to 1"),
    ({"agentVersion": "6.1.0"}, "agentVersion", '"6.1.0":', "a version of Agent 7"),
    ({"agentVersion": "7.٣.٤"}, "agentVersion", "", "a version of Agent 7"),
    ({"installScriptUrl": "http://example.com/x"}, "installScriptUrl", '"http://example.com/x":', URL),
    ({"installScriptUrl": "https://a b/\n"}, "installScriptUrl", "", URL),
    ({"installScriptSha256": "ab12"}, "installScriptSha256", '"ab12":', "must be a SHA-256 as `sha256sum` prints it"),
    ({"agentUrl": "ftp://x"}, "agentUrl", '"ftp://x":', URL),
    ({"agentUrl": "https://[x"}, "agentUrl", '"https://[x":', URL),
    ({"traceUrl": "http://example.com"}, "traceUrl", '"http://example.com":', URL),
    ({"onDestroy": "keep"}, "onDestroy", '"keep":', "must be 'clean' or 'leave'"),
    ({"shareDashboards": "perhaps"}, "shareDashboards", '"perhaps":', "must be 'no', 'public' or 'embed'"),
    ({"recipients": ["you"]}, "recipients[0]", '"you":', "must be an e-mail address"),
    ({"recipients": []}, "recipients", "[]:", "must have at least one entry"),
    ({"hosts": {}}, "hosts", HIDDEN, "must have at least one entry"),
    ({"hosts": host(port=0)}, "hosts.vm.port", "0:", "must be greater than or equal to 1"),
    ({"hosts": {"a.b": {**HOST, "port": 0}}}, 'hosts["a.b"].port', "0:", "must be greater than or equal to 1"),
    ({"hosts": {"1": {**HOST, "port": 0}}}, 'hosts["1"].port', "0:", "must be greater than or equal to 1"),
    ({"hosts": host(user="Root!")}, "hosts.vm.user", '"Root!":', "must be the name of a user"),
    ({"hosts": host(address="-oX")}, "hosts.vm.address", '"-oX":', "must be a host name or IP address"),
    ({"hosts": host(hostKey="AAAA")}, "hosts.vm.hostKey", '"AAAA":', "ssh-keyscan"),
    ({"hosts": host(privateKey=None, privateKeyFile="/no")}, "hosts.vm.privateKeyFile", '"/no":', KEY_FILE),
    ({"hosts": host(privateKey=None, privateKeyFile="~no/x")}, "hosts.vm.privateKeyFile", '"~no/x":', KEY_FILE),
    ({"hosts": host(privateKey=5)}, "hosts.vm.privateKey", HIDDEN, "must be a valid string"),
    (
        {"hosts": host(privateKey="ssh-ed25519 AAAAfake me")},
        "hosts.vm.privateKey",
        HIDDEN,
        "must be the private key, and",
    ),
    ({"hosts": host(privateKey="~/.ssh/id_ed25519")}, "hosts.vm.privateKey", HIDDEN, "the setting `privateKeyFile`"),
    ({"hosts": host(privateKey="PuTTY-User-Key-File-3: x")}, "hosts.vm.privateKey", HIDDEN, "which PuTTYgen exports"),
    ({"hosts": host(vagrant="yes")}, "hosts.vm.vagrant", HIDDEN, "must be true, or a map of settings"),
    ({"windowMinutes": 721}, "windowMinutes", "721:", "must be less than or equal to 720"),
    ({"agentUrl": "https://x:99999"}, "agentUrl", '"https://x:99999":', URL),
    ({"appUrl": "https://acme.datadoghq.com#"}, "appUrl", "", "must be an address without a path"),
    ({"repairs": "x"}, "repairs", '"x":', "must be a map"),
    ({"agentConfig": {"api_key": "x"}}, "agentConfig", HIDDEN, "must leave out what is a setting of its own"),
    ({"hosts": host(address=None)}, "hosts.vm", HIDDEN, "needs `address`"),
    ({"hosts": host(user=None)}, "hosts.vm", HIDDEN, "needs `user`"),
    ({"hosts": host(privateKey=None)}, "hosts.vm", HIDDEN, LOGIN),
    ({"hosts": host(agent=True)}, "hosts.vm", HIDDEN, LOGIN),
    ({"hosts": host(agent=True, privateKey=None)}, "hosts.vm", HIDDEN, "SSH_AUTH_SOCK is not set"),
    ({"hosts": host(hostKey=None)}, "hosts.vm", HIDDEN, "ssh-keyscan -t ed25519 -p 22 198.18.0.2"),
    ({"hosts": {"vm": {"vagrant": True, "port": 5}}}, "hosts.vm", HIDDEN, "leave out port"),
    ({"hosts": {"vm": {"vagrant": {"memory": 1}}}}, "hosts.vm.vagrant.memory", "1:", "equal to 512"),
    ({"hosts": {"vm": {"vagrant": {"box": "a b"}}}}, "hosts.vm.vagrant.box", '"a b":', "bento/ubuntu-24.04"),
    ({"hosts": {"vm": {"vagrant": {"box": "bóx"}}}}, "hosts.vm.vagrant.box", "", "bento/ubuntu-24.04"),
]


LACKING = {"needs `user`": "user", LOGIN: "privateKey", "ssh-keyscan -t ed25519 -p 22 198.18.0.2": "hostKey"}
"""What a host lacks, by what is said of it."""


def command(key: str, allowed: str) -> str:
    """The command that sets a setting; one entry of a list or map."""
    instead = {
        "tags": "tags[0]",
        "officeDays": "officeDays[0]",
        "recipients": "recipients[0]",
        "repairs": "repairs.NAME",
        "agentConfig": "agentConfig.OPTION",
        "hosts": "hosts.NAME.address",
        "hosts.vm": f"hosts.vm.{LACKING.get(allowed, 'address')}",
    }
    target = instead.get(key, key)
    secret = target.endswith("privateKey")
    options = "--secret " * secret + "--path " * ("[" in target or "." in target)
    return f"pulumi config set {options}'watchpost:{target}' {'<FILE' if secret else 'VALUE'}"


@pytest.mark.parametrize(
    ("changes", "key", "shown", "allowed"), FAULTS, ids=[f"{fault[1]} {fault[3][:30]}" for fault in FAULTS]
)
def test_a_fault_names_the_setting_its_value_what_is_allowed_and_the_command(
    changes: dict[str, Any], key: str, shown: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (fault,) = faults(**changes)
    assert fault.startswith(f"watchpost:{key} is {shown}")
    assert allowed in fault
    assert fault.endswith(f"; set it with: {command(key, allowed)}")
    assert "\n" not in fault
    assert len(fault) < 600


def test_the_name_of_a_host_that_is_none_is_told_under_hosts() -> None:
    (fault,) = faults(hosts={"My VM": HOST})
    assert fault.startswith("watchpost:hosts.My VM is ")
    assert "must be a host name of small letters" in fault


@pytest.mark.parametrize("key", [str(field.alias) for field in Settings.model_fields.values()])
def test_a_setting_that_is_missing_is_named_with_its_command(key: str) -> None:
    (fault,) = [fault for fault in faults(**{key: None}) if fault.startswith(f"watchpost:{key} ")]
    assert " is not set; set it with: pulumi config set " in fault


def test_an_unknown_setting_is_named_with_the_command_that_removes_it() -> None:
    assert faults(hots={"vm": PRIVATE_KEY}) == [
        "watchpost:hots is not a setting of Watchpost; remove it with: pulumi config rm --path 'watchpost:hots'"
    ]
    (fault,) = faults(hosts=host(privatekey=PRIVATE_KEY))
    assert fault.endswith("remove it with: pulumi config rm --path 'watchpost:hosts.vm.privatekey'")
    assert PRIVATE_KEY not in fault


def test_all_faults_are_told_at_once() -> None:
    found = faults(
        env="A", tags=["x"], site="y", windowMinutes="z", hosts=host(port=0, user="!"), recipients=[], more=1
    )
    keys = [re.split(r"[ :]", fault.removeprefix("watchpost:"))[0] for fault in found]
    assert keys == ["hosts.vm.port", "hosts.vm.user", "recipients", "env", "tags[0]", "site", "windowMinutes", "more"]


def test_everything_that_a_host_lacks_is_told_at_once() -> None:
    (fault,) = faults(hosts={"vm": {"port": 22}})
    for lacking in ("`address`", "`user`", "`privateKey`", "`hostKey`"):
        assert lacking in fault


@pytest.mark.parametrize(
    "hosts",
    [
        '{"vm": {"privateKey": "fake-secret-fake-secret"',
        [{"privateKey": "fake-secret-fake-secret"}],
        {"vm": "fake-secret-fake-secret"},
        {"vm": ["fake-secret-fake-secret"]},
        host(privateKey=["fake-secret-fake-secret"]),
        host(privateKey={"key": "fake-secret-fake-secret"}),
        host(privateKeyPassword=["fake-secret-fake-secret"]),
        host(private_key="fake-secret-fake-secret"),
        host(key="fake-secret-fake-secret"),
        host(vagrant="fake-secret-fake-secret"),
        host(privateKey=None, privateKeyFile="-----BEGIN OPENSSH PRIVATE KEY-----\nfake-secret-fake-secret\n"),
        host(
            privateKey=None, privateKeyFile="-----BEGIN OPENSSH PRIVATE KEY-----\nfake-secret-fake-secret" + "A" * 300
        ),
        host(privateKey="fake-secret-fake-secret", hostKey="wrong", port=0, user="!", address=""),
    ],
    ids=str,
)
def test_no_fault_shows_a_secret_even_one_in_the_wrong_place(hosts: object) -> None:
    found = faults(hosts=hosts)
    assert found
    assert "fake-secret" not in "".join(found)


@pytest.mark.parametrize("key", ["agentUrl", "traceUrl", "installScriptUrl"])
@pytest.mark.parametrize("scheme", ["https", "http", "ftp"])
def test_an_address_with_a_password_in_it_is_refused_and_not_shown(key: str, scheme: str) -> None:
    (fault,) = faults(**{key: f"{scheme}://user:fake-secret@example.com/"})
    assert fault.startswith(f"watchpost:{key} ")
    assert "fake-secret" not in fault


def test_settings_do_not_show_private_keys_when_printed() -> None:
    settings = validate(mocks.settings(hosts=host(privateKeyPassword="fake-password")))
    assert PRIVATE_KEY not in repr(settings)
    assert "fake-password" not in repr(settings)
    assert settings.hosts["vm"].key() == PRIVATE_KEY


def test_a_text_of_digits_may_be_a_number_as_pulumi_config_set_path_stores_it() -> None:
    settings = validate(
        mocks.settings(
            hosts=host(user=1000),
            repairs={"vm-packages": 20261127},
            customerExperience={
                "enabled": True,
                "ticketUrl": "https://tickets.example.com",
                "tiers": [1, 2],
                "careTiers": [1],
                "customers": [1234567890123456],
                "steps": [{"name": 7, "objective": 1}],
                "keyRotation": 20261127,
            },
        )
    )
    assert settings.hosts["vm"].user == "1000"
    assert settings.repairs == {"vm-packages": "20261127"}
    experience = settings.customer_experience
    assert experience is not None
    assert (experience.tiers, experience.care_tiers, experience.key_rotation) == (("1", "2"), ("1",), "20261127")
    assert (experience.customers, experience.steps[0].name) == (("1234567890123456",), "7")


def test_vagrant_may_be_switched_off() -> None:
    assert validate(mocks.settings(hosts=host(vagrant=False))).hosts["vm"].vagrant is None
    assert validate(mocks.settings(hosts=host(vagrant="false"))).hosts["vm"].vagrant is None


@pytest.mark.parametrize(
    ("content", "allowed"),
    [
        (b"ssh-rsa AAAAfake me\n", "must be the private key, and not the public one"),
        (b"PuTTY-User-Key-File-2: ssh-rsa\n", "must be a key in OpenSSH's form"),
        (b"\x30\x82\xff\xfe", "what is there is no text"),
    ],
)
def test_a_file_that_holds_no_private_key_is_told_before_anything_is_made(
    content: bytes, allowed: str, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    (fault,) = faults(hosts=host(privateKey=None, privateKeyFile=str(file)))
    assert fault.startswith(f'watchpost:hosts.vm.privateKeyFile is "{file}": ')
    assert allowed in fault


def test_a_key_file_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text("fake")

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")  # root may read everything

    monkeypatch.setattr(Path, "read_text", refuse)
    (fault,) = faults(hosts=host(privateKey=None, privateKeyFile=str(file)))
    assert "must be the path of a private key's file that you may read" in fault


def test_a_key_file_is_read_and_an_agent_needs_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text("fake-key-of-a-file")
    settings = validate(mocks.settings(hosts=host(privateKey=None, privateKeyFile=str(file))))
    assert settings.hosts["vm"].key() == "fake-key-of-a-file"
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/fake-agent")
    settings = validate(mocks.settings(hosts=host(privateKey=None, agent=True)))
    assert settings.hosts["vm"].key() is None


@pytest.mark.parametrize("url", ["http://10.0.2.2:8080/agent", "http://127.0.0.1/x", "https://example.com/a?b=c"])
def test_plain_http_is_for_private_addresses_only(url: str) -> None:
    assert faults(installScriptUrl=url, agentUrl=url) == []


def test_an_empty_address_of_the_agent_stands_for_the_site() -> None:
    assert faults(agentUrl="", traceUrl="") == []


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_an_address_of_the_agent_ends_without_a_slash_since_the_agent_s_paths_begin_with_one(slashes: str) -> None:
    settings = accepted(agentUrl=f"https://a.example/b{slashes}", traceUrl=f"https://c.example{slashes}")
    assert isinstance(settings, Settings)
    assert (settings.agent_url, settings.trace_url) == ("https://a.example/b", "https://c.example")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", "https://app.datadoghq.com"),
        ("https://acme.datadoghq.com", "https://acme.datadoghq.com"),
        ("https://acme.datadoghq.com/", "https://acme.datadoghq.com"),
        ("http://127.0.0.1:8080//", "http://127.0.0.1:8080"),
    ],
)
def test_the_address_of_the_pages_is_the_site_s_unless_set(given: str, expected: str) -> None:
    settings = accepted(appUrl=given)
    assert isinstance(settings, Settings)
    assert settings.app_url == expected


@pytest.mark.parametrize(
    "url",
    ["https://acme.datadoghq.com/dashboard/abc", "https://acme.datadoghq.com/?x=1", "https://acme.datadoghq.com#x"],
)
def test_the_address_of_the_pages_is_no_page(url: str) -> None:
    (fault,) = faults(appUrl=url)
    assert fault.startswith("watchpost:appUrl ")
    assert "without a path" in fault


# Text that tends to mean something to a shell, YAML, systemd, a URL, Datadog's templates, or a terminal.
HOSTILE = st.text(st.sampled_from("aZ0 _-./:,@#{}$%`'\"\\;|&<>()[]*?!~=+^\n\r\t\0é٣\uff41🐶\u202e\u2028"), max_size=12)
NEAR = {
    "tags": st.from_regex(r"[a-z][a-z0-9_./-]*:[a-z0-9_.:/-]*", fullmatch=True),
    "recipients": st.from_regex(r"[a-z0-9._%+-]{1,8}@([a-z0-9-]{1,6}\.)+[a-z]{1,4}", fullmatch=True),
    "env": st.from_regex(r"[a-z0-9_./-]{0,12}", fullmatch=True),
}
HARMLESS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:+%@")


def is_named(found: Settings | list[str], key: str) -> bool:
    """Whether ``found`` is one fault, and about ``key``."""
    return isinstance(found, list) and len(found) == 1 and found[0].startswith(f"watchpost:{key} ")


@given(tag=HOSTILE | NEAR["tags"])
@example(tag="a:b\n")
@example(tag="a:b:")
@example(tag="a:b_")
@example(tag="host:x")
def test_a_tag_is_one_that_datadog_keeps_as_it_is_or_refused_by_name(tag: str) -> None:
    found = accepted(tags=[tag])
    if isinstance(found, Settings):
        assert found.tags == (tag,)
        assert set(tag) <= HARMLESS - set("@%+")
        assert tag == tag.lower().rstrip(":_")
        assert "__" not in tag
        assert tag[0].isalpha()
        assert tag.partition(":")[0] not in ("env", "host", "service", "version")
        assert tag.partition(":")[2]
    else:
        assert is_named(found, "tags[0]") or is_named(found, "tags")


@pytest.mark.parametrize("key", ["env", "service", "version"])
@given(name=HOSTILE | NEAR["env"])
@example(name="a_")
@example(name="a__b")
@example(name="prod\n")
def test_a_name_is_one_that_datadog_keeps_as_it_is_or_refused_by_name(key: str, name: str) -> None:
    found = accepted(**{key: name})
    if isinstance(found, Settings):
        assert set(name) <= HARMLESS - set("@%+:")
        assert name == name.lower().strip("_")
        assert "__" not in name
        assert name
    else:
        assert is_named(found, key)


@given(address=HOSTILE | NEAR["recipients"])
@example(address="you@example.com}} @all")
@example(address="you@example.com\n")
@example(address="you@example.com,other@example.com")
@example(address="@you@example.com")
def test_a_recipient_is_one_mention_and_nothing_else_or_refused_by_name(address: str) -> None:
    found = accepted(recipients=[address])
    if isinstance(found, Settings):
        handle = address.removeprefix("@")
        assert set(handle) <= HARMLESS - set("/:")
        assert handle.count("@") <= 1
        assert found.mentions == f"@{handle}"
    else:
        assert is_named(found, "recipients[0]")


@given(name=HOSTILE)
@example(name="vm\n")
@example(name="..")
@example(name="-rf")
def test_the_name_of_a_host_is_a_host_name_or_refused(name: str) -> None:
    found = accepted(hosts={name: HOST})
    if isinstance(found, Settings):
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
        assert name[0].isalnum()
        assert name[-1].isalnum()
    else:
        assert len(found) == 1
        assert found[0].startswith("watchpost:hosts")


@given(value=HOSTILE, key=st.sampled_from(["user", "address", "hostKey"]))
def test_what_names_a_machine_can_be_no_option_and_no_command(value: str, key: str) -> None:
    found = accepted(hosts=host(**{key: value}))
    if isinstance(found, Settings):
        assert not value.startswith("-")
        assert "\n" not in value
        assert not set(value) & set("$`;|&<>\"'\\")


@given(value=st.recursive(st.none() | st.booleans() | st.integers() | HOSTILE, st.lists, max_leaves=3))
def test_a_value_of_any_other_kind_is_a_fault_and_no_crash(value: object) -> None:
    keys = [str(field.alias) for field in Settings.model_fields.values()]
    found = accepted(**dict.fromkeys(keys, value if value is not None else []))
    assert isinstance(found, list)


@pytest.mark.parametrize(
    "handle",
    [
        "slack-ops",
        "@slack-Acme-ops_2",
        "pagerduty-Ops",
        "pagerduty",
        "webhook-my.hook",
        "team-sre",
        "workflow-Restart",
        "incident-sev-1",
        "@case-SUPPORT",
    ],
)
def test_a_recipient_may_be_whatever_datadog_can_mention(handle: str) -> None:
    assert validate(mocks.settings(recipients=[handle])).mentions == f"@{handle.removeprefix('@')}"


@pytest.mark.parametrize("typo", ["slak-ops", "slack", "slack-", "you@example", "@", "ops", "slack-a b", "team-{{x}}"])
def test_a_mistyped_recipient_is_refused(typo: str) -> None:
    with pytest.raises(SettingsError, match=r"recipients\[0\].* must be an e-mail address .* slack-"):
        validate(mocks.settings(recipients=[typo]))


@pytest.mark.parametrize("user", ["jane.doe", "Jane", "ACME\\\\jane", "jane@acme.example", "deploy+ci", "host$"])
def test_a_user_may_be_named_as_directories_name_them(user: str) -> None:
    found = validate(mocks.settings(hosts={"vm": {**HOST, "user": user}}))
    assert found.hosts["vm"].user == user


PROXY = {"address": "198.18.0.9", "user": "jump", "privateKey": PRIVATE_KEY, "hostKey": "ssh-ed25519 AAAAproxy"}


def test_a_host_may_stand_behind_a_proxy() -> None:
    found = validate(mocks.settings(hosts={"vm": {**HOST, "proxy": PROXY}})).hosts["vm"].proxy
    assert found
    assert (found.address, found.port, found.user, found.key()) == ("198.18.0.9", 22, "jump", PRIVATE_KEY)


@pytest.mark.parametrize("missing", ["address", "user", "privateKey", "hostKey"])
def test_a_proxy_needs_what_a_host_needs(missing: str) -> None:
    proxy = {key: value for key, value in PROXY.items() if key != missing}
    with pytest.raises(
        SettingsError, match=rf"watchpost:hosts.vm.proxy is \(not shown\): needs .*`{missing}`"
    ) as fault:
        validate(mocks.settings(hosts={"vm": {**HOST, "proxy": proxy}}))
    assert PRIVATE_KEY not in str(fault.value)


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("2001:db8::10", "2001:db8::10"),
        ("2001:db8::", "2001:db8::"),
        ("::1", "::1"),
        ("[2001:db8::10]", "2001:db8::10"),
        ("fe80::10%eth0", "fe80::10%eth0"),
        ("::ffff:203.0.113.10", "::ffff:203.0.113.10"),
        ("203.0.113.10", "203.0.113.10"),
        ("db_1.example.com", "db_1.example.com"),
        ("web.example.com.", "web.example.com."),
    ],
)
def test_an_address_is_a_name_or_of_either_kind_of_ip(address: str, taken: str) -> None:
    assert validate(mocks.settings(hosts=host(address=address))).hosts["vm"].address == taken
    proxy = {**HOST, "address": address}
    behind = validate(mocks.settings(hosts=host(address="10.0.0.1", proxy=proxy))).hosts["vm"].proxy
    assert behind is not None
    assert behind.address == taken


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("web.example.com:22", True),
        ("203.0.113.10:22", True),
        ("[2001:db8::10]:22", True),
        ("2001:db8:::10", False),
        ("[web.example.com]", False),
        ("ssh://web", False),
        ("me@web", False),
        ("-oProxyCommand=x", False),
        ("a b", False),
    ],
)
def test_what_is_no_address_is_told_and_a_port_with_its_setting(address: str, port: bool) -> None:
    (sentence,) = faults(hosts=host(address=address))
    assert "must be a host name or IP address" in sentence
    assert ("a port is the setting `port`" in sentence) == port


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("apm_confg", "apm_config"),
        ("procces_config", "process_config"),
        ("log_enabled", "logs_enabled"),
        ("logsEnabled", "logs_enabled"),
        ("porxy", "proxy"),
        ("skip-ssl-validation", "skip_ssl_validation"),
    ],
)
def test_a_typing_mistake_in_a_name_of_datadog_yaml_is_told_with_the_name_that_was_meant(key: str, meant: str) -> None:
    with pytest.raises(SettingsError) as fault:
        validate(mocks.settings(agentConfig={key: {"enabled": "fake-value"}}))
    (sentence,) = fault.value.faults
    assert f"`{key}` (`{meant}` is one)" in sentence
    assert f"pulumi config rm --path 'watchpost:agentConfig.{key}'" in sentence
    assert "fake-value" not in sentence


def test_no_known_name_of_datadog_yaml_is_taken_for_a_mistake() -> None:
    assert len(agent_options.known()) > 400
    assert {name: agent_options.nearest(name) for name in agent_options.known() if agent_options.nearest(name)} == {}
    assert faults(agentConfig={"apm_config": {}, "process_config": {}, "containerd_namespace": [], "proxy": {}}) == []


def test_a_name_of_datadog_yaml_that_resembles_none_is_taken_with_a_warning() -> None:
    program = mocks.run_program(agentConfig={"section_of_tomorrow": 1, "logs_enabled": True})
    (warning,) = [text for text in program.warnings if "agentConfig" in text]
    assert "section_of_tomorrow" in warning
    assert "logs_enabled" not in warning


@pytest.mark.parametrize("key", ["api_key", "site", "dd_url", "hostname", "env", "tags"])
def test_agent_config_leaves_out_what_is_a_setting_of_its_own_and_its_values_are_not_shown(key: str) -> None:
    with pytest.raises(SettingsError, match=rf"agentConfig is \(not shown\): must leave out .*{key} \(") as fault:
        validate(mocks.settings(agentConfig={key: "fake-value", "logs_enabled": True}))
    assert "fake-value" not in str(fault.value)


@pytest.mark.parametrize(
    ("encrypted", "told"),
    [
        ((), ["datadog:apiKey", *(f"watchpost:{place}" for place in PLACES)]),
        (("watchpost:hosts",), ["datadog:apiKey", "watchpost:customerExperience.ticketToken"]),
        (("watchpost:hosts", "watchpost:customerExperience", "datadog:apiKey"), []),
    ],
)
@pytest.mark.parametrize("name", ["watchpost", "my.project"])
def test_a_secret_in_plain_text_is_told_and_not_shown(
    name: str, encrypted: tuple[str, ...], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "PROJECT", name)
    monkeypatch.setattr(settings, "PROJECT", name)
    proxy = {**HOST, "privateKeyPassword": "fake-password"}
    experience = {"enabled": True, "ticketUrl": "https://tickets.example.com", "ticketToken": "fake-token"}
    values = mocks.settings(hosts={"vm": {**HOST, "proxy": proxy}}, customerExperience=experience)
    config = {f"{name}:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    warnings = mocks.run(
        load,
        config=config | {"datadog:apiKey": mocks.API_KEY},
        secret_keys=[key.replace("watchpost:", f"{name}:") for key in encrypted],
        environment={"DD_APP_KEY": mocks.APP_KEY},
    ).warnings
    assert [warning.partition(" is in plain text")[0].replace(f"{name}:", "watchpost:") for warning in warnings] == told
    for secret in (*mocks.SECRETS, "fake-password", "fake-token"):
        assert secret not in " ".join(warnings)
