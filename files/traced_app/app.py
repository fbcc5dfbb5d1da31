"""The Flask app that is traced: three endpoints, each answering with one line.

Started by ``ddtrace-run``, which patches Flask; nothing here knows about tracing.

Source: https://docs.datadoghq.com/tracing/trace_collection/automatic_instrumentation/dd_libraries/python/
"""

import logging
import os

from flask import Flask

app = Flask(__name__)
# One line for each of thousands of requests would only fill the journal.
logging.getLogger("werkzeug").setLevel(logging.WARNING)


@app.route("/")
def entry() -> str:
    return "Entrypoint to the Application"


@app.route("/api/apm")
def apm() -> str:
    return "Getting APM Started"


@app.route("/api/trace")
def trace() -> str:
    return "Posting Traces"


if __name__ == "__main__":
    app.run(host=os.environ.get("APP_HOST", "127.0.0.1"), port=int(os.environ.get("APP_PORT", "5050")), threaded=True)
