"""Published weights into our networks, by the rules of the published code, and what it leaves to chance said aloud."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from models.checkpoints.fitting import Difference, Fit, State, check_finite, check_fit, compare
from models.checkpoints.published import LORA, TITLES, FileKind, PublishedFile, Shadow, Weights, has_low_rank
from models.hmr_scorer import HMRScorer
from models.item_graph import apply_masks
from models.policy import Policy
from schemas.errors import DataError

# Counters that batch normalisation never reads; files of early torch lack them.
_COUNTERS = r"(.*\.)?num_batches_tracked$"
OPTIONAL: Mapping[str, Sequence[str]] = {
    "hyponet": (),
    "condition": (_COUNTERS,),
    "score_net": (_COUNTERS, r"linear_start_t\.", r"bn_start_t\."),
    "encoder": (),
    "hmr_scorer encoder": (),
    "vitpose encoder": (r"task_tokens$",),
    # Pose networks end where ours goes on: with the finest map alone, and without the heads.
    "hrnet condition": (
        _COUNTERS,
        r"init_shape$",
        r"pred_beta\.",
        r"[fh]map_layer(_local)?\.",
        r"final_feat_layer\.",
        r"incre_modules\.",
        r"downsamp_modules\.",
        r"stage4\.2\.fuse_layers\.[123]\.",
        r"classifier\.",
        r"last_layer\.",
    ),
}
"""Names that may differ, by part, or by kind and part where files of that kind have a rule of their own."""


@dataclass(frozen=True)
class Loaded:
    """What was loaded, and how it fitted."""

    weights: Weights
    fits: Mapping[str, Fit]
    """By part."""
    notes: tuple[str, ...] = ()
    """What to know of it: parts left out, names that the published rules allow to differ."""


def load_policy(policy: Policy, file: PublishedFile, weights: Weights = "ema") -> Loaded:
    """Load a HypoNet checkpoint.

    "ema" is the published evaluation: `model` and `model_cond`, then every parameter overwritten by its average, so
    that batch statistics are those of `model_cond`. "raw" is where published DPO starts: `model` and `model_cond` as
    they are. With low-rank additions, in the network or in the file, the averages are never loaded, and a file without
    additions leaves the network's own.

    Raises DataError that lists what does not fit; the networks are then as they were.
    """
    _check_kind(file, "hyponet")
    extended = has_low_rank(policy.hyponet)
    if file.lora and not extended:
        raise DataError(
            f"{file.where} holds low-rank additions (LoRA), but the network has none: configure the rank that it was "
            "trained with."
        )
    notes = []
    if extended and weights == "ema":
        weights = "raw"
        notes.append("with low-rank additions the published code does not load the averages: raw weights were taken")
    optional = {"hyponet": (f".*{re.escape(LORA)}",)} if extended and not file.lora else {}
    return _load(file, {"hyponet": policy.hyponet, "condition": policy.condition}, weights, notes, optional)


def load_scorehypo(score_net: nn.Module, condition: nn.Module, file: PublishedFile, weights: Weights = "ema") -> Loaded:
    """Load a ScoreHypo ScoreNet checkpoint; as `load_policy`."""
    _check_kind(file, "scorehypo_scorenet")
    return _load(file, {"score_net": score_net, "condition": condition}, weights)


def load_hmr_scorer(scorer: HMRScorer, file: PublishedFile) -> Loaded:
    """Load an HMR-Scorer checkpoint. It has no averages; the body model that some files carry is left out."""
    _check_kind(file, "hmr_scorer")
    return _load(file, {"encoder": scorer.encoder, "score_net": scorer.score_net}, "raw")


def start_encoder(encoder: nn.Module, file: PublishedFile) -> Loaded:
    """Start a ViT encoder from SMPLer-X, ViTPose or a whole HMR-Scorer; ViTPose has no task tokens."""
    _check_kind(file, "smplerx", "vitpose", "hmr_scorer")
    return _load(file, {"encoder": encoder}, "raw")


def start_condition(condition: nn.Module, file: PublishedFile) -> Loaded:
    """Start the condition network from HRNet trained on COCO or ImageNet; our heads keep their start values."""
    _check_kind(file, "hrnet")
    return _load(file, {"condition": condition}, "raw")


# Waits for step 9 of the plan: a scorer of `paper` starts from the policy's networks, as published.
def warm_start(networks: Mapping[str, nn.Module], file: PublishedFile) -> dict[str, Fit]:
    """Copy what has the same name and shape from a HypoNet checkpoint's raw weights, as ScoreHypo starts its ScoreNet.

    `networks` are "score_net" and "condition"; each answer says what was copied and what was not.
    """
    _check_kind(file, "hyponet")
    source = {"score_net": file.parts["hyponet"], "condition": file.parts["condition"]}
    fits = {}
    for part, network in networks.items():
        fit = compare(network, source[part])
        apart = {row.name for row in fit.differences}
        same = {name: value for name, value in source[part].items() if name not in apart}
        check_finite(same, f"{file.where}, {part}")
        network.load_state_dict(same, strict=False)
        apply_masks(network)
        fits[part] = fit
    return fits


def averaged(module: nn.Module, shadow: Shadow, where: str) -> dict[str, Tensor]:
    """The averages by name: the list has the order of `named_parameters`. DataError if they are others."""
    named = dict(module.named_parameters())
    if len(named) != len(shadow.parameters):
        raise DataError(
            f"{where} has {len(shadow.parameters)} averages, but {type(module).__name__} as configured has "
            f"{len(named)} parameters, and the file tells them by their order alone: give the configuration that it "
            "was trained with, or load the raw weights."
        )
    rows = tuple(
        Difference("shape", name, tuple(value.shape), tuple(parameter.shape))
        for (name, parameter), value in zip(named.items(), shadow.parameters, strict=True)
        if parameter.shape != value.shape
    )
    check_fit(Fit(type(module).__name__, len(named), len(named) - len(rows), rows), where)
    return dict(zip(named, shadow.parameters, strict=True))


def _load(
    file: PublishedFile,
    networks: Mapping[str, nn.Module],
    weights: Weights,
    notes: Sequence[str] = (),
    optional: Mapping[str, Sequence[str]] | None = None,
) -> Loaded:
    """Everything is checked before anything is changed."""
    fits: dict[str, Fit] = {}
    states: dict[str, State] = {}
    for part, network in networks.items():
        where = f"{file.where}, {part}"
        allowed = (*OPTIONAL.get(f"{file.kind} {part}", OPTIONAL[part]), *(optional or {}).get(part, ()))
        fits[part] = compare(network, file.parts[part], allowed)
        check_fit(fits[part], where)
        check_finite(file.parts[part], where, network.state_dict())
        states[part] = file.parts[part]
        if weights == "ema":
            if part not in file.shadows:
                raise DataError(f"{where} has no moving average: load its raw weights instead.")
            averages = averaged(network, file.shadows[part], f"{where}, moving average")
            check_finite(averages, f"{where}, moving average")
            states[part] = {**states[part], **averages}
    for part, network in networks.items():
        _put(network, states[part])
    remarks = [f"{part}: allowed to differ: {fit.allowed()}" for part, fit in fits.items() if fit.optional]
    if file.left:
        counts = Counter(name.partition(".")[0] for name in file.left)
        remarks.append("left out, as published: " + ", ".join(f"{name} ({count})" for name, count in counts.items()))
    return Loaded(weights, fits, (*notes, *remarks))


def _put(network: nn.Module, state: State) -> None:
    network.load_state_dict(dict(state), strict=False)
    # Saved weights are those before the published code's next forward pass, which zeroes what the graph bars.
    apply_masks(network)


def _check_kind(file: PublishedFile, *wanted: FileKind) -> None:
    if file.kind not in wanted:
        raise DataError(
            f"{file.where} holds another model. Found: {TITLES[file.kind]}. Needed here: "
            f"{', or '.join(TITLES[kind] for kind in wanted)}. Give that file instead."
        )
