"""One self-contained HTML page per round: `content` says what it shows, `figures` draws, `page` writes."""

from tasks.report.content import (
    Control,
    Curve,
    FailureRow,
    GateRow,
    HeadlineGroup,
    HeadlineRow,
    Margins,
    ModelRow,
    NumberRow,
    Overlay,
    RoundReport,
    ScoreAgainstError,
    Series,
    StageRow,
)
from tasks.report.page import report_html

__all__ = [
    "Control",
    "Curve",
    "FailureRow",
    "GateRow",
    "HeadlineGroup",
    "HeadlineRow",
    "Margins",
    "ModelRow",
    "NumberRow",
    "Overlay",
    "RoundReport",
    "ScoreAgainstError",
    "Series",
    "StageRow",
    "report_html",
]
