"""One tree of errors: every class carries the stable `code` and the HTTP `status` it answers with.

The text of an error is written for the client: it never holds a path, an address or another
library's message. What the operator needs goes to the log with the cause (`raise … from`).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BadCursor",
    "BadDigest",
    "BadForm",
    "BadGzip",
    "BadRecord",
    "BadRequest",
    "BadUrl",
    "BlockedAddress",
    "BodyError",
    "BodyTooShort",
    "CannotStart",
    "CatalogBusy",
    "CatalogError",
    "CatalogUnavailable",
    "ClientDisconnected",
    "ClientStalled",
    "CrossSite",
    "DataMismatch",
    "DigestMismatch",
    "Draining",
    "FormTooComplex",
    "LoopDetected",
    "NoSpace",
    "NoTarget",
    "NotFound",
    "NotStarted",
    "NotText",
    "Overloaded",
    "PreconditionFailed",
    "QuartAppError",
    "RangeNotSatisfiable",
    "StorageError",
    "StorageUnavailable",
    "TooExpanded",
    "TooLarge",
    "UnknownHost",
    "UnsupportedEncoding",
    "UpstreamFailed",
    "UpstreamTimeout",
]


class QuartAppError(Exception):
    """Root of everything this package raises on purpose.

    Attributes:
        code: Stable, machine-readable name; the status where the error is Werkzeug's too.
        status: HTTP status it answers with.
        title: The same for people.
        detail: What is special about this case, written for the client.
        headers: Fields that its answer carries.
    """

    code = "internal_error"
    status = 500
    title = "Internal error"
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.title)
        self.detail = detail

    @property
    def problem_code(self) -> str:
        """Stable, machine-readable name."""
        return self.code


class BadRequest(QuartAppError):
    """The request cannot be understood."""

    code = "bad_request"
    status = 400
    title = "Bad request"


class BadDigest(BadRequest):
    """A digest field is malformed (RFC 9530)."""

    code = "bad_digest"
    title = "Malformed digest field"


class BadCursor(BadRequest):
    """A list cursor was not made by this service."""

    code = "bad_cursor"
    title = "Unknown cursor"


class BadUrl(BadRequest):
    """A URL is malformed, holds credentials, or is neither `http` nor `https`."""

    code = "bad_url"
    title = "URL not supported"


class UnsupportedEncoding(BadRequest):
    """The body carries a content coding; stored bytes are the file's own (RFC 9110, 8.4)."""

    code = "unsupported_encoding"
    status = 415
    title = "Content coding not supported"


class NotFound(QuartAppError):
    """There is no such file."""

    code = "not_found"
    status = 404
    title = "Not found"


class NoTarget(QuartAppError):
    """No destination is configured under this name."""

    code = "no_target"
    status = 404
    title = "No such target"


class BlockedAddress(QuartAppError):
    """Policy allows no connection to this address or port."""

    code = "blocked_address"
    status = 403
    title = "Address not allowed"


class UnknownHost(QuartAppError):
    """The request names a host that the service does not answer for (RFC 9110, 15.5.20)."""

    code = "unknown_host"
    status = 421
    title = "Unknown host"

    def __init__(self) -> None:
        super().__init__("The operator lists the hosts of this service in allowed_hosts.")


class CrossSite(QuartAppError):
    """A page of another web site has caused a request that changes something."""

    code = "cross_site"
    status = 403
    title = "Request of another site"

    def __init__(self) -> None:
        super().__init__("The operator lists origins whose pages may do this in cors_origins.")


class PreconditionFailed(QuartAppError):
    """`If-Match` or `If-Unmodified-Since` does not hold (RFC 9110, 13.1)."""

    code = "precondition_failed"
    status = 412
    title = "Precondition failed"


class RangeNotSatisfiable(QuartAppError):
    """No requested range lies within the file (RFC 9110, 15.5.17).

    Attributes:
        size: Length of the whole file in bytes, for `Content-Range: bytes */size`.
    """

    code = "range_not_satisfiable"
    status = 416
    title = "Range not satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"The file has {size} bytes.")
        self.size = size
        self.headers = {"Content-Range": f"bytes */{size}"}


class BodyError(QuartAppError):
    """Client trouble while its body was read: known to no store, raised inside the handler."""

    code = "bad_body"
    status = 400
    title = "Bad request body"


