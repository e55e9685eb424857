"""A published file as a model of this engine, in networks that are made for it."""

from models.checkpoints.loading import Loaded, load_hmr_scorer, load_policy, load_scorehypo
from models.checkpoints.published import LORA, TITLES, PublishedFile, Weights
from models.hmr_scorer import HMRScorer
from models.lora import add_low_rank
from models.policy import Policy
from models.vit import VIT_SIZES
from schemas.config.networks import ScorerConfig
from schemas.errors import DataError
from schemas.profiles import paper, scorehypo_scorer


def open_policy(file: PublishedFile, weights: Weights | None = None) -> tuple[Policy, Loaded]:
    """The policy of an ADHMR or ScoreHypo checkpoint, in eval mode; with its averages unless `weights` says otherwise.

    With low-rank additions in the file the policy has them too. DataError for other files and for what doesn't fit.
    """
    policy = Policy(paper().policy)
    if file.lora:
        first = next(value for name, value in file.parts["hyponet"].items() if name.endswith(f"{LORA[1:]}a"))
        add_low_rank(policy.hyponet, first.shape[1])
    return policy.eval(), load_policy(policy, file, weights or _best(file))


def open_scorer(file: PublishedFile, weights: Weights | None = None) -> tuple[HMRScorer, Loaded]:
    """The scorer of an HMR-Scorer or ScoreHypo ScoreNet checkpoint, in eval mode; as `open_policy`."""
    if file.kind == "scorehypo_scorenet":
        scorer = HMRScorer(scorehypo_scorer())
        return scorer.eval(), load_scorehypo(scorer.score_net, scorer.encoder, file, weights or _best(file))
    if file.kind == "hmr_scorer":
        scorer = HMRScorer(scorer_config(file))
        return scorer.eval(), load_hmr_scorer(scorer, file)
    raise DataError(f"{file.where} holds no scorer. Found: {TITLES[file.kind]}.")


def scorer_config(file: PublishedFile) -> ScorerConfig:
    """HMR-Scorer as published, with an encoder of the file's size."""
    return scorer_like(vit_kind(file))


def scorer_like(kind: str | None) -> ScorerConfig:
    """The published scorer with this image encoder; the paper's own where none is published with it."""
    if kind == scorehypo_scorer().condition.kind:
        return scorehypo_scorer()
    config = paper().scorer
    condition = config.condition.model_copy(update={"kind": kind if kind in VIT_SIZES else config.condition.kind})
    return config.model_copy(update={"condition": condition})


def vit_kind(file: PublishedFile) -> str | None:
    """Which of the published encoder sizes a file's vision transformer has, by its width; None if it has none."""
    places = file.parts.get("encoder", {}).get("pos_embed")
    return next(
        (kind for kind, size in VIT_SIZES.items() if places is not None and places.shape[-1] == size.channels), None
    )


def _best(file: PublishedFile) -> Weights:
    """What the published evaluation takes."""
    return "ema" if file.shadows else "raw"
