"""Figures from per-image statistics: numpy, no torch."""
