"""`python -m quart_app` is `quart-app`."""

from quart_app.cli import main

main()
