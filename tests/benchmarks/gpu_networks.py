"""Figures on a device, by the models alone: sampling and scoring from crops to numbers, encoders, DPO, evaluation."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from models.bodies import smplx_model
from models.diffusion import JOINT_SIZE, POSE_SIZE
from models.hmr_scorer import HMRScorer
from models.hyponet import Context
from models.metrics import mpjpe_mm, mpvpe_mm, pa_mpjpe_mm
from models.objectives import DenoisingError, denoising_error
from models.policy import Policy
from models.precision import training_in
from models.preferences.dpo import dpo
from models.recovery import recover_body, recovered_parts
from schemas.config.engine import EngineConfig
from tests.benchmarks import plain
from tests.benchmarks.figures import Goal, Measured, Precision, Way, cpu_seconds, device_seconds, measure
from tests.benchmarks.operations import counted_flop, sampling_flop, scoring_flop
from tests.parity.body import arrays, body

BOTH: tuple[Precision, ...] = ("float32", "bfloat16")


class OnDevice:
    """Networks on a device with invented crops: of `images` people with `hypotheses` each, and of `pairs` pairs."""

    def __init__(self, config: EngineConfig, device: str, images: int, hypotheses: int, pairs: int) -> None:
        self.config, self.device = config, device
        self.images, self.hypotheses, self.pairs = images, hypotheses, pairs
        self.policy, self.scorer = (
            network.eval().requires_grad_(False).to(device)
            for network in (Policy(config.policy), HMRScorer(config.scorer))
        )
        self.measure = partial(
            measure,
            device=device,
            clock=device_seconds if device == "cuda" else cpu_seconds,
            shape=None if device == "cuda" else (64, 64, 64),
        )

    def crops(self, count: int) -> Tensor:
        """(count, S, S, 3) uint8, where data come from."""
        size = self.config.policy.condition.image_size
        return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8)

    def seen(self, crops: Tensor) -> Tensor:
        """Crops as networks see them, on the device."""
        return crops.to(self.device).permute(0, 3, 1, 2).float().mul_(2 / 255).sub_(1)

    def normal(self, *shape: int) -> Tensor:
        """Unit normal numbers on the device."""
        return torch.randn(*shape, device=self.device)


def device_figures(networks: OnDevice, repeats: int, in_time: Callable[[str], bool]) -> Iterator[Measured]:
    """The groups for which there is time, those that matter most first."""
    parts: dict[str, Callable[[OnDevice, int], Measured]] = {
        "sampling": sampling,
        "evaluation": evaluation,
        "DPO with a frozen encoder": partial(preference_step, trained=False),
        "scoring": scoring,
        "the policy's encoder": partial(encoding, of="policy"),
        "the scorer's encoder": partial(encoding, of="scorer"),
        "DPO with a trained encoder": partial(preference_step, trained=True),
    }
    for name, part in parts.items():
        if in_time(name):
            yield part(networks, repeats)


@torch.no_grad()
def sampling(networks: OnDevice, repeats: int) -> Measured:
    """From crops in memory to hypotheses in memory; the engine's in the microbatches of `generate`, as it draws."""
    policy, crops, config = networks.policy, networks.crops(networks.images), networks.config.policy
    noise, at_once = torch.randn(networks.images, networks.hypotheses, POSE_SIZE), networks.config.generate.microbatch
    places = policy.encode(networks.seen(crops[:1]))[0].image[0, 0].numel()
    each = sampling_flop(config.hyponet, len(config.diffusion.sampler_steps), networks.hypotheses, places)
    flop = networks.hypotheses * each + counted_flop(lambda: policy.encode(networks.seen(crops[:1])))
    encoders = {"float32": policy.condition, "bfloat16": policy.halved_encoder()}
    denoisers = {"float32": policy.hyponet, "bfloat16": policy.hyponet.halved()}

    def plainly() -> Tensor:
        return plain.sample(policy, policy.encode(networks.seen(crops))[0], noise.to(networks.device)).cpu()

    def engine(encoder: Precision, denoiser: Precision) -> None:
        for people, starts in zip(crops.split(at_once), noise.split(at_once), strict=True):
            context = encoders[encoder](networks.seen(people))[0]
            for part in policy.sample(context, starts.to(networks.device), denoisers[denoiser]):
                part.cpu()

    goals = (Goal("rate", 150), Goal("share", 0.4), Goal("faster", 8))
    ways = {
        "plain, float32": Way(plainly, networks.images, flop),
        "the engine, float32": Way(partial(engine, "float32", "float32"), networks.images, flop),
        "bfloat16, encoder float32": Way(partial(engine, "float32", "bfloat16"), networks.images, flop, "bfloat16"),
        "bfloat16": Way(partial(engine, "bfloat16", "bfloat16"), networks.images, flop, "bfloat16", goals=goals),
    }
    title = f"sampling end to end, {networks.images} × {networks.hypotheses}"
    return networks.measure(title, "image", ways, repeats=repeats, precisions=BOTH)


