"""What the application does, with no HTTP object in sight."""

from quart_app.services.files import Files, Upload

__all__ = ["Files", "Upload"]
