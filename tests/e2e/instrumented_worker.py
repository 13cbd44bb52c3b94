"""The real worker with eyes on its event loop, and with the faults a test asks for.

`TEST_FAULTS` names functions of `tests.e2e.faults`, separated by spaces.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from quart_app import worker
from quart_app.app import create_app
from tests.e2e import faults
from tests.e2e.watching import watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quart import Quart

    from quart_app.settings import Settings


def create_watched(settings: Settings, bound: Sequence[str]) -> Quart:
    app = create_app(settings, bound)
    watch(app)
    return app


if __name__ == "__main__":
    worker.__dict__["create_app"] = create_watched
    for name in os.environ.get("TEST_FAULTS", "").split():
        getattr(faults, name)()
    worker.main()
