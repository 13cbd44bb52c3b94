"""A cache of nginx in front: nothing lives on in it that the service has not allowed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.deploy.programs import DEPLOY
from tests.e2e.clients import MIB, content, upload
from tests.waiting import comes_to_nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.conftest import Servers
    from tests.deploy.conftest import Behind
    from tests.deploy.nginx import Nginx

    Cached = Callable[..., Nginx]

BYTES = content(MIB + 7)

ZONE, LOCATION = re.findall(
    r"^```nginx\n(.*?)^```$", (DEPLOY / "nginx.md").read_text(), re.MULTILINE | re.DOTALL
)

#: Has nginx keep all that is not forbidden, whatever its status.
GREEDY = """
    proxy_buffering on;
    proxy_cache quart_app;
    proxy_cache_valid any 10m;
"""

SLICED = """
    proxy_buffering on;
    slice 1m;
    proxy_cache quart_app;
    proxy_cache_key $uri$is_args$args$slice_range;
    proxy_set_header Range $slice_range;
    proxy_cache_valid 200 206 10m;
"""

SHOWN = "add_header X-Cache $upstream_cache_status always;"


@pytest.fixture
def cached(shared_server: Servers, behind: Behind) -> Cached:
    """Puts a caching nginx in front of a service with these settings."""

    def start(location: str, **settings: object) -> Nginx:
        server = shared_server(**settings)
        zone = ZONE.replace("/var/cache/nginx/quart-app", "cache")
        site = {"server {\n": f"{zone}server {{ {SHOWN}\n"}
        if location.startswith("location"):
            site["    location / {\n"] = f"{location}\n    location / {{\n"
        else:
            site["    location / {\n"] = f"    location / {{\n{location}"
        return behind(f"{server.host}:{server.port}", server.data, site)

    return start


def asked(client: httpx.Client, path: str, **headers: str) -> tuple[int, str]:
    response = client.get(path, headers=headers)
    return response.status_code, response.headers["X-Cache"]


@pytest.mark.parametrize("location", [GREEDY, LOCATION])
class TestDefault:
    """Nothing is kept, though nginx would keep all."""

    def test_deleted_file(self, cached: Cached, location: str) -> None:
        with cached(location).session() as client:
            file = upload(client, BYTES)
            assert [asked(client, file["url"])[0] for _ in range(3)] == [200] * 3
            assert client.delete(f"/files/{file['id']}").status_code == 204
            for path in (file["url"], f"/files/{file['id']}", f"/files/{file['id']}/info"):
                assert client.get(path).status_code == 404

    def test_expired_file(self, cached: Cached, location: str) -> None:
        with cached(location).session() as client:
            url = upload(client, BYTES, Expires_In="1")["url"]
            comes_to_nothing(lambda: asked(client, url)[0] == 200)


def test_errors_and_lists_are_not_kept(cached: Cached) -> None:
    with cached(GREEDY, cache_max_age=3600).session() as client:
        paths = ["/files", "/files?limit=x", "/files/nothing", "/nowhere", "/healthz", "/readyz"]
        paths.append(f"/files/{upload(client, b'x')['id']}/info")
        for path in paths:
            assert {asked(client, path)[1] for _ in range(3)} == {"MISS"}, path


class TestMaxAge:
    def test_file_is_kept(self, cached: Cached) -> None:
        with cached(LOCATION, cache_max_age=3600).session() as client:
            url = upload(client, BYTES)["url"]
            assert asked(client, url) == (200, "MISS")
            assert asked(client, url) == (200, "HIT")
            response = client.get(url, headers={"Range": "bytes=5-9"})
            assert (response.status_code, response.content) == (206, BYTES[5:10])
            assert response.headers["X-Cache"] == "HIT"

    def test_until_its_expiry_and_no_longer(self, cached: Cached) -> None:
        with cached(LOCATION, cache_max_age=3600).session() as client:
            url = upload(client, BYTES, Expires_In="3")["url"]
            assert asked(client, url) == (200, "MISS")
            assert asked(client, url) == (200, "HIT")
            comes_to_nothing(lambda: asked(client, url)[0] == 200)

    def test_deleted_file_until_it_is_stale(self, cached: Cached) -> None:
        with cached(LOCATION, cache_max_age=1).session() as client:
            file = upload(client, BYTES)
            assert asked(client, file["url"]) == (200, "MISS")
            client.delete(f"/files/{file['id']}")
            comes_to_nothing(lambda: asked(client, file["url"])[0] == 200)

    def test_stale_file_is_asked_for_by_its_validators(self, cached: Cached) -> None:
        with cached(LOCATION, cache_max_age=1).session() as client:
            url = upload(client, BYTES)["url"]
            assert asked(client, url) == (200, "MISS")
            comes_to_nothing(lambda: asked(client, url)[1] != "REVALIDATED")
            assert client.get(url).content == BYTES


@pytest.mark.parametrize("data", [b"", b"x", BYTES], ids=["empty", "one byte", "two slices"])
def test_slices(cached: Cached, data: bytes) -> None:
    with cached(SLICED, cache_max_age=3600).session() as client:
        url = upload(client, data)["url"]
        for _ in range(2):
            response = client.get(url)
            assert (response.status_code, response.content == data) == (200, True)
