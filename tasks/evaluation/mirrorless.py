"""Scores as published: without the mirrored picture, in 32 bits."""

from dataclasses import replace
from typing import Final

from tasks.engine.context import Context

_AS_PUBLISHED: Final = {"mirror": False, "precision": "float32", "encoder_precision": "float32"}


def as_published(context: Context) -> Context:
    """The context in which scores don't look at the mirrored picture, and are computed in 32 bits."""
    config = context.config
    return replace(context, config=config.model_copy(update={"score": config.score.model_copy(update=_AS_PUBLISHED)}))
