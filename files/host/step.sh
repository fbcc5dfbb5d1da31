#!/usr/bin/env bash
# Begins every step on a host: nothing of the login's own surroundings counts, and nothing is done on a machine that
# isn't this stack's. What the step and its programs print is shown without the secrets that they were given; what the
# step reports is printed once it is through.
# Standard input: who claims the machine (stack/host) in the first line, with ` public` behind it where nothing in the
# rest is a secret; then the step's own.
set -eu
umask 022
# What programs say is read, so they have to say it in English; LANGUAGE would count before LC_ALL here.
export LC_ALL=C.UTF-8
unset LANGUAGE CDPATH POSIXLY_CORRECT
# sudo's secure_path may lack what dpkg needs.
for folder in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
  [[ :$PATH: == *:$folder:* ]] || PATH=$PATH:$folder
done
export PATH
unset folder
# Runs the step and shows what it says, with `[secret]` in the place of each secret. Secrets are what comes by standard
# input, but for keys of YAML, paths that are there, and what stands in the command itself; and what the Agent's files
# keep from others. Eight characters in a row give one away, in any quotes, escapes, hexadecimal or base64. Where nobody
# listens any more, the step's next word ends it, as it would without this.
# No program is called for that before: each could show what it likes.
IFS= read -r -d '' mask <<'PYTHON' || true
import base64, json, os, re, select, signal, subprocess, sys, urllib.parse

ENOUGH, SHORTEST, DROPPED = 8, 4, " \t\r\n\\\"'`"
KEY = r"""\s*(?:- +)*["']?[a-z][a-z_.-]*[0-9]{0,2}["']?\s*:(?=\s|$)"""
PRIVATE = re.compile(r"""^[\s-]*["']?[\w.-]*(?:key|pass|pwd|token|secret|credential)[\w.-]*["']?\s*:\s*(\S.*)$""", re.I | re.M)
IN_ADDRESS = re.compile(r"://([^\s/@]*)@")


def squeezed(text):
    return "".join(c for c in text if c not in DROPPED)


def of_the_agent():
    for folder, _, names in os.walk("/etc/datadog-agent"):
        for name in names:
            try:
                file = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
                with open(file, encoding="utf-8", errors="surrogateescape") as content:
                    private = name.endswith(".yaml") and os.fstat(file).st_mode & 0o170004 == 0o100000
                    text = content.read(1 << 20) if private else ""
            except OSError:
                continue
            yield from (value for value in PRIVATE.findall(text) + IN_ADDRESS.findall(text) if len(value) >= 6)


def of_input(given):
    claimant, _, rest = given.partition("\n")
    for line in [] if claimant.endswith(" public") else rest.splitlines():
        words = [word for word in re.sub(f"^{KEY}", "", line).split() if not (word[0] == "/" and os.path.lexists(word))]
        if words and words[0] != "#":
            yield " ".join(words)
            yield from re.split(r"[][\s\"'`,;(){}<>|&?=@/:]+", " ".join(words))


