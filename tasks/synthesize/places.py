"""Where the synthetic folders are, below the store's root."""

from schemas.ids import StageKey, Target


def folder_of(key: StageKey) -> str:
    """What a stage made."""
    return f"synthetic/{key[:12]}"


def name_of(target: Target) -> str:
    """The folder of a split, below that, or its records."""
    return f"{target.dataset}-{target.split}"