@torch.no_grad()
def scoring(networks: OnDevice, repeats: int) -> Measured:
    """From crops and hypotheses in memory to scores in memory, in the microbatches of `score`; without the mirrored
    picture, which costs as much again."""
    scorer, crops, config = networks.scorer, networks.crops(networks.images), networks.config.scorer
    uvd = torch.rand(networks.images, networks.hypotheses, 29, 3) - 0.5
    twists = torch.randn(networks.images, networks.hypotheses, 23, 2)
    places = scorer.encode(networks.seen(crops[:1]))[0].coarse[0, 0].numel()
    flop = networks.hypotheses * scoring_flop(config, networks.hypotheses, places)
    flop += counted_flop(lambda: scorer.encode(networks.seen(crops[:1])))
    scorers = {"float32": scorer, "bfloat16": scorer.halved(decoder=True, encoder=True)}

    def engine(precision: Precision) -> None:
        judge, given = scorers[precision], (crops, uvd, twists)
        for people, *poses in zip(*(part.split(networks.config.score.microbatch) for part in given), strict=True):
            judge.score(*judge.encode(networks.seen(people)), *(part.to(networks.device) for part in poses)).cpu()

    ways = {precision: Way(partial(engine, precision), networks.images, flop, precision) for precision in BOTH}
    title = f"scoring end to end, {networks.images} × {networks.hypotheses}"
    return networks.measure(title, "image", ways, repeats=repeats, precisions=BOTH)


@torch.no_grad()
def encoding(networks: OnDevice, repeats: int, of: str) -> Measured:
    """The image encoder of the policy or the scorer."""
    crops = networks.seen(networks.crops(networks.images))
    encoders: dict[Precision, Callable[[Tensor], object]]
    if of == "policy":
        at_once = networks.config.generate.microbatch
        encoders = {"float32": networks.policy.encode, "bfloat16": networks.policy.halved_encoder()}
    else:
        at_once = networks.config.score.microbatch
        half = networks.scorer.halved(decoder=False, encoder=True)
        encoders = {"float32": networks.scorer.encode, "bfloat16": half.encode}
    flop = counted_flop(lambda: encoders["float32"](crops[:1]))

    def encode(precision: Precision) -> None:
        for people in crops.split(at_once):
            encoders[precision](people)

    ways = {precision: Way(partial(encode, precision), networks.images, flop, precision) for precision in BOTH}
    title = f"the {of}'s encoder, {networks.images} images"
    return networks.measure(title, "image", ways, repeats=repeats, precisions=BOTH)


class EngineStep:
    """A step of DPO as `tasks.train.align` takes it, by the models alone: winners and losers in one pass."""

    def __init__(self, networks: OnDevice, precision: Precision, trained: bool) -> None:
        self.networks, self.precision, self.trained = networks, precision, trained
        self.policy, self.reference = deepcopy(networks.policy), networks.policy
        self.policy.hyponet.requires_grad_(True)
        self.policy.condition.requires_grad_(trained)
        learned = [value for value in self.policy.parameters() if value.requires_grad]
        self.optimiser = torch.optim.AdamW(learned, lr=5e-5)
        self.beta = networks.config.align.beta

    def __call__(
        self, crops: Tensor, poses: Tensor, time: Tensor, noise: Tensor, kept: Context | None = None
    ) -> Tensor:
        """A step on crops (B, 3, S, S), scaled winners and losers in turn (2B, 133), timesteps and noise (B, ...).

        `kept` are the features of the crops where the encoder never changes.
        """
        self.optimiser.zero_grad(set_to_none=True)
        with training_in(self.precision, torch.device(self.networks.device)):
            with torch.no_grad():
                held = self.reference.encode(crops)[0] if kept is None else kept
                reference = self._errors(self.reference, held, poses, time, noise)
            context = self.policy.encode(crops)[0] if kept is None else kept
            policy = self._errors(self.policy, context, poses, time, noise)
        loss = dpo(*policy, *reference, self.beta).loss.mean()
        loss.backward()
        nn.utils.clip_grad_norm_(self.policy.parameters(), 20.0)
        self.optimiser.step()
        return loss.detach()

    @staticmethod
    def _errors(policy: Policy, context: Context, poses: Tensor, time: Tensor, noise: Tensor) -> list[DenoisingError]:
        both, shared = time.repeat_interleave(2), noise.repeat_interleave(2, dim=0)
        noisy = policy.diffusion.add_noise(poses, both, shared)
        error = denoising_error(policy.diffusion.denoise(policy.hyponet, noisy, both, context).noise.float(), shared)
        return [DenoisingError(error.joints[side::2], error.twists[side::2]) for side in range(2)]


