"""Tests of tasks.clean."""
