"""doctor for checkpoints: what a file is, its parts and averages, whether it loads, and the profile that it fits."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from infra.deep import Finding
from schemas.digests import digest
from schemas.errors import EngineError
from schemas.profiles import PROFILES, paper

if TYPE_CHECKING:
    from torch import Tensor

    from models.checkpoints.loading import Loaded
    from models.checkpoints.ours import Checkpoint
    from models.checkpoints.published import PublishedFile

_TITLES = {
    "hyponet": "HypoNet",
    "score_net": "ScoreNet",
    "condition": "condition network",
    "encoder": "ViT encoder",
}


def examine_checkpoint(path: Path) -> Iterator[Finding]:
    """What the file is, its parts and their sizes, its moving averages, and whether it loads into a profile."""
    try:
        if path.is_dir() or _is_safetensors(path):
            yield from _ours(path)
        else:
            yield from _published(path)
    except EngineError as error:
        yield Finding("checkpoint", "problem", str(error))


def _is_safetensors(path: Path) -> bool:
    """By its beginning: eight bytes of length, then the header's JSON."""
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        return opened.read(9)[8:] == b"{"


def _ours(path: Path) -> Iterator[Finding]:
    from models.checkpoints.folder import read_ours
    from models.checkpoints.ours import policy_of, scorer_of

    checkpoint = read_ours(path)
    manifest = checkpoint.manifest
    parents = ", ".join(digest[:12] for digest in manifest.parents) or "none"
    yield Finding(
        "checkpoint",
        "good",
        f"this engine's own {manifest.kind} {manifest.digest[:12]}, {file_size(path)}; parents {parents}",
    )
    if manifest.metrics:
        measured = ", ".join(f"{name} {value:g}" for name, value in manifest.metrics.items())
        yield Finding("measured", "good", measured)
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, value in checkpoint.state.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    for part, state in sorted(parts.items()):
        yield Finding(_TITLES.get(part, part), "good", _sizes(state))
    yield Finding(
        "moving average", "note", "none beside the weights: this engine saves the averaged weights themselves"
    )
    (policy_of if manifest.kind == "policy" else scorer_of)(checkpoint, str(path))
    yield Finding("loads", "good", "all weights, names and shapes fit its configuration; no NaN")
    yield _profile_of(checkpoint)


def _profile_of(checkpoint: "Checkpoint") -> Finding:
    kind = checkpoint.manifest.kind
    fitting = [
        name
        for name, profile in PROFILES.items()
        if digest(getattr(profile(), kind)) == digest(checkpoint.manifest.config)
    ]
    if fitting:
        return Finding("profile", "good", ", ".join(fitting))
    return Finding("profile", "note", "none as it is: it has a configuration of its own, which the file carries")


def _published(path: Path) -> Iterator[Finding]:
    from models.checkpoints.published import TITLES, read_published

    file = read_published(path)
    facts = ", ".join(f"{name} {value:g}" for name, value in file.facts.items())
    yield Finding("checkpoint", "good", "; ".join(filter(None, (TITLES[file.kind], file_size(path), facts))))
    for part, state in file.parts.items():
        yield Finding(_TITLES[part], "good", _sizes(state))
    for part, shadow in file.shadows.items():
        updates = "an unknown number of" if shadow.num_updates is None else f"{shadow.num_updates:,}"
        text = f"{_TITLES[part]}: {updates} updates, decay {shadow.decay:g}, {len(shadow.parameters)} parameters"
        yield Finding("moving average", "good", text)
    if not file.shadows:
        yield Finding("moving average", "note", "none in the file")
    try:
        loaded = _load(file)
    except EngineError as error:
        yield Finding("loads", "problem", str(error))
        yield Finding("profile", "problem", "none: the published files load into the sizes of profile paper alone")
        return
    matched = ", ".join(f"{_TITLES[part]} {fit.matched} of {fit.wanted}" for part, fit in loaded.fits.items())
    averaged = (
        "with the moving averages, as the published evaluation does" if loaded.weights == "ema" else "raw weights"
    )
    yield Finding("loads", "good", f"{averaged}; weights that match: {matched}")
    for note in loaded.notes:
        yield Finding("loads", "note", note)
    yield _fitting(file)


def _fitting(file: "PublishedFile") -> Finding:
    from models.checkpoints.opening import vit_kind

    kind, published = vit_kind(file), paper().scorer.condition.kind
    if kind in (None, published):
        return Finding("profile", "good", "paper")
    return Finding("profile", "good", f"paper with --set scorer.condition.kind={kind} (without it, {published})")


def _load(file: "PublishedFile") -> "Loaded":
    """Load into freshly made networks of the profile paper. DataError with the table if it does not fit."""
    from models.checkpoints.loading import start_condition, start_encoder
    from models.checkpoints.opening import open_policy, open_scorer, scorer_config
    from models.policy import Policy
    from models.vit import VIT_SIZES, VisionTransformer

    match file.kind:
        case "hyponet":
            return open_policy(file)[1]
        case "scorehypo_scorenet" | "hmr_scorer":
            return open_scorer(file)[1]
        case "hrnet":
            return start_condition(Policy(paper().policy).condition, file)
        case "smplerx" | "vitpose":
            return start_encoder(VisionTransformer(VIT_SIZES[scorer_config(file).condition.kind]), file)


def file_size(path: Path) -> str:
    """In megabytes; of a folder, of the files in it."""
    files = [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]
    return f"{sum(file.stat().st_size for file in files) / 1e6:,.1f} MB"


def _sizes(state: Mapping[str, "Tensor"]) -> str:
    """What the shapes alone tell: counts, blocks, widths."""
    numbers = sum(value.numel() for value in state.values())
    facts = [f"{len(state)} weights, {numbers / 1e6:,.2f} M numbers"]
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    blocks = {match[1] for name in shapes if (match := re.match(r"blocks\.(\d+)\.", name))}
    if "blocks.0.norm1.weight" in shapes:
        facts.append(f"{len(blocks)} blocks of width {shapes['blocks.0.norm1.weight'][0]}")
    if "linear_start_j.weight" in shapes:
        facts.append(f"29 joints of {shapes['linear_start_j.weight'][0] // 29} channels")
        twists = shapes.get("linear_start_t.weight", (0, 0))[1] // 2
        facts.append(f"{twists or 'no'} twists")
    if "patch_embed.proj.weight" in shapes:
        facts.append(f"patches of {shapes['patch_embed.proj.weight'][-1]} px")
    if "stage2.0.branches.0.0.conv1.weight" in shapes:
        facts.append(f"HRNet-W{shapes['stage2.0.branches.0.0.conv1.weight'][0]}")
    rank = next((shape[1] for name, shape in shapes.items() if name.endswith(".lora_a")), None)
    if rank:
        facts.append(f"low-rank additions of rank {rank}")
    return ", ".join(facts)
