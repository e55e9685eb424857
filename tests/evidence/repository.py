"""What is checked out: the commit, and whether files differ from it."""

import subprocess
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def commit_here() -> str:
    """The commit's first digits; "unknown" outside of a repository."""
    return _asked("rev-parse", "--short=12", "HEAD") or "unknown"


def is_changed(besides: Path | None = None) -> bool:
    """Whether a file that git knows, but for `besides`, differs from the commit."""
    excluded = [f":(exclude){besides.resolve()}"] if besides else []
    return bool(_asked("status", "--porcelain", "-uno", "--", ":/", *excluded))


def _asked(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=_HERE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
