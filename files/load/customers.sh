#!/usr/bin/env bash
# Plays customers of several tiers, whose orders go through the whole journey, and reports the figures as JSON.
# Variables: port, tiers (separated by blanks), customers (of all tiers together), orders (of each customer). For trouble:
# share (percent of each tier's customers who meet it), step (where), trouble (slow or error), delay (of slow, in seconds).
# Standard input: fingerprints of the app's files, so that a changed app gets orders again.
set -eu
: "${port:?}" "${tiers:?}" "${customers:?}" "${orders:?}" "${share:=0}" "${step:=}" "${trouble:=}" "${delay:=}"
[ "$1" = apply ] || exit 0

# As nobody, like the other load.
play=$(
  cat <<'PYTHON'
import json, math, os, sys, urllib.error, urllib.request
from concurrent.futures import ThreadPoolExecutor

STEPS = ("pay", "prepare", "deliver")
port, step, trouble, delay = (os.environ[name] for name in ("port", "step", "trouble", "delay"))
tiers = os.environ["tiers"].split()
customers, orders, share = (int(os.environ[name]) for name in ("customers", "orders", "share"))
base = f"http://127.0.0.1:{port}/api/orders"


def send(url, headers):
    # No proxy: the app is on this host.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, b"", headers, method="POST"), timeout=60) as answer:
        return json.load(answer)


def play(customer, tier, troubled):
    """One order: how many of its steps were done."""
    done, url = 0, base
    for name in ("place", *STEPS):
        headers = {"X-Customer": customer, "X-Customer-Tier": tier} if name == "place" else {}
        if troubled and name == step:
            headers["X-Rehearse"] = "error" if trouble == "error" else f"slow {delay}"
        try:
            answer = send(url if name == "place" else f"{url}/{name}", headers)
        except urllib.error.HTTPError as error:
            with error:
                if error.code < 500:
                    raise
            return done
        if name == "place":
            url = f"{base}/{answer['order']}"
        done += 1
    return done


# Spread over the tiers; the first customers of each tier meet the trouble.
each = math.ceil(customers / len(tiers))
met = math.ceil(each * share / 100)
people = [(f"customer-{number}@example.com", tiers[number % len(tiers)], number // len(tiers) < met) for number in range(customers)]
placed = [person for _ in range(orders) for person in people]
try:
    with ThreadPoolExecutor(max_workers=24) as pool:
        done = list(pool.map(lambda person: play(*person), placed))
except (urllib.error.URLError, OSError) as error:
    sys.exit(f"watchpost: the customers' orders broke off: {error}")
report = {"customers": customers, "orders": len(done), "delivered": sum(count == len(STEPS) + 1 for count in done)}
print(json.dumps({**report, "troubled": sum(troubled for *_, troubled in people)}))
PYTHON
)
as_nobody=()
[ "$(id -u)" != 0 ] || as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --no-new-privs)
# shellcheck disable=SC2016 # the inner shell's
figures=$(env port="$port" tiers="$tiers" customers="$customers" orders="$orders" share="$share" step="$step" \
  trouble="$trouble" delay="$delay" HOME=/nonexistent "${as_nobody[@]}" bash -c 'python3 -c "$1"' customers "$play" </dev/null 9<&-)
report "$figures"
