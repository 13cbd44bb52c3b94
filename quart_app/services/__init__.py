"""What the application does, with no HTTP object in sight."""

from quart_app.services.converting import Converting, measured
from quart_app.services.files import Files, Upload
from quart_app.services.identity import LOST_CATALOG, MISSING_FILES, has_blobs, join, prove
from quart_app.services.reading import Description, Reading, Via
from quart_app.services.recovering import Recovered, recover
from quart_app.services.relaying import Relaying
from quart_app.services.sweeping import Swept, sweep

__all__ = [
    "LOST_CATALOG",
    "MISSING_FILES",
    "Converting",
    "Description",
    "Files",
    "Reading",
    "Recovered",
    "Relaying",
    "Swept",
    "Upload",
    "Via",
    "has_blobs",
    "join",
    "measured",
    "prove",
    "recover",
    "sweep",
]
