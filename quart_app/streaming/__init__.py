"""Request and response bodies of any size in a Quart application, with constant memory use.

`stream_bodies(app)` adds streaming to a Quart application. The other names are building blocks
for handlers.
"""

from quart_app.streaming.abilities import SERVER_EXTENSION, ZERO_COPY, ServerAbilities
from quart_app.streaming.backlog import Backlog
from quart_app.streaming.body import HAND_OVER_SIZE, RequestBody
from quart_app.streaming.descriptors import (
    OUT_OF_DESCRIPTORS,
    SharedDescriptor,
    connections_end,
    descriptors_short,
    is_used,
)
from quart_app.streaming.digests import Digests, verified
from quart_app.streaming.disk import PinnedPath, disk_errors
from quart_app.streaming.executor import Threads
from quart_app.streaming.files import (
    READ_SIZE,
    FileCut,
    FileRange,
    read_range,
    write_all,
    write_pieces,
)
from quart_app.streaming.forms import Part, checked_form, form_parts
from quart_app.streaming.pieces import (
    WRITE_SIZE,
    Piece,
    bursts,
    chained,
    gathered,
    held_back,
    limited,
    tee_head,
)
from quart_app.streaming.problems import problem, render_problem
from quart_app.streaming.quart import StreamingConnection, StreamingRequest, stream_bodies
from quart_app.streaming.spools import (
    SPILL_SIZE,
    Spool,
    file_spool,
    mapped_spool,
    memory_spool,
    spilling_spool,
    text_spool,
)
from quart_app.streaming.stall import StallTimer, unacknowledged
from quart_app.streaming.threads import (
    computed,
    finished,
    in_thread,
    looked_up,
    settled,
    start_in_thread,
    start_threads,
    start_writing,
    uninterrupted,
    written,
)

__all__ = [
    "HAND_OVER_SIZE",
    "OUT_OF_DESCRIPTORS",
    "READ_SIZE",
    "SERVER_EXTENSION",
    "SPILL_SIZE",
    "WRITE_SIZE",
    "ZERO_COPY",
    "Backlog",
    "Digests",
    "FileCut",
    "FileRange",
    "Part",
    "Piece",
    "PinnedPath",
    "RequestBody",
    "ServerAbilities",
    "SharedDescriptor",
    "Spool",
    "StallTimer",
    "StreamingConnection",
    "StreamingRequest",
    "Threads",
    "bursts",
    "chained",
    "checked_form",
    "computed",
    "connections_end",
    "descriptors_short",
    "disk_errors",
    "file_spool",
    "finished",
    "form_parts",
    "gathered",
    "held_back",
    "in_thread",
    "is_used",
    "limited",
    "looked_up",
    "mapped_spool",
    "memory_spool",
    "problem",
    "read_range",
    "render_problem",
    "settled",
    "spilling_spool",
    "start_in_thread",
    "start_threads",
    "start_writing",
    "stream_bodies",
    "tee_head",
    "text_spool",
    "unacknowledged",
    "uninterrupted",
    "verified",
    "write_all",
    "write_pieces",
    "written",
]
