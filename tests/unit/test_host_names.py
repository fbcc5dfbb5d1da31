"""A host's name is one that the Agent reports under, by the Agent's own rule, reimplemented from its source.

Source: ``ValidHostname`` in pkg/util/hostname/validate/validate.go of https://github.com/DataDog/datadog-agent
"""

import string
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox.agent import hostname
from settings.model import Settings
from tests.unit.mocks import HOST
from tests.unit.test_settings import accepted, faults

LOCAL = {"localhost", "localhost.localdomain", "localhost6.localdomain6", "ip6-localhost"}
INSIDE = string.ascii_letters + string.digits + "-"

LABELS = st.text(st.sampled_from("aZ0-"), max_size=4) | st.sampled_from(["localhost", "localdomain", "ip6", "é", "a_b"])
NAMES = (
    st.lists(LABELS, max_size=4).map(".".join)
    | st.sampled_from(sorted(LOCAL)).map(str.title)
    | st.text(max_size=5)
    | st.integers(250, 260).map(lambda length: "a" * length)
)


def taken(name: str) -> bool:
    """Whether the Agent takes a name: not empty, not local, not longer than 255, and of good labels between dots."""
    labels = name.split(".")
    good = all(label and set(label) <= set(INSIDE) and label[0] != "-" != label[-1] for label in labels)
    return good and name.lower() not in LOCAL and len(name) <= 255


@given(name=NAMES)
@example(name="a\n")
@example(name="a..b")
@example(name="LocalHost")
@example(name="1")
@example(name="a-.b")
def test_the_stand_in_takes_the_names_that_the_agent_takes(name: str) -> None:
    assert (hostname.fault(name) == "") == taken(name)


@given(name=NAMES)
@example(name="localhost")
@example(name="a..b")
@example(name="a" * 255)
@example(name="a" * 64)
@example(name="-a")
@example(name="a-.b")
@example(name="a_b")
@example(name="127.0.0.1")
def test_a_host_has_a_name_that_the_agent_takes_without_capitals(name: str) -> None:
    found = accepted(hosts={name: HOST})
    assert isinstance(found, Settings) == (taken(name) and name == name.lower())


@pytest.mark.parametrize("name", [*sorted(LOCAL), "a..b", "-a", "a-", "a_b", "Vm", "a" * 256])
def test_another_name_is_a_sentence_that_says_how_to_give_one(name: str) -> None:
    (fault,) = faults(hosts={name: HOST})
    key = f'watchpost:hosts["{name}"]' if "." in name else f"watchpost:hosts.{name}"
    assert fault.startswith(f"{key} is not a host's name: it must be a ")
    assert fault.endswith(f"; set it under another one after: pulumi config rm --path '{key}'")
    assert "Agent" in fault


def test_a_vm_of_vagrant_has_a_name_that_a_machine_can_have() -> None:
    assert faults(hosts={"a" * 64: {"vagrant": True}}) == []
    (fault,) = faults(hosts={"a" * 65: {"vagrant": True}})
    assert "at most 64 characters" in fault


@pytest.mark.parametrize(
    ("configured", "file", "found", "provider"),
    [
        ("vm", "other", "vm", "configuration"),
        ("localhost", "", "machine_1", "os"),
        ("a..b", "other\n", "other", "hostnameFile"),
        ("", "Localhost", "machine_1", "os"),
    ],
)
def test_the_stand_in_reports_under_the_next_name_where_one_is_not_taken(
    configured: str, file: str, found: str, provider: str, tmp_path: Path
) -> None:
    """As ``getHostname`` in pkg/util/hostname/providers.go; the machine's own name is not looked at."""
    (tmp_path / "name").write_text(file)
    name = hostname.find(configured, str(tmp_path / "name") if file else "", machine=lambda: "machine_1")
    assert (name.name, name.provider) == (found, provider)
    assert ("'hostname' configuration/environment" in name.errors) == (provider != "configuration")


def test_the_stand_in_knows_no_name_where_nobody_does() -> None:
    with pytest.raises(hostname.HostnameError, match="unable to reliably determine the host name"):
        hostname.find("localhost", machine=lambda: "")
