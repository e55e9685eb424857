"""The errors that HMR-Scorer learns from and is tested by: of meshes, and of the 14 joints of published evaluations."""

from collections.abc import Mapping, Sequence

import numpy as np
import roma
import torch
from torch import Tensor

from models.bodies import load_body
from models.joint_sets import EVALUATION_JOINTS
from models.kinematics import Root
from models.metrics import mpvpe_mm, pa_mpvpe_mm
from schemas.config.training import ScorerError
from tasks.engine.worker import microbatches
from tasks.evaluation.bodies import SmplWithJoints, smpl_with_joints
from tasks.rows.hypotheses import Hypotheses
from tasks.rows.instances import Instances


class ScorerErrorMeter:
    """Measures hypotheses against gt labels by the errors `names`, on arrays.

    `source` is a body's name, file or folder; a folder must have the regressor of the joints if errors of joints are
    asked for (DataError). Bodies are posed and measured on `device`.
    """

    def __init__(
        self,
        source: str,
        root: Root,
        names: Sequence[ScorerError],
        microbatch: int,
        device: str | torch.device = "cpu",
    ) -> None:
        self.names, self.root, self.microbatch = tuple(names), root, microbatch
        of_joints = any(name.endswith("mpjpe") for name in names)
        body = smpl_with_joints(source) if of_joints else SmplWithJoints(load_body(source), None)
        self.device = torch.device(device)
        self.body = body.on(self.device)

    def __call__(self, people: Instances, hypotheses: Hypotheses, rows: np.ndarray) -> np.ndarray:
        """(N, M, E) mm of the hypotheses of the people `rows`, by the E errors; the two go together, row by row."""
        errors = np.empty((len(rows), hypotheses.count, len(self.names)), np.float32)
        for places, used in microbatches(len(rows), self.microbatch):
            measured = self._measure(people, hypotheses.take(rows[places]), rows[places])
            for at, name in enumerate(self.names):
                errors[places[:used], :, at] = measured[name].view(-1, hypotheses.count).cpu().numpy()[:used]
        return errors

    @torch.no_grad()
    def _measure(self, people: Instances, hypotheses: Hypotheses, rows: np.ndarray) -> dict[str, Tensor]:
        theta, betas = (torch.from_numpy(part[rows]).to(self.device) for part in (people.theta, people.betas))
        body = self.body.body
        label = body(roma.rotvec_to_rotmat(theta), betas)
        joints = self.body.fourteen(label)
        parts: dict[str, list[Tensor]] = {name: [] for name in self.names}
        for posed in hypotheses.body_parts(body, people, rows, self.root):
            # measured while the meshes are in the cache
            of = torch.arange(posed.rows.start, posed.rows.stop, device=self.device) // hypotheses.count
            vertices = posed.vertices.mT.contiguous()
            fourteen = self.body.seventeen(vertices, posed.joints)[:, list(EVALUATION_JOINTS)]
            mine = {"vpe": vertices, "jpe": fourteen}
            theirs = {"vpe": label.vertices[of], "jpe": joints[of]}
            for name, values in parts.items():
                of_what = name[-3:]
                if name.startswith("pa_"):
                    values.append(pa_mpvpe_mm(mine[of_what], theirs[of_what]))
                else:
                    roots = posed.joints[:, 0], label.joints[of, 0]
                    values.append(mpvpe_mm(mine[of_what], theirs[of_what], *roots))
        return {name: torch.cat(values) for name, values in parts.items()}


def stacked_errors(errors: Sequence[Mapping[str, np.ndarray]], names: Sequence[ScorerError]) -> np.ndarray:
    """(N, M, E) of N instances' errors (M,) by name, in the order of the E `names`."""
    return np.stack([np.stack([one[name] for name in names], axis=-1) for one in errors]).astype(np.float32)
