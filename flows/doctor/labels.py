"""doctor for labels: which body poses them, and how far they lie from the file's own 3D joints and key-points."""

from collections.abc import Sequence
from statistics import median
from typing import Any, Final

import numpy as np

from infra.deep import Finding
from schemas.config.stages import IngestConfig
from tasks.ingest.look import Looked, look
from tasks.ingest.people.annotations import Survey
from tasks.ingest.people.posed import Bodies

PUBLISHED: Final = "human_model_files"
"""What the folder of published bodies is usually called."""
FREE_BODY: Final = "tiny"
_LOOKED_AT = 300
_ITS_OWN_MM = 2.0
"""Joints that the free body itself gave are so near to it; no other body's are."""
_OF = "(median / 95 % / largest)"


def examine_labels(
    rows: list[dict[str, Any]], survey: Survey, body: str | None, config: IngestConfig
) -> tuple[str | None, list[Finding]]:
    """The body that an ingest needs (None: none), and what was measured of the first labels.

    `body` poses them; without one the free body is tried. Rows that the ingest would refuse get reason and detail.
    """
    findings: list[Finding] = []
    good = [row for row in rows if row["reason"] is None][:_LOOKED_AT]
    tried = body or (FREE_BODY if survey.bodies else None)
    looked = look(good, Bodies(tried) if tried else None, config)
    if survey.bodies and body is None:
        off = [error for errors in looked.errors_mm.values() for error in errors]
        if off and median(off) <= _ITS_OWN_MM:
            body = FREE_BODY
            findings.append(Finding("body files", "good", f"{body}, the free body: the file's 3D joints are its own"))
        else:
            body, looked = PUBLISHED, look(good, None, config)
            far = f"; the free body's lie {median(off):.0f} mm from the file's" if off else ""
            text = (
                f"labels are parameters of {' and '.join(survey.bodies)} bodies and need their files: --body {body}; "
                f"doctor takes it, too, and compares the posed joints with the file's{far}"
            )
            findings.append(Finding("body files", "note", text))
    for row, refusal in looked.refused:
        row |= {"reason": refusal.reason, "detail": refusal.detail}
    return body, findings + _measured(looked, config)


def _measured(looked: Looked, config: IngestConfig) -> list[Finding]:
    findings = [
        Finding("joints", "good", f"{what} lie {_spread(errors)} mm from the posed body {_OF}")
        for what, errors in looked.errors_mm.items()
    ]
    if looked.reprojections:
        pixels = _spread([of.mean_px for of in looked.reprojections])
        boxes = _spread([100 * of.mean_px / of.box_px for of in looked.reprojections])
        scales = _spread([100 * of.mean_px / of.scale_px for of in looked.reprojections])
        text = (
            f"labels lie {pixels} px from the file's key-points {_OF}: {boxes} % of the box's longer side, {scales} % "
            f"of the person's scale, of which {config.max_reprojection:.0%} are allowed"
        )
        findings.append(Finding("reprojection", "good", text))
    return findings


def _spread(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.1f}" for value in np.quantile(values, (0.5, 0.95, 1.0)))
