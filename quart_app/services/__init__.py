"""What the application does, with no HTTP object in sight."""

from quart_app.services.converting import Converting, measured
from quart_app.services.files import Files, Upload
from quart_app.services.reading import Description, Reading, Via
from quart_app.services.relaying import Relaying

__all__ = [
    "Converting",
    "Description",
    "Files",
    "Reading",
    "Relaying",
    "Upload",
    "Via",
    "measured",
]
