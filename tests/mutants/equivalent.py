"""Mutants that can't matter: what they change is the same to everybody, for the reason that stands beside each."""

from typing import Final

EQUIVALENT: Final[dict[str, str]] = {}
"""`module: before -> after`, without the line, and why no test could tell it apart."""


def reason(module: str, before: str, after: str) -> str:
    """Why this mutant can't matter; empty if it can."""
    return EQUIVALENT.get(f"{module}: {before} -> {after}", "")
