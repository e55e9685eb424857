"""Tests of tasks.measures."""
