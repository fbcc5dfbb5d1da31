"""The Makefile's commands: bring up the `dev` stack on the sandbox, inspect it, and tear it down."""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to clean up yet: Ctrl-C exits silently

import contextlib
import fcntl
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from sandbox import paths, runs
from sandbox.progress import SandboxError, say
from sandbox.stack import Stack


@contextlib.contextmanager
def alone() -> Iterator[Stack]:
    """Lock this clone's stack for one command; a second one waits."""
    with (paths.local() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another command on this sandbox")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield Stack(customers=True)


@click.group(help=__doc__)
def commands() -> None:
    """The commands, each one target of the Makefile."""


@commands.command()
def up() -> None:
    """Bring up the sandbox and the stack; print its links and proofs."""
    with alone() as stack:
        stack.start()
        _up(stack)
        outputs = stack.outputs()
        click.echo(f"\n{table(outputs)}\n")
        if "customerExperience" in outputs:
            say(f"in a few minutes, the tickets of the customers in trouble: {stack.account.url}/tickets")
        say(f"see it all in the sandbox's Datadog: {stack.account.url}")


def _up(stack: Stack) -> None:
    words = ["--yes", "--skip-preview", "--suppress-outputs", "--continue-on-error"]
    stack.pulumi("up", "--stack", stack.name, *words, show=True)


@commands.command()
def preview() -> None:
    """Show what `up` would change."""
    with alone() as stack:
        stack.start()
        stack.pulumi("preview", "--diff", "--stack", stack.name, show=True)


@commands.command()
def outputs() -> None:
    """Print the outputs of the stack as JSON."""
    with alone() as stack:
        stack.start()
        click.echo(json.dumps(stack.outputs(), indent=2))


@commands.command()
def demo() -> None:
    """Drive the monitor through its states, and show the mail that it sends."""
    with alone() as stack:
        stack.start()
        from sandbox.datadog.demo import run  # only this command evaluates anything itself

        run(stack.account, say)


@commands.command()
@click.option("--repair", is_flag=True, help="Have the next `up` repair what was found.")
def drift(repair: bool) -> None:
    """Find drift in Datadog and on the hosts; fail if there is any."""
    with alone() as stack:
        stack.start()
        words = ["preview", "--refresh", "--diff", "--expect-no-changes", "--stack", stack.name]
        in_datadog = stack.pulumi(*words, show=True, check=False).returncode
        look = ["-m", "watchpost", "drift", "--stack", stack.name, *(["--repair"] if repair else [])]
        on_hosts = stack.python(*look, check=False, cwd=stack.project)
        if in_datadog or on_hosts:
            raise SandboxError(
                "there is drift: `pulumi up --refresh` repairs it in Datadog, and whatever --repair recorded"
            )


@commands.command()
def snapshot() -> None:
    """Take a snapshot of the my_metric graph and send it to the recipients by @mention."""
    with alone() as stack:
        stack.start()
        stack.python("-m", "watchpost", "snapshot", "--stack", stack.name, cwd=stack.project)


@commands.command()
def pictures() -> None:
    """Take the pictures in docs/pictures/ of the running stack; if there is none, bring one up, which stays."""
    from sandbox.browser import chromium  # only this command needs one
    from sandbox.pictures import take

    with chromium() as browser, alone() as stack:
        stack.start()
        if not stack.outputs():
            _up(stack)
        take(stack, browser)


@commands.command()
def down() -> None:
    """Destroy and remove the stack, then end and list every process that this clone started."""
    with alone() as stack:
        failure = None
        if stack.stack_file.exists() and stack.has_state:
            try:
                stack.start()
                stack.destroy(show=True)
                stack.pulumi("stack", "rm", "--yes", stack.name)
            except SandboxError as error:
                failure = error
                say("the stack could not be destroyed; the sandbox is removed with everything in it")
        ended = runs.end_all()
        stack.stop()
        if not runs.nested():
            _remove_leftovers()
        for line in ended:
            say(f"ended: {line}")
        say("nothing is left running" if ended else "nothing was left running")
        if failure:
            raise failure


def _remove_leftovers() -> None:
    """Remove leftovers of killed tests and benchmarks from the sandbox's folder, but not their results."""
    shutil.rmtree(paths.local() / "tests", ignore_errors=True)
    for folder in (paths.local() / "bench").glob("*/"):
        if not folder.name.startswith("image-") or folder.suffix == ".part":
            shutil.rmtree(folder, ignore_errors=True)


def table(outputs: Mapping[str, Any]) -> str:
    """Format a stack's outputs: one line per link, then each host's proofs."""
    hosts = outputs.get("hosts", {})  # absent when `part` excludes hosts
    rows = [row for key, value in outputs.items() if key != "hosts" for row in _rows(key, value)]
    for name, host in hosts.items():
        rows += [("", ""), (f"host {name}", host["page"]), ("  ssh", host["ssh"])]
        for proof, value in host["proofs"].items():
            rows += _loads(value) if proof == "load" else _rows(f"  {proof}", value)
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {value}".rstrip() for label, value in rows)


def _rows(label: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield one line for a plain value or a map of plain entries, and one per entry for a map of links."""
    if not isinstance(value, Mapping):
        yield label, str(value)
    elif all(isinstance(entry, str) and "://" in entry for entry in value.values()):
        for key, entry in value.items():
            yield f"{label} {key}", entry
    else:
        yield label, ", ".join(f"{key} {entry}" for key, entry in value.items())


def _loads(loads: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for endpoint, load in loads.items():
        latency = ", ".join(f"{name} {milliseconds} ms" for name, milliseconds in load["latency_ms"].items())
        counts = f"{load['requests']} requests, {load['errors']} errors, {load['seconds']} s"
        yield f"  load {endpoint}", f"{counts}, {latency}"


def main(words: Sequence[str]) -> int:
    """Run a command and return its exit code; errors are one sentence, without a traceback.

    Whatever a command starts keeps running after it, but ends with it if the command is interrupted or killed.
    """
    run = runs.begin()
    if run is not None:
        run.keep_temporary_files()
    code = 0
    try:
        commands(words, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except SandboxError as error:
        print(f"watchpost: {error}", file=sys.stderr)
        code = 1
    except (click.Abort, KeyboardInterrupt):
        if run is not None:
            run.end()
        say("interrupted: all that it started has ended; `make up` continues from here, `make down` removes it all")
        return 130
    if run is not None:
        run.end(keep=words[:1] != ["down"])
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