def preference_step(networks: OnDevice, repeats: int, trained: bool) -> Measured:
    """A step of DPO, whose encoder is trained or frozen."""
    count = networks.pairs
    crops, noise = networks.seen(networks.crops(count)), networks.normal(count, POSE_SIZE)
    time, pose = torch.arange(count, device=networks.device) * 37 % 1000, 0.3 * networks.normal(2 * count, POSE_SIZE)
    poses = networks.policy.diffusion.scale(pose[:, :JOINT_SIZE], pose[:, JOINT_SIZE:])
    stepping = plain.PreferenceStep(
        deepcopy(networks.policy), deepcopy(networks.policy), networks.config.align.beta, frozen=not trained
    )
    ways = {"plain, float32": Way(lambda: stepping(crops, poses[::2], poses[1::2], time, noise), count)}
    with torch.no_grad():
        kept = networks.policy.encode(crops)[0]
    for precision in BOTH:
        step = EngineStep(networks, precision, trained)
        ways[precision] = Way(partial(step, crops, poses, time, noise), count, precision=precision)
        if not trained:
            ways[f"{precision}, features kept"] = Way(partial(step, crops, poses, time, noise, kept), count)
    of = "trained" if trained else "frozen"
    return networks.measure(f"a step of DPO on {count} crops, encoder {of}", "crop", ways, repeats=repeats)


@torch.no_grad()
def evaluation(networks: OnDevice, repeats: int) -> Measured:
    """From hypotheses on the device to their MPVPE, MPJPE and PA-MPJPE, with the 6,890 vertices of SMPL."""
    device, count = torch.device(networks.device), networks.images * networks.hypotheses
    posed, size = body().on(device), networks.config.policy.condition.image_size
    joints_of_smpl = {**arrays(), "leaf_vertices": body().leaf_vertices.numpy()}
    plainly = plain.PlainBody(posed, smplx_model(joints_of_smpl).to(device))
    twists = nn.functional.normalize(networks.normal(count, 23, 2), dim=-1)
    betas = networks.normal(1, 10).expand(count, 10)
    camera = torch.tensor([1.2 * size, 1.2 * size, size / 2, size / 2], device=device).expand(count, 4)
    given = (networks.normal(count, 29, 3) * 0.3, twists, betas, camera, size, torch.full((count,), 4.0, device=device))
    seen = recover_body(posed, *given, root="published")
    label, label_joints = seen.vertices[:1].clone(), seen.joints[:1].clone()

    def errors(vertices: Tensor, joints: Tensor) -> tuple[Tensor, ...]:
        mesh = mpvpe_mm(vertices, label, joints[:, 0], label_joints[:, 0])
        return tuple(part.cpu() for part in (mesh, mpjpe_mm(joints, label_joints), pa_mpjpe_mm(joints, label_joints)))

    def plain_errors() -> tuple[Tensor, ...]:
        rotations, vertices = plainly(seen.camera_joints, betas, twists)
        return errors(vertices, posed.joints(rotations, betas))

    def engine_errors() -> list[tuple[Tensor, ...]]:
        parts = recovered_parts(posed, *given, root="published")
        return [errors(part.vertices.mT, part.joints) for part in parts]

    ways = {"plain": Way(plain_errors, count), "the engine": Way(engine_errors, count)}
    return networks.measure(f"bodies and errors of {count:,}, float32", "hypothesis", ways, repeats=repeats)
