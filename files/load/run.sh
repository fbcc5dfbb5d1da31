#!/usr/bin/env bash
# Loads all endpoints of the app in parallel with ApacheBench, and reports the figures as JSON.
# Variables: port, endpoints (paths with blanks between), requests (to each), concurrency (for each).
# Standard input: fingerprints of the app's files, so that a changed app is loaded again.
# Source: https://httpd.apache.org/docs/2.4/programs/ab.html
set -eu
: "${port:?}" "${endpoints:?}" "${requests:?}" "${concurrency:?}"
[ "$1" = apply ] || exit 0

# All of it runs as nobody: the generator only needs the app's port.
load=$(
  cat <<'LOAD'
set -eu
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT
started=()
number=0
for endpoint in $endpoints; do
  (
    set -o pipefail
    ab -s 30 -n "$requests" -c "$((concurrency < requests ? concurrency : requests))" -g "$reports/$number.tsv" \
      "http://127.0.0.1:$port$endpoint" 2>&1 >"$reports/$number.txt" |
      tee "$reports/$number.log" | sed -u "s|^|$endpoint: |" >&2
  ) &
  started+=($!)
  number=$((number + 1))
done
failed=0
number=0
for endpoint in $endpoints; do
  if ! wait "${started[$number]}"; then
    echo "watchpost: the load on $endpoint broke off: $(tail -n 1 "$reports/$number.log")" >&2
    failed=1
  fi
  number=$((number + 1))
done
[ $failed = 0 ] || exit 1

python3 - "$reports" "$endpoints" <<'PYTHON'
import csv, json, math, pathlib, re, sys

folder, endpoints = pathlib.Path(sys.argv[1]), sys.argv[2].split()
report = {}
for number, endpoint in enumerate(endpoints):
    text = (folder / f"{number}.txt").read_text()

    def figure(label: str) -> float:
        found = re.search(rf"^{label}:\s+([\d.]+)", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    with (folder / f"{number}.tsv").open(newline="") as table:
        milliseconds = sorted(int(row["ttime"]) for row in csv.DictReader(table, delimiter="\t"))

    def percentile(percent: int) -> int:
        return milliseconds[min(len(milliseconds) - 1, math.ceil(len(milliseconds) * percent / 100) - 1)]

    requests = int(figure("Complete requests"))
    # An answer with another status usually has another length too, and would count twice. The first answer's length is
    # the norm: if it is zero, there was no answer at all.
    errors = int(max(figure("Failed requests"), figure("Non-2xx responses")))
    report[endpoint] = {
        "requests": requests,
        "errors": errors if figure("Document Length") else requests,
        "seconds": figure("Time taken for tests"),
        "latency_ms": {f"p{percent}": percentile(percent) for percent in (50, 90, 95, 99)},
    }
print(json.dumps(report))
PYTHON
LOAD
)
as_nobody=()
[ "$(id -u)" != 0 ] || as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --no-new-privs)
figures=$(env port="$port" endpoints="$endpoints" requests="$requests" concurrency="$concurrency" TMPDIR=/tmp HOME=/nonexistent \
  "${as_nobody[@]}" bash -c "$load" 9<&-)
report "$figures"
