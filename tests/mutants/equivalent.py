"""Mutants that can't matter: what they change is the same to everybody, for the reason that stands beside each."""

from typing import Final

EQUIVALENT: Final[dict[tuple[str, str, str], str]] = {
    (
        "tasks/score.py",
        "self.scorer = scorer.to(self.device).eval().requires_grad_(False)",
        "False -> True",
    ): "scores are taken without gradients anyway; this only spares what autograd would keep",
    (
        "tasks/clean/filtering.py",
        "uvd = np.where(complete[:, None, None], instances.uvd, np.float32(0))",
        "0 -> 1",
    ): "what stands in for joints that are not known is scored and then left out, whatever it is",
    (
        "tasks/pair.py",
        "[hypotheses.uvd.reshape(*scores.shape, -1), hypotheses.twists.reshape(*scores.shape, -1)], axis=-1",
        "1 -> 2",
    ): "numpy takes any negative length for the one that it is to work out; another axis fits no pose and raises",
    (
        "models/cameras.py",
        "start = (in_plane * spread).sum(-1) / spread.square().sum(-1).clamp_min(1e-12)",
        "-1 -> 1",
    ): "there are two dimensions, people and bones",
    (
        "models/cameras.py",
        "step = (weight * miss * steep).sum(-1) / (weight * steep.square()).sum(-1).clamp_min(1e-12)",
        "-1 -> 1",
    ): "there are two dimensions, people and bones",
    (
        "tasks/train/align.py",
        'weights = self.config.losses.model_copy(update={"betas": 0.0})',
        "0.0 -> 1.0",
    ): "the target's betas are the estimate's own, so the term and its gradient are nothing whatever it weighs",
    (
        "tasks/compare.py",
        "overall = overall_spearman(table.scores[:, 1:], table.errors[error][:, 1:])",
        "overall_spearman(table.scores[:, 1:], table.errors[error][:, 1:]) -> "
        "overall_spearman(table.errors[error][:, 1:], table.scores[:, 1:])",
    ): "the rank correlation of one with the other's negative is the same both ways",
    (
        "tasks/clean/filtering.py",
        "for name, value, is_kept in zip(names, scores, kept, strict=True)",
        "True -> False",
    ): "scores are those of the names, and as many are judged",
    (
        "tasks/clean/pseudo.py",
        "theta, transl, joints = (np.concatenate(column) for column in zip(*parts, strict=True))",
        "True -> False",
    ): "each part is made with three columns",
    (
        "tasks/rows/part.py",
        "return [name for name in instance_ids if self.low <= _place(name) < self.high]",
        "self.low <= _place(name) < self.high -> self.low < _place(name) < self.high",
    ): "no picture's hash is 0, or one half, to all of its 64 bits",
    (
        "models/plausibility.py",
        "return (length - rest).abs().sum(-1) / rest.sum(-1)",
        "-1 -> 1",
    ): "bodies by bones: the last dimension is the second",
    (
        "models/cameras.py",
        "return twist[..., list(skeleton.MIRROR_TWISTS), :] * flip",
        "twist[..., list(skeleton.MIRROR_TWISTS), :] * flip -> twist[..., list(skeleton.MIRROR_TWISTS), :] / flip",
    ): "the factors are 1 and -1",
    (
        "tasks/pairing/choice.py",
        'return ChosenPairs(row, winner, worst.reshape(-1), np.full(worst.size, "label_wins"), {})',
        "1 -> 2",
    ): "numpy takes any negative length for the one that it is to work out; another axis raises",
    (
        "tasks/compare.py",
        "for name, row in zip(ids, firsts, strict=True):",
        "True -> False",
    ): "of each of the ids the first row is taken",
    (
        "tasks/clean/filtering.py",
        'pairs = zip(labels.column("dataset").to_pylist(), labels.column("split").to_pylist(), strict=True)',
        "True -> False",
    ): "the columns of a table have one length",
    (
        "infra/stages.py",
        "_ATTEMPTS = 30",
        "30 -> 31",
    ): "how often a commit is tried again against rivals; what it comes to is the same",
    (
        "infra/stages.py",
        '"seconds": max(0.0, (finished_at - started_at).total_seconds()),  # the clock may have been set back',
        "max(0.0, (finished_at - started_at).total_seconds()) -> max((finished_at - started_at).total_seconds(), 0.0)",
    ): "the greater of two is the same whichever is named first",
}
"""Module, text of the line, change: why no test could tell it apart."""


def reason(module: str, line: str, before: str, after: str) -> str:
    """Why this mutant can't matter; empty if it can. `line` is the text of its line in the module as it is."""
    return EQUIVALENT.get((module, line.strip(), f"{before} -> {after}"), "")
