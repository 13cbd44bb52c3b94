"""What the application does, with no HTTP object in sight."""

from quart_app.services.files import Files, Upload
from quart_app.services.reading import Description, Reading, Via

__all__ = ["Description", "Files", "Reading", "Upload", "Via"]
