"""The work of calibrating a scorer: what its score means in millimetres (`tasks.rows.calibrations` has the names)."""

from typing import TYPE_CHECKING

from models.calibration import calibrate, calibration_error
from schemas.errors import DataError
from tasks.engine.context import Context
from tasks.engine.stage import Rows
from tasks.evaluation.score_noised import ERRORS
from tasks.evaluation.scorer import scored_errors
from tasks.rows.calibrations import MISSED, calibration_metrics
from tasks.rows.metrics import Metric, metrics_table

if TYPE_CHECKING:
    from tasks.stages.published_scorer import CalibrateScorer


def calibrated(stage: "CalibrateScorer", context: Context) -> Rows:
    """The metrics of a calibration. DataError where no error is known of all hypotheses, or all scores are equal."""
    rows, role = scored_errors(context.store, stage.errors, stage.scores, stage.target)
    known = [name for name in ERRORS if len(rows) and not rows.column(f"{name}_mm").null_count]
    problem = f"What a score means can't be said on {stage.target}: "
    if not known:
        raise DataError(f"{problem}no kind of error is known of all hypotheses.")
    people = len(set(rows.column("instance_id").to_pylist()))
    scores, errors = (rows.column(name).to_numpy().reshape(people, -1) for name in ("score", f"{known[0]}_mm"))
    try:
        curve = calibrate(scores, errors, **context.config.evaluate.bootstrap)
    except ValueError as error:
        raise DataError(f"{problem}{error}.") from error
    named = role, stage.target
    metrics = list(calibration_metrics(curve, known[0], scores.size, *named, people, stage.scorer))
    missed = calibration_error(scores, errors)
    if missed is not None:
        metrics.append(Metric(MISSED, *named, "mm", missed, people, model=stage.scorer))
    return Rows({"metrics": metrics_table(metrics, stage.spec(context))})
