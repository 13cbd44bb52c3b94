"""Converters of streams: pure, fed piece by piece, holding a bounded amount."""

from quart_app.protocol.codecs.contract import Codec
from quart_app.protocol.codecs.csv_to_ndjson import CsvToNdjson
from quart_app.protocol.codecs.expansion import Bounded, ExpansionLimit
from quart_app.protocol.codecs.gzip import Gunzip, Gzip
from quart_app.protocol.codecs.ndjson_to_csv import NdjsonToCsv

__all__ = ["Bounded", "Codec", "CsvToNdjson", "ExpansionLimit", "Gunzip", "Gzip", "NdjsonToCsv"]
