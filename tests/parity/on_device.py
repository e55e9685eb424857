"""Golden outputs of the published code, computed again on any device, in 32 bits or as the engine does in bfloat16: by
its networks of 16 bits for drawing and scoring, and by autocast for training.

For the tests of precision, and for a machine that has a GPU and little else: imports `models`, `schemas` and the rules
of the fixtures alone. Bodies and errors always have 32 bits.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.diffusion import Diffusion
from models.hmr_scorer import HMRScorer
from models.hrnet_condition import HRNetCondition
from models.hyponet import Context, HypoNet
from models.item_graph import apply_masks
from models.kinematics import solve_rotations
from models.metrics import procrustes_align
from models.objectives import DenoisingError, denoising_error
from models.precision import training_in
from models.preferences.dpo import dpo
from models.published_metrics import published_joint_errors_mm
from schemas.profiles import paper
from tests.parity.body import body
from tests.parity.people import COUNT, IK, people
from tests.parity.rules import HRNET_GAINS, golden, normal, rng, state, uniform, weight

FORWARD, METRES, MM, LOSS = 1e-3, 2e-4, 1e-3, 1e-3
"""Bounds in 32 bits: of forward passes, of meshes and rotations, of errors, and the loss's relative one."""
HALF = 2e-2
"""Bound of the relative difference (of lengths of vectors) in bfloat16."""
Outputs = Iterator[tuple[str, str, Tensor]]
"""File and name of a golden output, and what it is here."""


class Found(NamedTuple):
    """How far an output is from its golden one."""

    case: str
    absolute: float
    """Largest difference of a number."""
    relative: float
    """Length of the difference over that of the golden vector."""
    holds: bool


class Case(NamedTuple):
    """Outputs that are computed together."""

    outputs: Callable[[torch.device, bool], Outputs]
    """On a device, in half precision or not."""
    bound: float
    """In 32 bits: of the largest difference, or of the relative one for losses."""
    of_networks: bool = True
    """Whether half precision changes anything."""
    half: float = HALF
    """The relative bound in half precision."""


@torch.no_grad()
def denoiser(device: torch.device, half: bool = False) -> Outputs:
    """The noise that HypoNet sees."""
    network = _denoiser(device, half)
    given = _context(device)
    time = torch.full((10,), 333, device=device)
    joints, twists = network(_to(device, "hypo.xj2", 10, 87), _to(device, "hypo.xt2", 10, 46), time, given)
    yield "02_hyponet.npz", "multi.xj", joints
    yield "02_hyponet.npz", "multi.xt", twists


@torch.no_grad()
def sampler(device: torch.device, half: bool = False) -> Outputs:
    """The poses that the four steps of the sampler end with."""
    noise = torch.cat([normal("ddim.nj", (2, 4, 87)), normal("ddim.nt", (2, 4, 46))], dim=-1)
    noise[:, 0] = 0
    diffusion = Diffusion(paper().policy.diffusion)
    pose = diffusion.sample(_denoiser(device, half), noise.flatten(0, 1).to(device), _context(device))
    uvd, twists = diffusion.unscale(pose)
    yield "02_hyponet.npz", "ddim.score_input_joint", uvd.flatten(1)
    yield "02_hyponet.npz", "ddim.pred_twist", twists


@torch.no_grad()
def encoder(device: torch.device, half: bool = False) -> Outputs:
    """What HRNet's heads say of images."""
    network = _hrnet().to(device)
    if half:
        network.halve()
    context, estimate = network.encode(_to(device, "img", 2, 3, 256, 256))
    yield "03_hrnet.npz", "cond.global", context.image
    yield "03_hrnet.npz", "cond.local", context.local
    yield "03_hrnet.npz", "cond.pred_shape", estimate.betas
    yield "03_hrnet.npz", "cond.pred_2d", estimate.uvd[..., :2]


