"""The three domains, as data: people, their poses and their looks.

*source* is what a lab can label: mostly upright poses, plain clothes, quiet backgrounds. *wild* is what the world
looks like: sitting, squatting, kicking, clutter, things in front, people half out of the picture. *scorer* is
labelled and covers what the wild holds (the part that large synthetic sets play for HMR-Scorer), with other colours
and another mixture. Body shapes follow the same distribution in all three, and so do cameras unless the configuration
gives them another pitch (`synthesize.wild_pitch` and its like): what differs is poses and looks.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from schemas.config.stages import PitchConfig, SynthesizeConfig
from schemas.errors import named

_UPRIGHT = {
    "stand": 3,
    "walk": 4,
    "arms_out": 1,
    "arms_forward": 1,
    "hands_on_hips": 1,
    "wave": 1.5,
    "carry": 1.5,
    "arms_up": 0.6,
}
_UNUSUAL = {
    "sit": 2,
    "sit_low": 1,
    "half_squat": 1.2,
    "squat": 1.5,
    "lunge": 1.5,
    "side_lunge": 1.2,
    "kick": 1.5,
    "run": 1.5,
    "bend": 1.5,
    "pick_up": 1.2,
    "kneel": 1.2,
    "star_jump": 0.8,
    "throw": 1.2,
    "guard": 1.0,
    "arms_crossed": 0.8,
    "reach_up": 0.8,
    "balance": 0.8,
}


class Range(NamedTuple):
    """A uniform distribution."""

    low: float
    high: float


class Domain(BaseModel):
    """What the pictures of one domain are drawn from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="name; seeds the pictures together with split and index")
    unlabelled_splits: frozenset[str] = Field(description="splits that are written without labels")
    # poses and bodies
    poses: Mapping[str, float] = Field(description="relative shares of the base poses")
    pose_noise: float = Field(gt=0, description="factor on all deviations of the pose prior")
    yaw: float = Field(description="largest turn of the person away from the camera, degrees")
    tilt: float = Field(default=7, description="twice the standard deviation of the camera's roll, degrees")
    pitch: PitchConfig = Field(default=PitchConfig(), description="of the camera, degrees; the configuration says it")
    betas_limit: float = Field(default=2.5, description="standard normal betas are clipped here")
    # camera
    sides: tuple[int, ...] = Field(default=(96, 104, 112, 120, 128), description="widths and heights of pictures, px")
    focal: Range = Field(default=Range(0.9, 1.4), description="focal length over the picture's diagonal")
    fill: Range = Field(default=Range(0.6, 0.9), description="share of the picture's side that the person's box fills")
    truncated: float = Field(description="share of people who are partly outside of the picture")
    # looks
    hues: tuple[Range, ...] = Field(description="hues of clothes and clutter, 0 to 1")
    kit_hues: float = Field(description="largest shift of the hues of the training clothes, 0 to 1")
    saturation: Range = Field(description="of clothes and clutter")
    ambient: Range = Field(description="ambient share of the light")
    clutter: tuple[int, int] = Field(description="fewest and most shapes behind the person")
    texture: Range = Field(description="contrast of the background's texture, 0 to 1")
    occluded: float = Field(description="share of people with something in front of them")
    blur: Range = Field(description="radius, px")
    noise: Range = Field(description="standard deviation of the sensor noise, 8-bit steps")
    recompressed: float = Field(description="share of pictures that were saved as a poor JPEG before")

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    def labelled(self, split: str) -> bool:
        """Whether pictures of `split` are written with labels."""
        return split not in self.unlabelled_splits


_DOMAINS: Final = (
    # labelled, mostly upright, in quiet surroundings: what the base policy learns from
    Domain(
        name="source",
        unlabelled_splits=frozenset(),
        poses={**_UPRIGHT, **{name: 0.12 * share for name, share in _UNUSUAL.items()}},
        pose_noise=0.85,
        yaw=65,
        truncated=0.05,
        hues=(Range(0.55, 0.72), Range(0.0, 0.08)),
        kit_hues=0.04,
        saturation=Range(0.1, 0.6),
        ambient=Range(0.45, 0.65),
        clutter=(0, 4),
        texture=Range(0.02, 0.15),
        occluded=0.1,
        blur=Range(0.0, 0.6),
        noise=Range(0.0, 6.0),
        recompressed=0.0,
    ),
    # labelled and varied: covers the wild's poses, clutter and occluders, in colours that are partly others
    Domain(
        name="scorer",
        unlabelled_splits=frozenset(),
        poses={**_UPRIGHT, **{name: 1.2 * share**0.5 for name, share in _UNUSUAL.items()}},
        pose_noise=1.15,
        yaw=75,
        truncated=0.2,
        hues=(Range(0.0, 0.5), Range(0.8, 1.0)),
        kit_hues=0.22,
        saturation=Range(0.15, 0.9),
        ambient=Range(0.3, 0.7),
        clutter=(2, 9),
        texture=Range(0.04, 0.28),
        occluded=0.45,
        blur=Range(0.0, 0.8),
        noise=Range(0.0, 9.0),
        recompressed=0.25,
    ),
    # in the wild: no labels for training; the labels of `validation` and `test` serve evaluation alone
    Domain(
        name="wild",
        unlabelled_splits=frozenset({"train"}),
        poses={**{name: 0.3 * share for name, share in _UPRIGHT.items()}, **_UNUSUAL},
        pose_noise=1.0,
        yaw=75,
        truncated=0.2,
        hues=(Range(0.0, 1.0),),
        kit_hues=0.22,
        saturation=Range(0.1, 0.85),
        ambient=Range(0.3, 0.65),
        clutter=(2, 8),
        texture=Range(0.05, 0.28),
        occluded=0.4,
        blur=Range(0.0, 0.8),
        noise=Range(0.0, 9.0),
        recompressed=0.3,
    ),
)


def configured_domain(config: SynthesizeConfig, name: str) -> Domain:
    """The domain `name` as a campaign has it: with the camera's pitch that its configuration says."""
    return domain_named(name).model_copy(update={"pitch": getattr(config, f"{name}_pitch")})


def domain_named(name: str) -> Domain:
    """The domain "source", "scorer" or "wild"; a ConfigError names the choices."""
    return named({domain.name: domain for domain in _DOMAINS}, name, "synthetic domain")