def forms(value):
    raw = value.encode("utf-8", "surrogateescape")
    yield raw.decode("latin-1")
    yield json.dumps(value)[1:-1]
    yield urllib.parse.quote(raw, safe="")
    yield from (raw.hex(), raw.hex().upper()) if len(raw) >= ENOUGH else ()
    for before in range(3) if len(raw) >= ENOUGH else ():
        whole = base64.b64encode(b"\0" * before + raw)[-(-before * 8 // 6) :]
        inner = whole[: len(whole) - len(whole) % 4 - 4].decode()
        yield from (inner, inner.replace("+", "-").replace("/", "_"))


class Mask:
    def __init__(self, public):
        self.public, self.given, self.pieces = squeezed(public), b"", None

    def learn(self, data):
        self.given, self.pieces = self.given + data, None

    def known(self):
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


script, name, verb = sys.argv[1:]
mask = Mask("\n".join([script, *os.environ.values()]))
step = subprocess.Popen(
    ["bash", "-c", script, name, verb, "masked"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, close_fds=False,
)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, lambda number, _: step.send_signal(number))
from_step = {step.stdout.fileno(): [1, b""], step.stderr.fileno(): [2, b""]}
to_step, waiting = step.stdin.fileno(), b""
os.set_blocking(to_step, False)
poll = select.poll()
for file in (0, *from_step):
    poll.register(file, select.POLLIN)
for file in (1, 2):
    poll.register(file, 0)  # it tells only that nobody listens any more


def show(file, data):
    data = mask.shown(data)
    while data:
        data = data[os.write(file, data) :]


try:
    open_files, reading = {*from_step}, True
    while open_files or (to_step is not None and step.poll() is None):
        ended = step.poll() is not None
        events = poll.poll(500 if ended else 1000)
        if ended and not any(file in open_files for file, _ in events):
            break  # what still holds on to it is no part of the step
        for file, event in events:
            if file in (1, 2):
                raise BrokenPipeError
            if file == 0:
                try:
                    data = os.read(0, 65536)
                except OSError:
                    data = b""
                mask.learn(data)
                waiting += data
                if not data:
                    reading = False
                    poll.unregister(0)
                if to_step is not None:
                    poll.register(to_step, select.POLLOUT)
            elif file == to_step:
                try:
                    waiting = waiting[os.write(to_step, waiting) if waiting else 0 :]
                except BrokenPipeError:
                    waiting, reading = b"", False
                if not waiting:
                    poll.unregister(to_step)
                    if not reading:
                        step.stdin.close()
                        to_step = None
            elif file in open_files:
                data = os.read(file, 65536)
                target, held = from_step[file]
                lines = re.fullmatch(rb"(.*[\r\n])?(.*)", held + data, re.DOTALL)
                from_step[file][1] = lines[2]
                show(target, lines[1] or b"")
                if not data:
                    open_files.remove(file)
                    poll.unregister(file)
    for target, held in from_step.values():
        show(target, held)
except BrokenPipeError:
    os._exit(141)
code = step.wait()
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
sys.exit(code)
PYTHON
# The first step looks whether there is a Python that will do.
if [ -n "${BASH_EXECUTION_STRING:-}" ] && [ "$0" != files/host/ready.sh ] && [ "${2:-}" != masked ]; then
  [ ! -x /usr/bin/python3 ] || exec /usr/bin/python3 -IBc "$mask" "$BASH_EXECUTION_STRING" "$0" "$1"
  unmasked=yes
fi
unset mask
result=null
read -r claimant
claim=/var/lib/watchpost/owner
case $claimant in
*' public') claimant=${claimant% public} ;;
*)
  # Nobody guards a secret that is handed in where Python is gone, unlike before the packages are there.
  if [ "${unmasked:-no}" = yes ] && [ -n "$(cat)" ]; then
    [ "$1" = remove ] || { echo "watchpost: python3 is gone from $(hostname): install it there and run \`pulumi up\` again" >&2 && exit 1; }
    exec >/dev/null 2>&1
  fi
  ;;
esac

# The step's result, in JSON.
report() {
  result=$1
}

# The last thing that a step does; what it is called for comes with it.
finish() {
  [ "$1" != apply ] || printf '\n=watchpost= %s\n' "$result"
}

json_text() {
  python3 -c 'import json, sys; print(json.dumps(sys.argv[1]))' "$1"
}

if [ "$0" != files/host/ready.sh ]; then
  claimed=$(cat "$claim" 2>/dev/null || true)
  if [ "$0 $1" = "files/host/packages.sh apply" ] && [ "$claimed" != "$claimant" ] && [ "${claimed%/*}" = "${claimant%/*}" ]; then
    echo "$(hostname) was ${claimed##*/} in this stack and is ${claimant##*/} now"
    echo "$claimant" >"$claim.new" && sync "$claim.new" && mv -T "$claim.new" "$claim" && sync "$(dirname "$claim")"
    claimed=$claimant
  fi
  if [ "$claimed" != "$claimant" ] && [ "$1" = remove ]; then
    echo "left as it is: $(hostname) belongs to ${claimed:-nobody}, not to $claimant"
    exit 0
  elif [ "$claimed" != "$claimant" ]; then
    echo "watchpost: $(hostname) is not claimed by $claimant any more but by ${claimed:-nobody} ($claim)" >&2
    exit 1
  fi
fi
