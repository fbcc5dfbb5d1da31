"""The ``datadog-agent`` command as far as Watchpost uses it: the same arguments, output and exit codes."""

import argparse
import json
import os
import platform
import socket
import sys
import time
from typing import Any, NoReturn

import yaml

from . import settings

FAILED = 255
"""The real command's exit code for every error."""


UNREACHABLE = (
    "could not reach agent: {} \nMake sure the agent is running before requesting the status "
    "and contact support if you continue having issues"
)


class CommandError(Exception):
    """Printed as ``Error: ...``."""


def version() -> str:
    """Return the package's version, such as ``7.72.1``."""
    return (settings.HOME / "version-manifest.txt").read_text().split()[1]


def ask(command: str, failure: str = UNREACHABLE) -> Any:
    """Ask the running Agent, as only root and dd-agent may; ``failure`` is the command's error if that fails."""
    settings.load()  # as every command of the real one does first
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(settings.SOCKET))
            connection.sendall(f"{command}\n".encode())
            with connection.makefile() as answer:
                return json.load(answer)
    except (OSError, ValueError) as error:
        raise CommandError(failure.format(error)) from error


def run() -> int:
    """Run the daemon."""
    from . import daemon

    agent = settings.load()
    daemon.start_logging("CORE", "agent.log")
    daemon.Daemon(agent, version()).run()
    return 0


def check(name: str, *, times: int, pause: float, as_json: bool) -> int:
    """Run a check's instances in this process; send nothing.

    As with the real command, an exception in the check is not a failure of the command: the output has the error.
    """
    from . import checks

    agent = settings.load()
    configs, config_errors = settings.load_checks()
    instances, load_errors = checks.load(agent, configs, only=name)
    if not instances:
        if name in config_errors:
            print(f"\nError: invalid config for {name}: {config_errors[name]}")
        if name in load_errors:
            print(f"\nError: could not load {name}:")
            print("\n".join(f"* {loader}: {error}" for loader, error in load_errors[name].items()))
        raise CommandError("no valid check found")
    printed = []
    for instance in instances:
        result = instance.run()
        for _ in range(times - 1):
            time.sleep(pause)
            again = instance.run()
            result.series += again.series
            result.service_checks += again.service_checks
            result.events += again.events
        printed.append(checks.as_json(instance, result))
        if not as_json:
            print(checks.as_text(result))
            print(_collector({instance.config.name: {instance.config.id: instance.stats}}))
            print("  Metadata\n  ========\n" + "".join(f"    {k}: {v}\n" for k, v in instance.metadata.items()))
    if as_json:
        print(json.dumps(printed, indent=2))
    elif times == 1:
        print(
            "Check has run only once, if some metrics are missing you can try again with --check-rate to see any "
            "other metric if available.\n"
            f"This check type has {len(instances)} instances. If you're looking for a different check instance, try "
            "filtering on a specific one using the --instance-filter flag or set --discovery-min-instances to a higher "
            "value"
        )
    return 0


def _collector(running: dict[str, dict[str, Any]]) -> str:
    lines = ["=========", "Collector", "=========", "", "  Running Checks", "  =============="]
    for name, instances in running.items():
        for check_id, stats in instances.items():
            title = f"{name} ({stats['CheckVersion'] or 'unversioned'})"
            state = "ERROR" if stats["LastError"] else "WARNING" if stats["LastWarnings"] else "OK"
            success = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(stats["LastSuccessDate"]))
            lines += [
                "",
                f"    {title}",
                f"    {'-' * len(title)}",
                f"      Instance ID: {check_id} [{state}]",
                f"      Configuration Source: {stats['CheckConfigSource']}",
                f"      Total Runs: {stats['TotalRuns']}",
                f"      Metric Samples: Last Run: {stats['MetricSamples']}, Total: {stats['TotalMetricSamples']}",
                f"      Events: Last Run: {stats['Events']}, Total: {stats['TotalEvents']}",
                f"      Service Checks: Last Run: {stats['ServiceChecks']}, Total: {stats['TotalServiceChecks']}",
                f"      Average Execution Time : {stats['AverageExecutionTime']}ms",
                f"      Last Successful Execution Date : {success if stats['LastSuccessDate'] else 'Never'}",
                *(_error_lines(stats["LastError"]) if stats["LastError"] else []),
            ]
    return "\n".join([*lines, ""])


def _error_lines(error: str) -> list[str]:
    found = json.loads(error)[0]
    return [f"      Error: {found['message']}", *(f"      {line}" for line in found["traceback"].splitlines())]


