"""Rows of the tables as arrays, and back."""
