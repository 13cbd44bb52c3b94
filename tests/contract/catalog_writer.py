"""Adds twenty rows, says so, and waits to be killed; its argument is the path of the catalog."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from quart_app.catalog import SqlCatalog
from tests.contract.catalogs import make


async def main() -> None:
    catalog = await SqlCatalog.open(Path(sys.argv[1]))
    await asyncio.gather(*(catalog.add([make(), make()]) for _ in range(10)))
    sys.stdout.write("added\n")
    sys.stdout.flush()
    await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main())
