"""Faults injected for real, and a checker that knows what may follow from each. Never part of the library."""
