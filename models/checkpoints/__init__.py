"""Checkpoints: our own (weights and a manifest), and those that the published code reads and writes."""
