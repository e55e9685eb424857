"""The models that a campaign starts with, looked at before a round opens: whether they are there and go together."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from flows.run.models import file_of
from infra import rounds
from infra.store import Store
from models.encoder_files import encoder_path, read_encoder
from schemas.config.networks import PolicyConfig, ScorerConfig
from schemas.config.sources import TRAIN
from schemas.errors import ConfigError, DataError, EngineError
from schemas.ids import ModelDigest
from tasks.engine.context import Context
from tasks.rows.models import find_model, model_path, network_of
from tasks.stages.import_model import ImportModel
from tasks.train.checks import check_encoder, check_estimate, check_start

if TYPE_CHECKING:
    from models.checkpoints.ours import Kind

Answer = TypeVar("Answer")


class Known(NamedTuple):
    """A model that a campaign starts with, as far as it can be known before it is there."""

    config: PolicyConfig | ScorerConfig
    digest: ModelDigest | None = None
    bytes: int = 0


def in_place(place: str, check: Callable[[], Answer]) -> Answer:
    """What a check gives, whose words don't say which field they are about: they get it before them."""
    try:
        return check()
    except EngineError as error:
        raise type(error)(f"{place}: {error}") from error


def look_at_model(context: Context, name: str, models: dict[str, Known]) -> None:
    """Look at the model that a field of `start` names, and note it in `models`."""
    said = getattr(context.config.start, name)
    kind: Kind = "policy" if name in ("policy", "raw") else "scorer"
    if said == TRAIN:
        models[name] = Known(getattr(context.config, kind))
    elif said:
        in_place(f"start.{name}: {said}", lambda: models.setdefault(name, _known(context, said, kind)))


def look_at_encoder(context: Context) -> None:
    """Raise what a base training would of the encoder that `start.encoder` names."""
    config = context.config
    if config.start.policy != TRAIN:
        return
    path = encoder_path(config.start.encoder)
    encoder = None if path is None else in_place("start.encoder", partial(read_encoder, path))
    check_encoder(config.train_base.optimiser, config.policy.condition, encoder)


def _known(context: Context, said: str, kind: "Kind") -> Known:
    path, store = file_of(said), context.store
    if path is None:
        digest = find_model(store, said, kind)
        return Known(network_of(store, digest), digest, _bytes(store, digest))
    if not path.exists():
        raise DataError("there is no such file, and no model of the store is called so.")
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    state = tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    found, known = _model_in(str(path), state)
    if found != kind:
        raise DataError(f"that is a {found}, where a {kind} is asked for.")
    return known


@lru_cache(maxsize=8)
def _model_in(path: str, state: object) -> "tuple[Kind, Known]":
    """Kind and facts of the model in a file, which is read as an import reads it; `state` tells whether it is the
    same file still."""
    from models.checkpoints.ours import digest_of

    model = ImportModel(Path(path)).read()
    size = sum(value.numel() * value.element_size() for value in model.state.values())
    return model.kind, Known(model.config, digest_of(model.state, model.config), size)


def _bytes(store: Store, digest: ModelDigest) -> int:
    return store.size(model_path(digest)) if store.exists(model_path(digest)) else 0


def fitting(context: Context, models: dict[str, Known]) -> Iterator[Callable[[], object]]:
    """The checks whether the models that were found go together, with the trainings, and with the campaign's first."""
    config, policy = context.config, models.get("policy")
    if policy is None:
        return  # which is said already
    encoder, align = policy.config.condition, config.align
    if align.encoder_distillation or align.replays:
        yield partial(check_estimate, align.losses, encoder)
    yield partial(check_estimate, config.train_clean.losses, encoder)
    if config.start.scorer == TRAIN:
        yield partial(check_start, config.train_scorer, config.scorer, policy.config)
    for name, known in models.items():
        yield partial(_same_crops, name, known, encoder.image_size)
    if "raw" in models:
        yield partial(_same_network, models["raw"], policy)
    if policy.digest is not None:
        yield partial(check_first_policy, context, policy.digest)


def _same_crops(name: str, known: Known, size: int) -> None:
    takes = known.config.condition.image_size
    if takes != size:
        raise ConfigError(
            f"start.{name} takes crops of {takes} px, and start.policy of {size} px: they don't go together."
        )


def _same_network(raw: Known, policy: Known) -> None:
    if raw.config != policy.config:
        raise ConfigError(
            "start.raw is a policy of other networks or another sampler than start.policy: name the file that both are "
            "of, or its raw weights."
        )


def check_first_policy(context: Context, policy: ModelDigest) -> None:
    """Raise ConfigError where the campaign has begun with another policy than `start.policy` names or trains."""
    campaign, said = context.config.campaign, context.config.start.policy
    first = rounds.state(context.store, campaign).first_policy
    if first is None or first == policy:
        return
    another = "name another campaign (--campaign, or `campaign` in the file)"
    if said == TRAIN:
        raise ConfigError(
            f"With this configuration the policy to begin with is trained anew, {policy[:12]}, and campaign {campaign} "
            f"began with {first[:12]}: {another}, or go on from that one with --set start.policy={first[:12]}."
        )
    raise ConfigError(
        f"start.policy is {policy[:12]} ({said}), and campaign {campaign} began with {first[:12]}: {another}."
    )
