"""What a user brings, looked over before anything slow begins and before a round opens.

The flows do it, for the runs of deployments; and so do commands, before they start a server.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from flows.run.user_pictures import UserPictures
from infra import rounds
from infra.standing import newest_ingest
from infra.store import Store
from schemas.config.sources import TRAIN
from schemas.errors import ConfigError, DataError
from schemas.ids import ModelDigest, Target
from tasks.clean.brought import check_brought
from tasks.engine.context import Context
from tasks.ingest.formats.registry import reader_of
from tasks.rows.models import find_model
from tasks.synthesize.stage import labelled_targets
from tasks.train.data import check_estimate


def check_round(context: Context, own: UserPictures | None = None, labels: str | None = None) -> None:
    """Raise ConfigError or DataError for pictures, boxes, labels or a configuration that would end the round."""
    config = context.config
    encoder, align = config.policy.condition, config.align
    if align.estimate or align.replays:
        check_estimate(align.losses, encoder)
    check_estimate(config.train_clean.losses, encoder)
    if own is not None:
        with TemporaryDirectory(prefix="adhmr-look-") as work:
            reader_of(own.source, Path(work))  # raises what would end the ingest as a whole
    if labels is not None:
        if config.clean.swap_share:
            raise ConfigError(
                "--swap-share (clean.swap_share) swaps the policy's own pseudo-labels: leave either it or --labels out."
            )
        check_brought(context, labels, None, own is not None)


def check_first_policy(context: Context, policy: ModelDigest) -> None:
    """Raise ConfigError where the campaign has begun with another policy than `start.policy` says."""
    campaign, said = context.config.campaign, context.config.start.policy
    first = rounds.state(context.store, campaign).first_policy
    if said != TRAIN and first is not None and first != policy:
        raise ConfigError(
            f"start.policy is {policy[:12]} ({said}), and campaign {campaign} began with {first[:12]}: name another "
            "campaign (--campaign, or `campaign` in the file)."
        )


def check_evaluation(store: Store, policy: str | None, dataset: str, split: str) -> None:
    """Raise DataError for a policy that the store doesn't have, or a split that there is nothing to measure on."""
    if policy is not None:
        find_model(store, policy, "policy")
    own, target = labelled_targets(), Target(dataset, split)
    if target in own:
        return
    try:
        newest_ingest(store, target)
    except DataError as error:
        raise DataError(f"{error} The engine's own labelled splits are {', '.join(map(str, own))}.") from error
