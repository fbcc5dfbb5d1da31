"""No key, password or private key is where the engine would store or show it unencrypted."""

import json
from pathlib import Path

import pulumi
import pytest
from pulumi_command import remote

from components.remote import RemoteFile
from tests.unit.mocks import (
    API_KEY,
    APP_KEY,
    HOST,
    PASSWORD,
    PRIVATE_KEY,
    SECRETS,
    Program,
    Secret,
    run,
    run_program,
    unencrypted,
)

KEYS = {"DD_API_KEY": API_KEY, "DD_APP_KEY": APP_KEY}


def leaks(program: Program, *more: str) -> set[str]:
    """The names of resources, outputs and warnings with an unencrypted secret."""
    secrets = (*SECRETS, *more)
    places = {resource.urn: [*unencrypted(resource.inputs), resource.name] for resource in program.resources}
    places |= {f"output {name}": list(unencrypted(value)) for name, value in program.outputs.items()}
    places["a warning"] = program.warnings
    return {place for place, texts in places.items() if any(secret in text for secret in secrets for text in texts)}


def holders(program: Program, secret: str) -> set[str]:
    """The resources with a secret input."""
    return {resource.name for resource in program.resources if secret in json.dumps(resource.plain)}


def masked(program: Program) -> set[str]:
    """The steps that mask their secrets."""
    steps = program.of("command:remote:Command")
    return {step.name for step in steps if "\nmask=" in step.command.text}


def test_steps_that_are_given_secrets_or_run_the_agent_are_masked_and_no_others(dev_stack: Program) -> None:
    steps = dev_stack.of("command:remote:Command")
    given = {step.name for step in steps if isinstance(step.inputs["stdin"], Secret)}
    assert given >= {"vm-agent-datadog.yaml", "vm-mysql-user", "vm-mysql-conf.yaml"}
    assert masked(dev_stack) == given | {step.name for step in steps if step.command.script.startswith("agent/")}


@pytest.mark.parametrize("preview", [False, True], ids=["up", "preview"])
def test_nothing_leaks_from_a_stack_with_all_of_it(preview: bool) -> None:
    host = {**HOST, "privateKeyPassword": "fake-key-password"}
    program = run_program(hosts={"first": host, "second": {**host, "user": "root"}}, preview=preview)
    assert leaks(program, "fake-key-password") == set()


def test_nothing_leaks_with_the_keys_of_the_environment() -> None:
    assert leaks(run_program(keys_in_stack=False, environment=KEYS)) == set()


def test_nothing_leaks_from_a_key_file_or_a_vagrant_vm(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(PRIVATE_KEY)
    host = {key: value for key, value in HOST.items() if key != "privateKey"} | {"privateKeyFile": str(file)}
    vm = {"address": "127.0.0.1", "port": 2222, "user": "vagrant", "private_key_file": str(file), "host_key": "x"}
    program = run_program(hosts={"ssh": host, "box": {"vagrant": True}}, stdout={"files/vagrant/vm.sh": json.dumps(vm)})
    assert "ssh-ready" in holders(program, PRIVATE_KEY)
    assert "box-ready" in holders(program, PRIVATE_KEY)
    assert leaks(program) == set()


def test_each_secret_goes_only_where_it_is_needed(dev_stack: Program) -> None:
    assert holders(dev_stack, API_KEY) == {"datadog", "shared-apm", "vm-agent-datadog.yaml"}
    assert holders(dev_stack, APP_KEY) == {"datadog", "shared-apm"}
    assert holders(dev_stack, PASSWORD) == {"vm-mysql-user", "vm-mysql-conf.yaml"}
    assert holders(dev_stack, PRIVATE_KEY) == set(dev_stack.commands)


def test_secrets_reach_a_host_by_standard_input_alone(dev_stack: Program) -> None:
    for command in dev_stack.commands.values():
        for key in ("create", "delete", "environment"):
            assert not any(secret in json.dumps(command.plain.get(key)) for secret in SECRETS)


def test_previous_output_is_never_put_into_the_environment(dev_stack: Program) -> None:
    assert all(command.inputs["addPreviousOutputInEnv"] is False for command in dev_stack.commands.values())


def test_the_agent_s_and_the_integration_s_files_are_for_the_agent_alone(dev_stack: Program) -> None:
    for name in ("vm-agent-datadog.yaml", "vm-mysql-conf.yaml"):
        variables = dev_stack.commands[name].command.variables
        assert (variables["owner"], variables["mode"]) == ("dd-agent:dd-agent", "0640")


def test_a_file_of_a_host_does_not_show_its_content_when_printed() -> None:
    file = RemoteFile(path="/x", content=PASSWORD, resource=pulumi.Resource.__new__(pulumi.Resource))
    assert PASSWORD not in repr(file).partition("resource=")[0]


def test_the_scan_finds_a_leak_wherever_it_is_planted() -> None:
    def leaky() -> None:
        connection = remote.ConnectionArgs(host="198.18.0.2", private_key=PRIVATE_KEY)
        remote.Command("in-connection", connection=pulumi.Output.from_input(connection))
        secret = pulumi.Output.secret(connection)
        remote.Command("in-create", connection=secret, create=f"echo {API_KEY}")
        remote.Command("in-environment", connection=secret, environment={"A": f"x{PASSWORD}x"})
        remote.Command("in-trigger", connection=secret, triggers=[[APP_KEY]])
        remote.Command("harmless", connection=secret, stdin=pulumi.Output.secret(PASSWORD))
        pulumi.export("open", {"deep": [pulumi.Output.secret(API_KEY).apply(len), API_KEY]})
        pulumi.export("closed", pulumi.Output.secret(API_KEY).apply(lambda key: f"x{key}"))
        pulumi.log.warn(f"the key is {APP_KEY}")

    found = {place.rpartition("::")[2] for place in leaks(run(leaky))}
    # pulumi-command keeps a connection secret on its own.
    assert found - {"in-connection"} == {"in-create", "in-environment", "in-trigger", "output open", "a warning"}
