"""What systemd does for a socket unit: opens sockets, and runs a command that finds them.

    python -m tests.server.activator PLACE… -- COMMAND…

A place is a port on the loopback, 0 for a free one, or a path. What was opened is printed.
"""

from __future__ import annotations

import os
import socket
import sys


def main() -> None:
    end = sys.argv.index("--")
    listeners = [_listener(place) for place in sys.argv[1:end]]
    sys.stdout.write("\t".join(str(listener.getsockname()) for listener in listeners) + "\n")
    sys.stdout.flush()
    for number, listener in enumerate(listeners, start=3):
        os.dup2(listener.fileno(), number + 100)
    for number in range(3, 3 + len(listeners)):
        os.dup2(number + 100, number)
        os.set_inheritable(number, True)
        os.close(number + 100)
    pid = os.environ.get("TEST_LISTEN_PID", str(os.getpid()))
    variables = os.environ | {"LISTEN_FDS": str(len(listeners)), "LISTEN_PID": pid}
    command = sys.argv[end + 1 :]
    os.execvpe(command[0], command, variables)


def _listener(place: str) -> socket.socket:
    if place.isdigit():
        return socket.create_server(("127.0.0.1", int(place)))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    listener.listen()
    return listener


if __name__ == "__main__":
    main()
