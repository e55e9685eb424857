"""The profile `paper`, and the same in small: to try a benchmark, not to measure anything."""

from schemas.config.engine import EngineConfig
from schemas.profiles import tiny


def smaller(config: EngineConfig) -> EngineConfig:
    """The same networks as far as the plain ways know them, in the sizes of `tiny`."""
    other = tiny()
    sizes = {"condition": other.policy.condition, "hyponet": other.policy.hyponet}
    # the compact encoder has no heads of its own rate
    optimiser = config.align.optimiser.model_copy(update={"encoder_heads_learning_rate": None})
    return config.model_copy(
        update={
            "policy": config.policy.model_copy(update=sizes),
            "scorer": other.scorer,
            "align": config.align.model_copy(update={"optimiser": optimiser}),
        }
    )
