"""What the application does, with no HTTP object in sight."""

from quart_app.services.converting import Converting, measured
from quart_app.services.files import Files, Upload
from quart_app.services.reading import Description, Reading, Via

__all__ = ["Converting", "Description", "Files", "Reading", "Upload", "Via", "measured"]
