"""The same work in a plain way: what the engine's figures are ratios to, and are never to become faster.

In 32 bits, with torch's own attention; the image's keys and values are made for every hypothesis, features are made in
every step, and bodies are posed joint by joint and with all of their vertices. Weights are the engine's, so that
results can be compared with its own. Imports `models`, torch and smplx alone.
"""

from typing import Any

import smplx.lbs
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import DecoderBlock, image_code, sinusoidal_code
from models.bodies import Body
from models.diffusion import JOINT_SIZE
from models.hmr_scorer import ScoreNet
from models.hyponet import Context, HypoNet
from models.policy import Policy
from models.skeleton import JOINTS, PARENTS, SMPL_JOINTS, SMPL_PARENTS, TWIST_CHILD


def block(
    layer: DecoderBlock, items: Tensor, code: Tensor, image: Tensor, grid: Tensor, blocked: Tensor | None
) -> Tensor:
    """A decoder block over tokens (N, I, C) and an image (N, P, C) for each of the N hypotheses."""
    normed = layer.norm1(items)
    items = items + layer.dropout(layer.self_attn(normed + code, normed + code, normed, attn_mask=blocked)[0])
    items = items + layer.dropout(layer.multihead_attn(layer.norm2(items) + code, image + grid, image)[0])
    return items + layer.dropout(layer.linear2(layer.dropout(F.relu(layer.linear1(layer.norm3(items))))))


def predicted_noise(network: HypoNet, noisy: Tensor, time: Tensor, context: Context) -> Tensor:
    """The noise (N, 133) that HypoNet sees in poses (N, 133) at timesteps (N,), with a context for each of the N."""
    joints, twists = noisy[:, :JOINT_SIZE], noisy[:, JOINT_SIZE:]
    tokens = torch.cat(
        [
            _start(network.dropout_start, network.linear_start_j, network.bn_start_j, joints, JOINTS),
            _start(network.dropout_start, network.linear_start_t, network.bn_start_t, twists, SMPL_JOINTS - 1),
        ],
        dim=1,
    )
    code = sinusoidal_code(time, network.time_channels)
    for dense in network.temb_dense:
        code = F.silu(dense(code))
    tokens = torch.cat([tokens, context.local], dim=-1) + code[:, None]
    image, grid = _image(context.image)
    for index, layer in enumerate(network.blocks):
        assert isinstance(layer, DecoderBlock)
        tokens = block(layer, tokens, network.item_code, image, grid, getattr(network, f"blocked_{index}"))
    joints = network.linear_final_j(tokens[:, :JOINTS].flatten(1))
    return noisy + torch.cat([joints, network.linear_final_t(tokens[:, JOINTS:].flatten(1))], dim=1)


@torch.no_grad()
def sample(policy: Policy, context: Context, noise: Tensor) -> Tensor:
    """Poses (B, M, 133) from noise (B, M, 133) by DDIM, for a policy that predicts noise."""
    diffusion, count = policy.diffusion, noise.shape[1]
    repeated = Context(*(part.repeat_interleave(count, dim=0) for part in context))
    steps, pose = diffusion.config.sampler_steps, noise.flatten(0, 1)
    for step, following in zip(steps, (*steps[1:], None), strict=True):
        time = torch.full((len(pose),), step, device=pose.device)
        estimated = predicted_noise(policy.hyponet, pose, time, repeated)
        kept = diffusion.alphas_cumprod[step]
        clean = (pose - (1 - kept).sqrt() * estimated) / kept.sqrt()
        if following is None:
            pose = clean
        else:
            later = diffusion.alphas_cumprod[following]
            pose = later.sqrt() * clean + (1 - later).sqrt() * estimated
    return pose.unflatten(0, (-1, count))


@torch.no_grad()
def score(network: ScoreNet, image: Tensor, fine: Tensor, uvd: Tensor) -> Tensor:
    """Raw scores (B, M) of joints (B, M, 29, 3) over an upright picture, from its two maps (B, C, H, W)."""
    batch, count = uvd.shape[:2]
    image, fine = (part.repeat_interleave(count, dim=0) for part in (image, fine))
    points = uvd.flatten(0, 1)
    local = F.grid_sample(fine, points[:, None, :, :2], align_corners=True)[:, :, 0].mT
    no_dropout = nn.Identity()
    tokens = _start(no_dropout, network.linear_start_j, network.bn_start_j, points.flatten(1), JOINTS)
    tokens = torch.cat([tokens, local], dim=-1)
    image, grid = _image(image)
    for index, layer in enumerate(network.blocks):
        assert isinstance(layer, DecoderBlock)
        tokens = block(layer, tokens, network.item_code, image, grid, getattr(network, f"blocked_{index}"))
    return network.linear_mlp(tokens.flatten(1)).view(batch, count)


def _start(dropout: nn.Module, linear: nn.Module, norm: nn.Module, values: Tensor, items: int) -> Tensor:
    return dropout(F.leaky_relu(norm(linear(values)), 0.2)).unflatten(1, (items, -1))


