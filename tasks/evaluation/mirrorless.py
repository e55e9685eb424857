"""Scores as published: without the mirrored picture."""

from dataclasses import replace

from tasks.engine.context import Context


def as_published(context: Context) -> Context:
    """The context in which scores don't look at the mirrored picture."""
    config = context.config
    return replace(
        context, config=config.model_copy(update={"score": config.score.model_copy(update={"mirror": False})})
    )
