"""Serves the stand-in Datadog: ``python -m sandbox.datadog --folder DIR``, until SIGTERM.

``DIR/address.json`` holds its url and pid once it listens; ``DIR/lock`` is locked for as long as it lives.
"""

import asyncio
import fcntl
import json
import os
import signal
import time
from pathlib import Path

import click
from aiohttp import web

from sandbox.datadog import desk
from sandbox.datadog.account import API_KEY, APP_KEY
from sandbox.datadog.evaluation.rounds import deliver_forever, evaluate_forever
from sandbox.datadog.server import application
from sandbox.datadog.store import Store, opened


def _lock(folder: Path) -> None:
    """Lock the folder until this process is gone; it is never closed, so a free lock means that there is no process.

    Retries, since whoever checks for a running server holds it for a moment.
    """
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    for _ in range(40):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return
    raise click.ClickException(f"a stand-in Datadog already runs on {folder}")


async def _serve(store: Store, folder: Path, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(application(store), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, shutdown_timeout=1).start()
    address = {"url": f"http://127.0.0.1:{runner.addresses[0][1]}", "pid": os.getpid()}
    click.echo(json.dumps(address))
    fresh = folder / f"address.{os.getpid()}"
    fresh.write_text(json.dumps(address))
    fresh.rename(folder / "address.json")
    store.set("url", str(address["url"]))
    going = [asyncio.create_task(task(store)) for task in (evaluate_forever, deliver_forever, desk.follow_forever)]
    await stop.wait()
    for task in going:
        task.cancel()
    (folder / "address.json").unlink(missing_ok=True)
    await runner.cleanup()


@click.command()
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), required=True, help="Where it keeps all.")
@click.option("--port", default=0, help="The port on loopback; 0 takes a free one.")
def main(folder: Path, port: int) -> None:
    """Serve a stand-in for Datadog's API on loopback until SIGTERM."""
    folder.mkdir(parents=True, exist_ok=True)
    _lock(folder)
    with opened(folder) as store:
        (folder / "address.json").unlink(missing_ok=True)
        store.set("api_key", store.setting("api_key", API_KEY))
        store.set("app_key", store.setting("app_key", APP_KEY))
        asyncio.run(_serve(store, folder, port))


if __name__ == "__main__":
    main()