def _image(features: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (N, P, C) of maps (N, C, H, W), and their code (1, P, C)."""
    tokens = features.flatten(2).mT
    return tokens, image_code(features.shape[1], *features.shape[2:]).to(tokens)


class PreferenceStep:
    """Steps of Diffusion-DPO as published: two encoders and four passes of HypoNet in each, then AdamW.

    The policy is trained in place. With `frozen` its encoder is not.
    """

    def __init__(self, policy: Policy, reference: Policy, beta: float, frozen: bool) -> None:
        self.policy, self.beta = policy.requires_grad_(True).train(), beta
        self.reference = reference.eval().requires_grad_(False)
        for module in policy.modules():  # fixed statistics, as published
            if isinstance(module, nn.Dropout | nn.BatchNorm2d):
                module.eval()
        policy.condition.requires_grad_(not frozen)
        trained = [value for value in policy.parameters() if value.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, lr=5e-5)

    def __call__(self, crops: Tensor, winner: Tensor, loser: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """One step on crops (B, 3, S, S) in [-1, 1], scaled poses (B, 133), timesteps (B,) and noise (B, 133)."""
        self.optimiser.zero_grad(set_to_none=True)
        gap = self._gap(self.policy, crops, winner, loser, time, noise)
        with torch.no_grad():
            reference = self._gap(self.reference, crops, winner, loser, time, noise)
        loss: Tensor = F.softplus(0.5 * self.beta * (gap - reference)).sum(0).mean()
        loss.backward()
        self.optimiser.step()
        return loss.detach()

    @staticmethod
    def _gap(policy: Policy, crops: Tensor, winner: Tensor, loser: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """(2, B) how much worse the winner is denoised than the loser, joints and twists apart."""
        context, errors = policy.encode(crops)[0], []
        for pose in (winner, loser):
            noisy = policy.diffusion.add_noise(pose, time, noise)
            squared = (predicted_noise(policy.hyponet, noisy, time, context) - noise).square()
            errors.append(torch.stack([squared[:, :JOINT_SIZE].mean(1), squared[:, JOINT_SIZE:].mean(1)]))
        return errors[0] - errors[1]


class PlainBody:
    """IK joint by joint and the mesh by smplx's own skinning, with its dense pose blend shapes."""

    def __init__(self, body: Body, model: Any) -> None:
        """`model`: the same body as an `smplx.SMPL`."""
        self.body, self.model = body, model

    def __call__(self, joints: Tensor, betas: Tensor, twists: Tensor) -> tuple[Tensor, Tensor]:
        """Rotations (B, 24, 3, 3) and vertices (B, V, 3) from joints (B, 29, 3), betas (B, 10), twists (B, 23, 2)."""
        rotations = self.rotations(joints, self.body.rest_joints(betas), twists)
        vertices, _ = smplx.lbs.lbs(
            betas,
            rotations,
            self.model.v_template,
            self.model.shapedirs,
            self.model.posedirs,
            self.model.J_regressor,
            self.model.parents,
            self.model.lbs_weights,
            pose2rot=False,
        )
        return rotations, vertices

    @staticmethod
    def rotations(joints: Tensor, rest: Tensor, twists: Tensor) -> Tensor:
        """Rotations relative to the parents; the root as published, from the spine and the middle of the hips."""
        up, spine = (_unit(at[:, 3] - at[:, 0]) for at in (rest, joints))
        swing = _swing(up, spine)
        here, there = ((at[:, 1] + at[:, 2]) / 2 - at[:, 0] for at in (rest, joints))
        here = (swing @ here[..., None])[..., 0]
        here, there = (hips - (hips * spine).sum(-1, keepdim=True) * spine for hips in (here, there))
        world = [_swing(_unit(here), _unit(there)) @ swing]
        local = [world[0]]
        for joint in range(1, SMPL_JOINTS):
            child, above = TWIST_CHILD[joint], world[SMPL_PARENTS[joint]]
            bone = rest[:, child] - rest[:, PARENTS[child]]
            seen = (above.mT @ (joints[:, child] - joints[:, PARENTS[child]])[..., None])[..., 0]
            axis, aim = _unit(bone), _unit(seen)
            turn = _swing(axis, aim) @ _about(axis, twists[:, joint - 1])
            local.append(turn)
            world.append(above @ turn)
        return torch.stack(local, 1)


def _unit(vector: Tensor) -> Tensor:
    return vector / torch.linalg.vector_norm(vector, dim=-1, keepdim=True)


def _swing(start: Tensor, end: Tensor) -> Tensor:
    """The smallest rotations (B, 3, 3) from unit vectors to unit vectors, by Rodrigues' formula."""
    normal = torch.linalg.cross(start, end)
    sine = torch.linalg.vector_norm(normal, dim=-1, keepdim=True)
    phi = torch.cat([(start * end).sum(-1, keepdim=True), sine], -1)
    return _about(normal / (sine + 1e-8), phi)


def _about(axis: Tensor, phi: Tensor) -> Tensor:
    """Rotations (B, 3, 3) about unit axes (B, 3) by angles given as cosine and sine (B, 2)."""
    x, y, z = axis.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).view(-1, 3, 3)
    cosine, sine = _unit(phi)[..., None, None].unbind(1)
    return torch.eye(3, device=axis.device) + sine * cross + (1 - cosine) * (cross @ cross)
