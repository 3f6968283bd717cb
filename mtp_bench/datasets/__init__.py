"""Benchmarks: cards (facts), formats (readers), scenes (the demo's renderer)."""