class ClientDisconnected(BodyError):
    """The client went away before its body was complete."""

    code = "client_disconnected"
    title = "The client disconnected"


class ClientStalled(BodyError):
    """The client sent nothing for longer than the stall timeout."""

    code = "client_stalled"
    status = 408
    title = "The client stopped sending"


class BodyTooShort(BodyError):
    """The body ended before its declared length."""

    code = "body_too_short"
    title = "The body is shorter than declared"


class NotText(BodyError):
    """The body was to be read as text, and is not UTF-8."""

    code = "not_text"
    status = 415
    title = "Not UTF-8 text"


class TooLarge(BodyError):
    """The body, or a part of it, passes a limit in bytes."""

    code = "too_large"
    status = 413
    title = "Too large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The limit is {limit} bytes.")


class BadForm(BodyError):
    """The `multipart/form-data` body is malformed, truncated or followed by more parts."""

    code = "bad_form"
    title = "Malformed form"


class FormTooComplex(BodyError):
    """The form has too many parts, headers or fields, or too large ones."""

    code = "form_too_complex"
    status = 413
    title = "The form passes a limit"


class BadGzip(BodyError):
    """The body is no gzip, damaged or cut (RFC 1952)."""

    code = "bad_gzip"
    title = "Not a whole gzip stream"


class TooExpanded(BodyError):
    """The compressed body holds more than is believed to be no attack."""

    code = "too_expanded"
    status = 413
    title = "The body expands too much"


class BadRecord(BodyError):
    """A record of a table cannot be converted.

    Attributes:
        line: Number of the line, from 1, on which it begins.
    """

    code = "bad_record"
    title = "A record cannot be converted"

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"Line {line}: {reason}.")
        self.line = line


class DigestMismatch(BodyError):
    """The bytes received do not have the digest the client declared (RFC 9530)."""

    code = "digest_mismatch"
    title = "Digest mismatch"


class StorageError(QuartAppError):
    """Bytes at rest cannot be had or kept."""

    code = "storage_failed"
    title = "Storage failed"


class NoSpace(StorageError):
    """The bytes do not fit the space that is left."""

    code = "no_space"
    status = 507
    title = "No space left"


class StorageUnavailable(StorageError):
    """The store does not answer, or does not accept writes."""

    code = "storage_unavailable"
    status = 503
    title = "Storage is unavailable"


class CatalogError(QuartAppError):
    """The catalog failed."""

    code = "catalog_failed"
    title = "Catalog failed"


class CatalogUnavailable(CatalogError):
    """The catalog does not answer, or does not accept writes."""

    code = "catalog_unavailable"
    status = 503
    title = "Catalog is unavailable"


class CatalogBusy(CatalogUnavailable):
    """Another process holds the lock of the catalog for too long; nothing was written."""

    code = "catalog_busy"
    title = "Catalog is locked"


class DataMismatch(QuartAppError):
    """Catalog and stored files do not belong together; `detail` is for the operator."""

    code = "data_mismatch"
    status = 503
    title = "Catalog and stored files do not belong together"


class Draining(QuartAppError):
    """The service is stopping and takes no new work."""

    code = "draining"
    status = 503
    title = "The service is stopping"


class Overloaded(QuartAppError):
    """Threads or descriptors have run out: nothing was begun."""

    code = "overloaded"
    status = 503
    title = "The service is overloaded"
    headers: Mapping[str, str] = MappingProxyType({"Retry-After": "1"})


class NotStarted(QuartAppError):
    """The application has not started: the server has not run its lifespan."""

    code = "not_started"
    status = 503
    title = "The service has not started"


class UpstreamFailed(QuartAppError):
    """Another server cannot be found or reached, or breaks the connection or the protocol."""

    code = "upstream_failed"
    status = 502
    title = "The other server failed"


class UpstreamTimeout(UpstreamFailed):
    """It does nothing for too long."""

    code = "upstream_timeout"
    status = 504
    title = "The other server is too slow"


class LoopDetected(QuartAppError):
    """The request has been here before (RFC 9110, 7.6.3; RFC 5842, 7.2)."""

    code = "loop_detected"
    status = 508
    title = "Loop detected"


class CannotStart(Exception):
    """The service cannot start; the text says why, for the operator, unless a worker did."""
