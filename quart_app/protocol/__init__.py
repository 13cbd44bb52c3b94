"""The rules of the protocols as pure functions: no I/O, no framework."""
