"""The stage that takes a model from a file into the store: a published checkpoint, or another store's."""

import math
from pathlib import Path

from infra.repair import find_or_mend, retire
from infra.stages import StageSpec, commit_rows, now
from models.checkpoints import TITLES, Weights, from_bytes, open_policy, open_scorer, read_published
from models.lora import merged_state
from schemas.config.networks import PolicyConfig, ScorerConfig
from schemas.digests import bytes_digest
from schemas.errors import DataError
from schemas.ids import ModelDigest
from tasks.engine.context import Context
from tasks.rows.models import SavedModel, has_model, model_of, model_rows, save_model

NAME, VERSION = "import_model", 1


def import_model(context: Context, path: Path, weights: Weights | None = None) -> ModelDigest:
    """The digest under which the model in `path` is known from now on; found if the file was imported before.

    Published checkpoints come with their moving averages unless `weights` is "raw" (published DPO starts from those);
    low-rank additions are added to the weights that they belong to. DataError for files that hold no whole model.
    """
    if not path.is_file():
        raise DataError(f"There is no checkpoint {path}: give the path of a file.")
    data = path.read_bytes()
    spec = StageSpec(
        NAME,
        VERSION,
        {"file": bytes_digest(data), "weights": weights},
        campaign=context.config.campaign,
        in_round=context.round,
    )
    done = find_or_mend(context.store, spec, context.progress.say) is not None
    if done and not has_model(context.store, model_of(context.store, spec.key)):
        retire(context.store, spec.key)  # its file is gone
        done = False
    if not done:
        started_at = now()
        context.progress.begin(NAME, 1, "models")
        saved = _ours(context, data, path) if data[8:9] == b"{" else _published(context, path, weights)
        commit_rows(context.store, spec, {"models": model_rows(saved, spec.key)}, started_at=started_at)
        context.progress.advance(NAME)
        context.progress.end(NAME, f"{saved.kind} {saved.digest[:12]} from {path.name}")
    return model_of(context.store, spec.key)


def _ours(context: Context, data: bytes, path: Path) -> SavedModel:
    checkpoint = from_bytes(data, str(path))
    manifest = checkpoint.manifest
    config = (PolicyConfig if manifest.kind == "policy" else ScorerConfig).model_validate(manifest.config)
    return save_model(
        context.store, manifest.kind, checkpoint.state, config, manifest.parents, metrics=manifest.metrics
    )


def _published(context: Context, path: Path, weights: Weights | None) -> SavedModel:
    file = read_published(path)
    facts = {name: value for name, value in file.facts.items() if math.isfinite(value)}  # infinite: not yet measured
    if file.kind == "hyponet":
        policy, _ = open_policy(file, weights)
        state = {f"hyponet.{name}": value for name, value in merged_state(policy.hyponet).items()}
        state |= {f"condition.{name}": value for name, value in policy.condition.state_dict().items()}
        return save_model(context.store, "policy", state, policy.config, metrics=facts)
    if file.kind in ("scorehypo_scorenet", "hmr_scorer"):
        scorer, _ = open_scorer(file, weights)
        return save_model(context.store, "scorer", scorer.state_dict(), scorer.config, metrics=facts)
    raise DataError(f"{path} holds an encoder alone, no policy and no scorer. Found: {TITLES[file.kind]}.")
