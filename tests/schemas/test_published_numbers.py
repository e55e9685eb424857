"""The numbers of the published trainings: the profile `paper` has those that docs/published.md tells."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from schemas.config.training import OptimiserConfig
from schemas.profiles import paper

ROWS = Path(__file__).parents[2] / "docs" / "published.md"
CONFIG = paper()
TRAININGS = (CONFIG.train_base.optimiser, CONFIG.align.optimiser, CONFIG.train_scorer.optimiser)
"""In the order of the table's columns."""
EPOCHS = (50, 50, 25)


def table() -> Mapping[str, list[str]]:
    """The rows of the table of trainings, by their first cells."""
    text = ROWS.read_text(encoding="utf-8").partition("## How it trains")[2].partition("## How it was checked")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {first.removeprefix("… "): cells for first, *cells in rows}


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"(?<![\w.])\d*\.?\d+(?:e-?\d+)?(?![\w.]\d)", text.replace(",", ""))]


@pytest.mark.parametrize(("place", "training"), list(enumerate(TRAININGS)))
def test_steps_rates_and_halvings(place: int, training: OptimiserConfig) -> None:
    rows = table()
    assert training.steps == numbers(rows["steps"][place])[0]
    assert training.learning_rate == numbers(rows["learning rate: denoiser or ScoreNet"][place])[0]
    each = training.steps / EPOCHS[place]
    halved = [at / each for at in training.halved_at]
    assert halved == pytest.approx([float(one) for one in rows["halved after epoch"][place].split(", ")])
    encoder = rows["HRNet · its new layers"][place]
    if encoder.startswith("frozen"):
        assert training.encoder_learning_rate == 0
        return
    factors = (training.encoder_learning_rate, training.encoder_heads_learning_rate)
    assert [training.learning_rate * factor for factor in factors] == pytest.approx(numbers(encoder))


def test_batches() -> None:
    rows = table()["steps"]
    assert "2 × 160 a step" in rows[0]
    assert CONFIG.train_base.batch_images == 2 * 160
    assert "8 × 40 a step" in rows[1]
    assert (CONFIG.align.batch_crops, CONFIG.align.denoised_crops, CONFIG.align.pairs_per_crop) == (320, 320, 1)
    assert "32 a GPU; 8 GPUs" in rows[2]
    assert CONFIG.train_scorer.batch_images == 32 * 8


def test_averages_dropout_and_losses() -> None:
    rows = table()
    base, align, scorer = TRAININGS
    assert (base.ema_decay, base.ema_ramp) == (0.9999, True)
    assert (align.ema_decay, align.ema_ramp) == (0.9999, False)
    assert round(align.ema_decay**align.steps, 2) == 0.73
    assert "73 %" in rows["moving average"][1]
    assert scorer.ema_decay == 0
    assert CONFIG.align.dropout
    assert (CONFIG.align.beta, CONFIG.align.objective) == (100.0, "dpo")
    assert "15 noised labels" in rows["loss"][2]
    assert (CONFIG.train_scorer.pool_noised, CONFIG.train_scorer.noised) == (15, 15)
    assert len(CONFIG.train_scorer.errors) == 4
    assert rows["crops"][2] == "as for base, silent"
    assert CONFIG.train_scorer.augment == CONFIG.train_base.augment
    assert CONFIG.train_scorer.score_weight == 0
