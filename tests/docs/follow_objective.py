"""In a copy with the recipe of an objective: it is chosen as `--set` chooses, and trains."""

import math

import torch
from typer.testing import CliRunner

from flows.cli.main import app
from tasks.engine.loop import Training
from tests.tasks.train import alignment


def main() -> None:
    """Print exit codes of plans, with it and with one that there isn't, then whether it trains its own way."""
    words = ["plan", "--profile", "micro", "--store", "store", "--set"]
    planned = [CliRunner().invoke(app, [*words, f"align.objective={name}"]) for name in ("squared_hinge", "nothing")]
    trained = []
    for name in ("squared_hinge", "anchored_dpo"):
        config, losses = alignment.settings(objective=name), list[float]()
        training = Training(alignment.recipe(config), config.optimiser)
        training.run(lambda step, figures, state, losses=losses: losses.append(figures["loss"]))
        assert len(losses) == alignment.STEPS
        assert all(map(math.isfinite, losses)), losses
        trained.append(training.recipe.model.state_dict())
    first, second = trained
    print(*(ended.exit_code for ended in planned), any(not torch.equal(first[name], second[name]) for name in first))


if __name__ == "__main__":
    main()
