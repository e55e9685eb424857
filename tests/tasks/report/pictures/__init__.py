"""Tests of tasks.report.pictures."""
