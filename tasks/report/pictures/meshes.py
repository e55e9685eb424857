"""Bodies in 3D as text that a page can hold: half the size of floats, to a few hundredths of a millimetre."""

import base64
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.report.content import PosedPerson

_LEVELS: Final = 2**16 - 1


def packed(bodies: Sequence[PosedPerson], faces: NDArray[np.integer]) -> dict[str, Any]:
    """What `report.js` makes bodies of, as plain values: the faces once, and by person the camera and the meshes."""
    wide = "<u4" if faces.max(initial=0) > _LEVELS else "<u2"
    return {
        "faces": {"bits": 32 if wide == "<u4" else 16, "data": _text(faces.astype(wide))},
        "people": {
            one.instance_id: {
                "camera": [*one.camera, one.crop_size],
                "meshes": {name: quantised(mesh) for name, mesh in one.meshes.items()},
            }
            for one in bodies
        },
    }


def quantised(mesh: NDArray[np.floating]) -> dict[str, Any]:
    """A mesh (V, 3) in metres as whole numbers of 16 bits between the ends of its own box: `low + step * number`."""
    low, high = mesh.min(axis=0).astype(np.float64), mesh.max(axis=0).astype(np.float64)
    step = np.maximum(high - low, 1e-9) / _LEVELS
    numbers = np.rint((mesh - low) / step).astype("<u2")
    return {"low": low.tolist(), "step": step.tolist(), "data": _text(numbers)}


def _text(numbers: NDArray[np.integer]) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers).tobytes()).decode()
