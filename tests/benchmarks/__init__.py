"""Timings, side by side: `make bench`."""
