"""The whole HTTP API on sync Flask, as a good developer of it writes the same contract today.

It is the "after" of the examples in `flask_literal`, and what the asynchronous service is
measured against. Run it with `gunicorn benchmarks.servers.flask_app:app`, with sync workers or
gthread ones.

Shared with the service are only rules that Flask developers take from a library:
`quart_app.errors` and `models`, and pure modules of `quart_app.protocol`, among them names,
digests, ranges, the form parser, the codecs, and the policies on addresses and fields. Everything
that reads, writes or waits is its own, and blocks: files through `open` and the kernel's
`sendfile`, SQLite through `sqlite3`, other hosts through `httpx`. A stored file costs what it costs
the service: SHA-256 while writing, fsync, rename, fsync of the directory, then a row that is on
disk (`synchronous=FULL`) before the client is answered.
"""

from __future__ import annotations

from flask import Flask, Response

from benchmarks.servers.flask_app.converting import converting
from benchmarks.servers.flask_app.files import files
from benchmarks.servers.flask_app.problems import render_errors
from benchmarks.servers.flask_app.reading import reading
from benchmarks.servers.flask_app.relaying import RemoteUrl, relaying
from benchmarks.servers.flask_app.uploads import FileName, uploads
from quart_app.protocol.caching import NO_STORE

__all__ = ["app"]

app = Flask(__name__, static_folder=None)
app.json.sort_keys = False  # type: ignore[attr-defined]  # as the contract shows them
# A redirect would have a client send its body again.
app.url_map.strict_slashes = False
app.url_map.merge_slashes = False
app.url_map.redirect_defaults = False
app.url_map.converters["remote"] = RemoteUrl
app.url_map.converters["name"] = FileName
render_errors(app)
for blueprint in (uploads, files, reading, converting, relaying):
    app.register_blueprint(blueprint)


@app.after_request
def forbid_storing(response: Response) -> Response:
    """Add `Cache-Control: no-store` to every answer that lacks the field."""
    response.headers.setdefault("Cache-Control", NO_STORE)
    return response
