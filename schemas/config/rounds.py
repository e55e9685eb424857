"""Configuration of many rounds in a row: how many, of which kind, against which reference, by whom."""

from typing import Literal

from schemas.config.base import Config, setting


class RoundsConfig(Config):
    """How the rounds of a campaign follow each other. None of it is part of a key: what it decides is.

    What a round may cost is said in steps (align.optimiser.steps), hypotheses (generate.hypotheses) and people
    (people_parts), never in hours: the same budget then gives the same bits on any machine.
    """

    count: int = setting(
        3, "rounds that `adhmr campaign` works through in all, those that are done included", "rounds", ge=1
    )
    clean_every: int = setting(0, "of so many rounds the last is a cleaning round; 0: none is", "rounds", ge=0)
    stop_after: int = setting(
        2, "rounds in a row that promote nothing, after which `adhmr campaign` ends; 0: it goes on", "rounds", ge=0
    )
    reference: Literal["campaign", "round"] = setting(
        "campaign",
        "policy that an alignment is measured against: the one that the campaign began with, or the one that the round "
        "begins with; gates on drift and diversity go by the campaign's either way",
        "-",
    )
    people_parts: int = setting(
        1,
        "parts that the in-the-wild pictures are cut into, by a hash of their names: each round learns from the next "
        "part alone, and after the last comes the first again",
        "parts",
        ge=1,
        le=1000,
    )
