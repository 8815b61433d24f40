"""Benchmarks: whole runs beside raw redis-py on the same server, ratios first. Never part of the tests."""