@torch.no_grad()
def scorer(device: torch.device, half: bool = False) -> Outputs:
    """HMR-Scorer, from picture to score."""
    network = HMRScorer(paper().scorer)
    network.encoder.load_state_dict(state("vit_b_backbone"))
    network.score_net.load_state_dict(state("hmr_scorenet"))
    apply_masks(network)
    network = network.eval().to(device)
    if half:
        network = network.halved(decoder=True, encoder=True)
    uvd = torch.cat([uniform("sc.uv", (2, 5, 29, 2), -0.95, 0.95), uniform("sc.d", (2, 5, 29, 1), -0.6, 0.6)], dim=-1)
    pyramid = network.encode_upright(uniform("sc.img", (2, 3, 512, 384), 0, 1).to(device))
    yield "06_scorer.npz", "multi.score_raw", network.score_upright(pyramid, uvd.to(device))


def preference(device: torch.device, half: bool = False) -> Outputs:
    """A step of DPO: loser's errors less winner's, their loss, and the norm of its gradient on HypoNet.

    The loss is fifty times a difference of those differences. In half precision it moves by a seventh with the last
    bits of the processor or of the input, so that it is compared in 32 bits alone.
    """
    config = paper().policy
    policy, reference = _hyponet(), _hyponet().to(device)
    with torch.no_grad():
        for name, value in policy.named_parameters():
            value += 0.02 * weight(f"policy_delta:{name}", value.shape, True)
    apply_masks(policy)
    for layer in policy.modules():  # the recorded gradients are those of barred weights, too
        hooks = getattr(getattr(layer, "weight", None), "_backward_hooks", None)
        if hooks:
            hooks.clear()
    policy, diffusion = policy.to(device), Diffusion(config.diffusion)
    with torch.no_grad():
        context = _hrnet().to(device).encode(_to(device, "st.img", 3, 3, 256, 256))[0]
    time = torch.tensor([41, 700, 958], device=device)
    noise = torch.cat([normal("st.eps1", (3, 87)), normal("st.eps2", (3, 46))], dim=1).to(device)
    joints, twists = uniform("st.vis", (3, 29, 1), 0, 1) > 0.2, uniform("st.tww", (3, 23, 1), 0, 1) > 0.2
    seen = torch.cat([joints.float().repeat(1, 1, 3).flatten(1), twists.float().repeat(1, 1, 2).flatten(1)], 1)

    def errors(network: HypoNet) -> list[DenoisingError]:
        found = []
        for which in "wl":
            noisy = diffusion.add_noise(diffusion.scale(*_pose(which)).to(device), time, noise)
            guessed = diffusion.denoise(network, noisy, time, context).noise
            found.append(denoising_error(guessed, noise, seen.to(device)))
        return found

    with training_in("bfloat16" if half else "float32", device):
        with torch.no_grad():
            held = errors(reference)
        found = errors(policy)
        loss = dpo(*found, *held, beta=100.0).loss.mean()
    loss.backward()
    for of, (winner, loser) in (("policy", found), ("ref", held)):
        yield "07_losses_adhmr.npz", f"step_dpo.{of}_joint_diff", (winner.joints - loser.joints).detach()
        yield "07_losses_adhmr.npz", f"step_dpo.{of}_twist_diff", (winner.twists - loser.twists).detach()
    if not half:
        yield "07_losses_adhmr.npz", "step_dpo.loss", loss.detach()
    squares = [value.grad.double().square().sum() for value in policy.parameters() if value.grad is not None]
    yield "07_losses_adhmr.npz", "step_dpo.grad_norms_hyponet_hrnet", torch.stack(squares).sum().sqrt()


@torch.no_grad()
def bodies(device: torch.device, half: bool = False) -> Outputs:
    """Meshes of known rotations, and rotations and meshes of disturbed joints."""
    who, posed_body = people(), body().on(device)
    rotations, betas = who.rotations.to(device), who.betas.to(device)
    posed = posed_body(rotations, betas)
    yield IK, "fwd.vertices", posed.vertices
    yield IK, "fwd.joints29", posed.joints
    disturbed = (who.joints + normal("ik.perturb", (COUNT, 29, 3), 0.03)).to(device)
    rest, twists = posed_body.rest_joints(betas), 1.7 * who.twists.to(device)
    solved = solve_rotations(disturbed, rest, twists, root="published", rounded=True)
    yield IK, "hybrik.train.rot_mats", solved
    yield IK, "hybrik.train.vertices", posed_body(solved, betas).vertices


