"""Hypercorn, made to serve big transfers: a launcher, its workers, and their connections."""
