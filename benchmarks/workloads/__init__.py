"""What is measured, in the order in which it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.workloads.discard import Discard
from benchmarks.workloads.downloads import Download, RangedDownload
from benchmarks.workloads.long_wire import LongWire
from benchmarks.workloads.memory import Memory
from benchmarks.workloads.reading import ReadBytesIO, ReadMmap, ReadStringIO, ReadTempfile
from benchmarks.workloads.rejections import Rejections
from benchmarks.workloads.relays import Fetch, FormProxy, Proxy
from benchmarks.workloads.slow_clients import SlowClients
from benchmarks.workloads.small_files import SmallDownloads, SmallUploads
from benchmarks.workloads.stalls import SlowDestination, SlowDisk, SlowReader
from benchmarks.workloads.uploads import FormUpload, RawUpload

if TYPE_CHECKING:
    from benchmarks.workloads.workload import Workload

WORKLOADS: tuple[type[Workload], ...] = (
    RawUpload,
    FormUpload,
    Download,
    RangedDownload,
    Fetch,
    Proxy,
    FormProxy,
    ReadBytesIO,
    ReadStringIO,
    ReadTempfile,
    ReadMmap,
    SmallUploads,
    SmallDownloads,
    Discard,
    SlowClients,
    SlowReader,
    SlowDisk,
    SlowDestination,
    LongWire,
    Rejections,
    Memory,
)