@torch.no_grad()
def errors_mm(device: torch.device, half: bool = False) -> Outputs:
    """The best similarity, and the errors of the 14 joints."""
    points, label = (torch.from_numpy(rng(f"in:pa.{name}").standard_normal((5, 14, 3)) * 200) for name in ("S1", "S2"))
    points[3] = label[3] * torch.tensor([-1, 1, 1]) * 1.3
    yield "08_metrics_adhmr.npz", "pa.S1_hat", procrustes_align(points.to(device), label.to(device))
    stored = golden("08_metrics_adhmr.npz")
    joints = torch.from_numpy(stored["in.eval_pred_xyz17"]).to(device) * 2
    truth = torch.from_numpy(stored["in.eval_gt"]).to(device) / 1000
    found = published_joint_errors_mm(joints, truth)
    yield "08_metrics_adhmr.npz", "eval17.pw3d.mpjpe_per_joint", found.mpjpe
    yield "08_metrics_adhmr.npz", "eval17.pw3d.pa_per_joint", found.pa_mpjpe


CASES = {
    "denoiser": Case(denoiser, FORWARD),
    "sampler": Case(sampler, FORWARD),
    "encoder": Case(encoder, FORWARD),
    "scorer": Case(scorer, FORWARD),
    "preference": Case(preference, LOSS, half=0.1),  # differences of errors that are up to 240 times as large
    "bodies": Case(bodies, METRES, of_networks=False),
    "errors": Case(errors_mm, MM, of_networks=False),
}


def compare(case: str, device: str, half: bool) -> Iterator[Found]:
    """The outputs of a case beside the golden ones."""
    one = CASES[case]
    half = half and one.of_networks
    for file, name, output in one.outputs(torch.device(device), half):
        absolute, relative = difference(output, file, name)
        off, bound = (relative, one.half) if half else (relative if case == "preference" else absolute, one.bound)
        yield Found(f"{case}: {name}", absolute, relative, off <= bound)


def difference(actual: Tensor, file: str, name: str) -> tuple[float, float]:
    """Largest absolute and relative difference to a golden array, or to the even sample that is stored of it."""
    stored, found = golden(file), actual.detach().double().cpu().numpy().reshape(-1)
    if name in stored:
        expected = stored[name].astype(np.float64).reshape(-1)[: found.size]  # of two norms the first
    else:
        expected = stored[f"{name}.sample"].astype(np.float64)
        found = found[(np.arange(len(expected)) * found.size) // len(expected)]
    off = found - expected
    return float(np.abs(off).max()), float(np.linalg.norm(off) / np.linalg.norm(expected))


def _denoiser(device: torch.device, half: bool) -> HypoNet:
    network = _hyponet().to(device)
    return network.halved() if half else network


def _hyponet() -> HypoNet:
    network = HypoNet(paper().policy.hyponet, residual=True).eval()
    network.load_state_dict(state("hyponet"))
    apply_masks(network)
    return network


def _hrnet() -> HRNetCondition:
    network = HRNetCondition(paper().policy.condition, 512, 256).eval()
    network.load_state_dict(state("hrnet_cond", HRNET_GAINS))
    return network


def _to(device: torch.device, name: str, *shape: int) -> Tensor:
    return normal(name, shape).to(device)


def _context(device: torch.device) -> Context:
    nothing = torch.zeros(2, 87, device=device), torch.zeros(2, 46, device=device)
    return Context(_to(device, "hypo.global2", 2, 512, 8, 8), _to(device, "hypo.local2", 2, 52, 256), *nothing)


def _pose(which: str) -> tuple[Tensor, Tensor]:
    """Normalised uvd (3, 29, 3) and twists (3, 23, 2) of the loser (l) or the winner (w)."""
    uv, depth_mm = uniform(f"st.{which}.uv", (3, 29, 2), 20, 236), normal(f"st.{which}.d", (3, 29, 1), 200)
    angle = uniform(f"st.t{which}", (3, 23), -3, 3)
    return torch.cat([2 * (uv / 256 - 0.5), depth_mm / 1000], dim=-1), torch.stack([angle.cos(), angle.sin()], dim=-1)
