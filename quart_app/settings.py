"""One table of settings: it feeds flags, environment, TOML, the docs and the validation."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from quart_app.models import GIB, MIB
from quart_app.protocol.addresses import parse_exception
from quart_app.protocol.sites import HostPattern, canonical_origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_settings import PydanticBaseSettingsSource

__all__ = ["BadSettings", "Loaded", "Settings", "as_variables", "load_settings"]

ENV_PREFIX = "QUART_APP_"

#: A year; caches take longer lifetimes for a year too.
MAX_CACHE_SECONDS = 365 * 86_400


class BadSettings(Exception):
    """A setting has a value that cannot be; the text says which, and where it came from."""


class Settings(BaseSettings):
    """Every setting of the service, with its default."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    config: Path | None = Field(None, description="TOML file to read settings from")
    host: str = Field("127.0.0.1", description="address or name to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    data: Path = Field(Path("data"), description="directory for files and catalog")
    workers: int = Field(1, ge=1, le=256, description="processes that serve")
    unix_socket: Path | None = Field(
        None, description="path of a Unix socket to listen on, in place of host and port"
    )
    certfile: Path | None = Field(None, description="TLS certificate chain (PEM); with keyfile")
    keyfile: Path | None = Field(None, description="TLS private key (PEM)")
    loop: Literal["uvloop", "asyncio"] = Field(
        "uvloop", description="event loop: uvloop or asyncio"
    )
    drain: float = Field(30.0, ge=0, description="seconds that running transfers get on stop")
    worker_timeout: float = Field(
        30.0,
        ge=0,
        description="seconds that a worker may be frozen before it is replaced; 0 for ever",
    )
    max_upload_size: ByteSize = Field(
        ByteSize(1024 * GIB), gt=0, description="largest file in bytes, 10GiB forms too"
    )
    min_free_space: ByteSize = Field(
        ByteSize(2 * MIB), ge=2 * MIB, description="bytes of the disk that uploads leave free"
    )
    max_form_parts: int = Field(1000, gt=0, description="most parts of one form")
    spool_size: ByteSize = Field(
        ByteSize(1 * MIB), ge=0, description="bytes of a body read back that are kept in memory"
    )
    max_ratio: int = Field(
        200,
        gt=0,
        description="bytes that a byte of gzip or a table may expand to, past the first 16 MiB",
    )
    accel_redirect: str | None = Field(
        None,
        pattern=r"^/([A-Za-z0-9_-]+/)+$",
        description="internal nginx location that sends downloads, as /protected/",
    )
    cache_max_age: int = Field(
        0,
        ge=0,
        le=MAX_CACHE_SECONDS,
        description="seconds that caches may answer with a file without asking; 0: always ask",
    )
    allow_fetch: tuple[str, ...] = Field(
        (), description='host:port that may be fetched though not public, as ["10.0.0.5:8000"]'
    )
    proxy_targets: dict[str, str] = Field(
        {}, description='where /proxy sends bodies, name to URL, as {"default": "http://10.0.0.6/"}'
    )
    allowed_hosts: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description='hosts answered for, as ["files.example.org"]; by default, on loopback and '
        "Unix sockets loopback names and the host bound, elsewhere any",
    )
    cors_origins: tuple[str, ...] = Field(
        (), description='origins whose pages may use the service, as ["https://example.org"]'
    )
    stall_timeout: float = Field(
        60.0, gt=0, description="seconds without a byte after which a transfer is given up"
    )
    discard_size: ByteSize = Field(
        ByteSize(256 * MIB), ge=0, description="bytes of a refused body received and dropped"
    )
    discard_timeout: float = Field(
        30.0, ge=0, description="seconds that a refused body is received and dropped"
    )
    sweep_interval: float = Field(
        3600.0, gt=0, description="seconds between removals of expired files and leftovers"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least important messages to log: debug, info, warning or error"
    )
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="text, json, or auto: text on a terminal"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the caller alone: `load_settings` knows where each came from."""
        return (init_settings,)

    @field_validator("allow_fetch", "allowed_hosts", "cors_origins", "proxy_targets", mode="before")
    @classmethod
    def _read_json(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("allow_fetch")
    @classmethod
    def _check_exceptions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_exception(text)
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in value or ():
            HostPattern.parse(text)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(canonical_origin, value))

    @field_validator("proxy_targets")
    @classmethod
    def _check_targets(cls, value: dict[str, str]) -> dict[str, str]:
        for name, url in value.items():
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.fragment:
                raise ValueError(f"the URL of {name!r} is no http:// or https:// URL")
        return value

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.certfile is None) != (self.keyfile is None):
            raise ValueError("certfile and keyfile go together")
        return self


class Loaded(NamedTuple):
    """Settings, and for each its origin: a flag, a variable, a file, or "default"."""

    settings: Settings
    origins: Mapping[str, str]


def load_settings(flags: Mapping[str, Any] | None = None) -> Loaded:
    """Put settings together: flags over environment over TOML file over defaults.

    Args:
        flags: Values given on the command line by setting name; None means not given.

    Raises:
        BadSettings: A value cannot be, a name is unknown, or the file cannot be read.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    variables = _variables()
    path = given.get("config") or variables.get("config")
    layers = [
        ("default", {}),
        (f"file {path}", _file(path)),
        ("variable", variables),
        ("flag", given),
    ]
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    for layer, layer_values in layers:
        values |= layer_values
        origins |= {name: _origin(layer, name) for name in layer_values}
    try:
        return Loaded(Settings(**values), origins)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise BadSettings(f"{name} ({origins.get(name, 'unknown')}): {first['msg']}") from error


def as_variables(flags: Mapping[str, Any]) -> dict[str, str]:
    """Write flags as the environment of another process."""
    given = {name: value for name, value in flags.items() if value is not None}
    return {f"{ENV_PREFIX}{name.upper()}": str(value) for name, value in given.items()}


def _origin(layer: str, name: str) -> str:
    if layer == "flag":
        return f"flag --{name.replace('_', '-')}"
    return f"variable {ENV_PREFIX}{name.upper()}" if layer == "variable" else layer


def _variables() -> dict[str, Any]:
    try:
        return EnvSettingsSource(Settings, env_ignore_empty=True)()
    except SettingsError as error:
        raise BadSettings(f"environment: {error}") from error


def _file(path: str | Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSettings(f"settings file {path}: {error}") from error
