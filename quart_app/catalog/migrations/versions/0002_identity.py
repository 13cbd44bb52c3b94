"""The identity that a catalog shares with the stored files that it lists."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Makes the table and its one row."""
    identities = op.create_table("identities", sa.Column("identity", sa.String, primary_key=True))
    op.bulk_insert(identities, [{"identity": secrets.token_hex(16)}])
