"""The traced app with an order journey: its additional files on the host, and where the pseudonyms' key is."""

import pulumi

from components.traced_app import KEY, LoadGenerator, LoadGeneratorArgs, TracedApp, TracedAppArgs
from tests.unit.mocks import Program, run, run_program, unencrypted
from tests.unit.test_components import agent, host, service

SECRET = "fake-key-of-the-pseudonyms"
OF_THE_JOURNEY = {"app-journey.py", "app-pseudonym-key"}


def program(key: str | None) -> Program:
    def body() -> None:
        on = host()
        args = TracedAppArgs(
            host=on,
            agent=service(agent(on)),
            service="shop",
            env="dev",
            version="1.2",
            pseudonym_key=None if key is None else pulumi.Output.secret(key),
            tiers=("gold", "silver") if key else (),
        )
        app = TracedApp("app", args)
        LoadGenerator("load", LoadGeneratorArgs(host=on, app=app, requests=1, concurrency=1))
        pulumi.export("traces", app.traces)

    return run(body)


def test_the_key_is_in_a_file_of_root_alone_and_a_secret_everywhere() -> None:
    made = program(SECRET)
    key = made.commands["app-pseudonym-key"]
    assert key.stdin == SECRET
    assert key.command.variables == {"path": KEY, "owner": "root:root", "mode": "0600"}
    for resource in made.resources:
        assert not any(SECRET in text for text in unencrypted(resource.inputs)), resource.name


def test_the_app_starts_anew_with_another_key_and_nothing_else_does() -> None:
    one, other = program(SECRET), program(f"{SECRET}-2")
    changed = {name for name, step in one.commands.items() if step.stdin != other.commands[name].stdin}
    assert changed == {"app-pseudonym-key", "app-service"}
    assert one.before(one.commands["app-service"]) >= OF_THE_JOURNEY


def test_the_proof_and_the_load_stay_readable() -> None:
    """Their standard input must be no secret: what they print would be masked."""
    made = program(SECRET)
    for name in ("app-proof", "load-run"):
        assert isinstance(made.commands[name].inputs["stdin"], str)


def test_without_a_key_nothing_of_the_journey_exists() -> None:
    made, journey = program(None), program(SECRET)
    assert set(journey.commands) - set(made.commands) == OF_THE_JOURNEY
    assert not any("journey" in step.stdin.lower() for name, step in made.commands.items() if name.startswith("app-"))


ON = {"enabled": True, "ticketUrl": "https://example.com/tickets", "tiers": ["best", "rest"], "careTiers": ["best"]}


def test_a_stack_with_customer_experience_serves_the_journey_and_plays_its_customers() -> None:
    on, off = run_program(customerExperience=ON), run_program()
    made = set(on.commands) - set(off.commands)
    assert made == {"vm-app-journey.py", "vm-app-pseudonym-key", "vm-customers-run"}
    assert "JOURNEY_TIERS=best,rest " in on.commands["vm-app-unit"].stdin
    variables = on.commands["vm-customers-run"].command.variables
    assert variables == {"port": "5050", "tiers": "best rest", "customers": "24", "orders": "8"}
    assert "journey" not in off.commands["vm-app-unit"].stdin


def test_a_rehearsal_lets_a_share_of_the_customers_meet_trouble() -> None:
    rehearsal = {"step": "prepare", "trouble": "error", "share": 20, "seconds": 2.5}
    made = run_program(customerExperience={**ON, "rehearsal": rehearsal})
    variables = made.commands["vm-customers-run"].command.variables
    assert {name: variables[name] for name in ("share", "step", "trouble", "delay")} == {
        "share": "20",
        "step": "prepare",
        "trouble": "error",
        "delay": "2.5",
    }
