"""This service against its peers, in one command: `python -m benchmarks --help`.

A contender is an entry in `contenders.py` and a file in `servers/`; a workload is a class in
`workloads/`; a bar is an entry in `bars.py`. Nothing else has to change to add one.
"""
