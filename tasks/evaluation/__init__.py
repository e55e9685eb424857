"""Measures: bodies against labels, scorers against errors, and both as the papers do."""
