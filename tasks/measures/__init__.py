"""Measures of evaluations beyond mean errors (curves, spread, depth, parts of the body, plausibility), and comparisons."""
