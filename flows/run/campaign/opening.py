"""What a round began with: its configuration, who said what of it, and the ingests that its sources are."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from infra import rounds
from infra.sealed import read_json, sealed_json
from infra.store import Store
from schemas.config.sources import Source, SourcesConfig
from schemas.config.stages import ReviewConfig
from schemas.errors import ConfigError
from schemas.ids import StageKey, Target
from schemas.layers import Configured
from tasks.engine.context import Context


def note_opening(
    store: Store, campaign: str, number: int, configured: Configured, ingests: Mapping[Target, StageKey]
) -> None:
    """Write it down, before the round opens."""
    plain = {
        "configuration": configured.config.model_dump(mode="json"),
        "said": dict(configured.origins),
        "file": configured.file,
        "ingests": {str(target): key for target, key in ingests.items()},
    }
    store.atomic_write(_path(campaign, number), sealed_json(plain))


class Opening(NamedTuple):
    """What a round began with."""

    sources: SourcesConfig
    ingests: dict[Target, StageKey]
    review: ReviewConfig = ReviewConfig()


def opening_of(store: Store, campaign: str, number: int) -> Opening | None:
    """What was written down of a round; None where an older engine opened it. DamagedError for a damaged file."""
    path = _path(campaign, number)
    if not store.exists(path):
        return None
    noted = read_json(store.read_bytes(path), store.uri(path))
    keys = {Source(data=name).target: StageKey(key) for name, key in noted["ingests"].items()}
    said = noted["configuration"]
    review = ReviewConfig.model_validate(said.get("review", {}))  # an older engine knew no reviews
    return Opening(SourcesConfig.model_validate(said["sources"]), keys, review)


def ingests_of_open_round(context: Context, targets: Sequence[Target]) -> dict[Target, StageKey]:
    """The ingests that the campaign's open round began with; none if no round is open, or an older engine opened it.

    Raises ConfigError where it began with other splits than `targets`.
    """
    store, campaign = context.store, context.config.campaign
    state = rounds.state(store, campaign)
    opening = opening_of(store, campaign, state.round) if state.is_open else None
    if opening is None:
        return {}
    if set(opening.ingests) != set(targets):
        began_with = ", ".join(sorted(map(str, opening.ingests)))
        raise ConfigError(
            f"Round {state.round} of campaign {campaign} began with other sources ({began_with}): go on with those, or "
            "end it with `adhmr close --why TEXT`."
        )
    return opening.ingests


def _path(campaign: str, number: int) -> str:
    return f"openings/{campaign}/{number}.json"
