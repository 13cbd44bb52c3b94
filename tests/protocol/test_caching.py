from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from quart_app.protocol.caching import cache_control

NOW = datetime(2026, 11, 21, 7, 0, 0, 500_000, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("max_age", "expires_at", "expected"),
    [
        (0, None, "no-cache"),
        (0, after(60), "no-cache"),
        (60, None, "public, max-age=60, must-revalidate"),
        (60, after(3600), "public, max-age=60, must-revalidate"),
        (60, after(60), "public, max-age=60, must-revalidate"),
        # Fractions are cut: a second more would outlive the file.
        (60, after(59.999), "public, max-age=59, must-revalidate"),
        (60, after(1), "public, max-age=1, must-revalidate"),
        (60, after(0.999), "no-cache"),
        (60, after(0), "no-cache"),
        (60, after(-5), "no-cache"),
    ],
)
def test_field(max_age: int, expires_at: datetime | None, expected: str) -> None:
    assert cache_control(max_age, expires_at, NOW) == expected