def configcheck() -> int:
    """Print what the running Agent has loaded, file by file, and the files it could not use.

    A check whose code can't be loaded is listed all the same. Source: ``pkg/flare/config_check.go``
    """
    answer = ask("configcheck", "the agent ran into an error while checking config: {}")
    if answer["errors"]:
        print("=== Configuration errors ===")
        print("\n".join(f"\n{name}: {error}" for name, error in answer["errors"].items()))
    files: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in answer["checks"]:
        files.setdefault((entry["name"], entry["source"]), []).append(entry)
    for (name, source), entries in files.items():
        print(f"\n=== {name} check ===\nConfiguration provider: file\nConfiguration source: {source}")
        for entry in entries:
            print(f"Config for instance ID: {entry['id']}\n{yaml.safe_dump(entry['instance'])}\n~")
        print("===")
    print()
    return 0


def status(*, as_json: bool, pretty: bool) -> int:
    """Print the running Agent's status."""
    answer = ask("status")
    if as_json or pretty:
        print(json.dumps(answer, indent=2 if pretty else None))
        return 0
    title = f"Agent (v{answer['version']}, Watchpost sandbox stand-in)"
    print(f"{'=' * len(title)}\n{title}\n{'=' * len(title)}\n  Hostname: {answer['hostname']}\n")
    print(_collector(answer["runnerStats"]["Checks"]))
    for section in ("forwarderStats", "dogstatsdStats", "apmStats"):
        print(f"{section}\n{yaml.safe_dump(answer[section], sort_keys=False)}")
    return 0


def health() -> int:
    """Print whether the running Agent is healthy. Source: ``pkg/cli/subcommands/health/command.go``"""
    answer = ask("health")
    well, ill = sorted(answer["Healthy"]), sorted(answer["Unhealthy"])
    print(f"Agent health: {'FAIL' if ill else 'PASS'}")
    for word, components in (("healthy", well), ("unhealthy", ill)):
        if components:
            print(f"=== {len(components)} {word} components ===\n{', '.join(components)}")
    if ill:
        raise CommandError(f"found {len(ill)} unhealthy components")
    return 0


def config_get(key: str) -> int:
    """Print a value of ``datadog.yaml``, with secrets hidden."""
    settings.load()
    value = yaml.safe_load((settings.CONFIG / "datadog.yaml").read_text())
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise CommandError(f"setting not found: {key}")
        value = value[part]
    print(f"{key} is set to: {settings.scrubbed(value, key)}")
    return 0


class _Parser(argparse.ArgumentParser):
    """Reports unknown arguments with the real command's words and exit code."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="datadog-agent", description="A stand-in for the Datadog Agent, for sandboxes.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run").add_argument("-p", "--pidfile")
    for name in ("version", "configcheck", "health", "hostname"):
        commands.add_parser(name)
    one = commands.add_parser("check")
    one.add_argument("name", nargs="?")
    one.add_argument("-r", "--check-rate", action="store_true")
    one.add_argument("-t", "--check-times", type=int, default=1)
    one.add_argument("--pause", type=int, default=0, help="milliseconds between runs")
    one.add_argument("--json", action="store_true")
    shown = commands.add_parser("status")
    shown.add_argument("-j", "--json", action="store_true")
    shown.add_argument("-p", "--pretty-json", action="store_true")
    getter = commands.add_parser("config").add_subparsers(dest="action", required=True).add_parser("get")
    getter.add_argument("key")
    return parser


def _dispatch(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "run":
            return run()
        case "version":
            commit = "Commit: watchpost-sandbox-stand-in"
            python = f"Python version: {platform.python_version()}"
            print(f"Agent {version()} - {commit} - Serialization version: v5 - {python}")
            return 0
        case "hostname":
            print(settings.load().hostname)
            return 0
        case "check" if arguments.name is None:
            print("Use this to run a specific check with a specific rate\n\nUsage:\n  agent check <check_name> [flags]")
            return 0
        case "check":
            times, pause = (2, 1.0) if arguments.check_rate else (arguments.check_times, arguments.pause / 1000)
            return check(arguments.name, times=times, pause=pause, as_json=arguments.json)
        case "configcheck":
            return configcheck()
        case "status":
            return status(as_json=arguments.json, pretty=arguments.pretty_json)
        case "health":
            return health()
    return config_get(arguments.key)


def main(argv: list[str] | None = None) -> int:
    """Run ``datadog-agent ARGV``; return its exit code."""
    os.umask(0o022)
    try:
        return _dispatch(_parser().parse_args(argv))
    except (CommandError, settings.SettingsError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return FAILED
