"""Tests of models.measures."""
