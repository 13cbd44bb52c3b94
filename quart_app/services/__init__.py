"""What the application does, with no HTTP object in sight."""

from quart_app.services.files import Files, Upload
from quart_app.services.relaying import Relaying

__all__ = ["Files", "Relaying", "Upload"]
