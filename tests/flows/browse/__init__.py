"""Tests of flows.browse."""
