"""Runs a step on a host and shows its output, with ``[secret]`` in place of each secret.

Arguments: the step's text, its name, and its verb. Secrets are what comes on standard input, except YAML keys, existing
paths, and whatever the step itself or the shared files contain; and what the Agent's files hide from others. Eight
characters in a row give one away, in any quotes, escapes, hexadecimal or base64. No program runs before the step, since
each could show anything. If nobody listens any more, the step's next output ends it, as it would without this.
"""

import base64
import json
import os
import re
import select
import signal
import subprocess
import sys
import urllib.parse
from pathlib import Path

ENOUGH, SHORTEST = 8, 4
"""How many characters in a row give a secret away, and the length of the shortest secret."""

DROPPED = " \t\r\n\\\"'`"
"""What programs insert between the characters of a text that they show."""

KEY = re.compile(r"""\s*(?:- +)*["']?[a-z][a-z_.-]*[0-9]{0,2}["']?\s*:(?=\s|$)""")
PRIVATE = re.compile(
    r"""^[\s-]*["']?[\w.-]*(?:key|pass|pwd|token|secret|credential)[\w.-]*["']?\s*:\s*(\S.*)$""",
    re.IGNORECASE | re.MULTILINE,
)
IN_ADDRESS = re.compile(r"://([^\s/@]*)@")
BETWEEN = re.compile(r"[][\s\"'`,;(){}<>|&?=@/:]+")


def squeezed(text):
    return "".join(c for c in text if c not in DROPPED)


def of_the_agent():
    """Return the secrets in those of the Agent's files that others can't read."""
    for folder, _, names in os.walk("/etc/datadog-agent"):
        for name in names:
            try:
                file = os.open(Path(folder, name), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
                with os.fdopen(file, encoding="utf-8", errors="surrogateescape") as content:
                    private = name.endswith(".yaml") and os.fstat(file).st_mode & 0o170004 == 0o100000
                    text = content.read(1 << 20) if private else ""
            except OSError:
                continue
            yield from (value for value in PRIVATE.findall(text) + IN_ADDRESS.findall(text) if len(value) >= 6)


def of_input(given):
    """Return the secrets on standard input: whole lines, and their words."""
    claimant, _, rest = given.partition("\n")
    for line in [] if claimant.endswith(" public") else rest.splitlines():
        said = re.sub(f"^{KEY.pattern}", "", line)
        words = [word for word in said.split() if not (word[0] == "/" and os.path.lexists(word))]
        if words and words[0] != "#":
            yield " ".join(words)
            yield from BETWEEN.split(" ".join(words))


def forms(value):
    """Return a text as programs may show it: plain, in JSON, in a URL, hexadecimal, in base64 from any byte on."""
    raw = value.encode("utf-8", "surrogateescape")
    yield raw.decode("latin-1")
    yield json.dumps(value)[1:-1]
    yield urllib.parse.quote(raw, safe="")
    if len(raw) >= ENOUGH:
        yield from (raw.hex(), raw.hex().upper())
        for before in range(3):
            whole = base64.b64encode(b"\0" * before + raw)[-(-before * 8 // 6) :]
            inner = whole[: len(whole) - len(whole) % 4 - 4].decode()
            yield from (inner, inner.replace("+", "-").replace("/", "_"))


class Mask:
    """Hides the secrets that it has learned, except what is ``public``."""

    def __init__(self, public):
        self.public, self.given, self.pieces = squeezed(public), b"", None

    def learn(self, data):
        self.given, self.pieces = self.given + data, None

    def known(self):
        """Return the sequences of characters that give a secret away, by length."""
        if self.pieces is None:
            found = {}
            for value in {*of_the_agent(), *of_input(self.given.decode("utf-8", "surrogateescape"))}:
                for form in map(squeezed, forms(value)):
                    size = min(len(form), ENOUGH)
                    if size >= SHORTEST:
                        found.setdefault(size, set()).update(form[i : i + size] for i in range(len(form) - size + 1))
            self.pieces = {size: {x for x in pieces if x not in self.public} for size, pieces in found.items()}
        return self.pieces

    def shown(self, data):
        text = data.decode("latin-1")
        kept = [i for i, c in enumerate(text) if c not in DROPPED]
        flat, hidden = "".join(text[i] for i in kept), bytearray(b"." * len(text))
        for size, pieces in self.known().items():
            for at in range(len(flat) - size + 1):
                if flat[at : at + size] in pieces:
                    begin, end = kept[at], kept[at + size - 1] + 1
                    hidden[begin:end] = b"#" * (end - begin)
        parts = re.finditer(rb"#+|\.+", hidden)
        return b"".join(b"[secret]" if part[0][:1] == b"#" else data[part.start() : part.end()] for part in parts)


class Relay:
    """Passes standard input on to a step, and the step's output, in whole lines, to whoever listens.

    Raises:
        BrokenPipeError: nobody listens any more.
    """

    def __init__(self, step, mask):
        self.step, self.mask = step, mask
        self.heard = {step.stdout.fileno(): [1, b""], step.stderr.fileno(): [2, b""]}
        self.open, self.reading = {*self.heard}, True
        self.to_step, self.waiting = step.stdin.fileno(), b""
        os.set_blocking(self.to_step, False)
        self.poll = select.poll()
        for file in (0, *self.heard):
            self.poll.register(file, select.POLLIN)
        for file in (1, 2):
            self.poll.register(file, 0)  # it only reports that nobody listens any more

    def run(self):
        while self.open or (self.to_step is not None and self.step.poll() is None):
            ended = self.step.poll() is not None
            ready = [file for file, _ in self.poll.poll(500 if ended else 1000)]
            if ended and not self.open.intersection(ready):
                break  # whatever still holds it isn't part of the step
            for file in ready:
                if file in (1, 2):
                    raise BrokenPipeError
                if file == 0:
                    self.read()
                elif file == self.to_step:
                    self.hand_on()
                elif file in self.open:
                    self.hear(file)
        for target, rest in self.heard.values():
            self.show(target, rest)

    def read(self):
        try:
            data = os.read(0, 65536)
        except OSError:
            data = b""
        self.mask.learn(data)
        self.waiting += data
        if not data:
            self.reading = False
            self.poll.unregister(0)
        if self.to_step is not None:
            self.poll.register(self.to_step, select.POLLOUT)

    def hand_on(self):
        try:
            self.waiting = self.waiting[os.write(self.to_step, self.waiting) if self.waiting else 0 :]
        except BrokenPipeError:
            self.waiting, self.reading = b"", False
        if not self.waiting:
            self.poll.unregister(self.to_step)
            if not self.reading:
                self.step.stdin.close()
                self.to_step = None

    def hear(self, file):
        data = os.read(file, 65536)
        target, before = self.heard[file]
        lines = re.fullmatch(rb"(.*[\r\n])?(.*)", before + data, re.DOTALL)
        self.heard[file][1] = lines[2]
        self.show(target, lines[1] or b"")
        if not data:
            self.open.remove(file)
            self.poll.unregister(file)

    def show(self, target, data):
        data = self.mask.shown(data)
        while data:
            data = data[os.write(target, data) :]


def main(script, name, verb):
    step = subprocess.Popen(
        ["bash", "-c", script, name, verb, "masked"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        close_fds=False,
    )
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda number, _: step.send_signal(number))
    try:
        shared = [file.read_text() for file in Path(__file__).parent.glob("*.sh")]
        Relay(step, Mask("\n".join([script, *shared, *os.environ.values()]))).run()
    except BrokenPipeError:
        os._exit(141)
    code = step.wait()
    if code < 0:  # end as the step did
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


main(*sys.argv[1:])
