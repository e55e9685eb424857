"""Measures of evaluations beyond mean errors: curves, spread, depth, parts of a body, plausibility; and comparisons."""
