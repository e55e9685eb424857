"""One picture from start to end: a person, a camera, surroundings, and the label that belongs to them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.bodies import load_body
from models.cameras import Intrinsics
from models.rendering.shading import Light, render
from tasks.synthesize.domains import Domain
from tasks.synthesize.looks import dress
from tasks.synthesize.people import CAMERA, LOOK, SENSOR, Label, person, stream
from tasks.synthesize.placement import extent, place
from tasks.synthesize.surroundings import background, expose, occlude

#: A detector's box ends where the picture ends, or a little later: how far, as a share of the picture's side.
BOX_BEYOND_PICTURE = 0.25


@dataclass(frozen=True)
class Picture:
    """A picture with one person in it."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    box: NDArray[np.float64]
    """(4,) x, y, w, h of the whole projected body in pixels; may reach beyond the picture by a quarter of its side."""
    intrinsics: Intrinsics
    label: Label
    vertices: NDArray[np.float32]
    """(V, 3) metres: the mesh that was drawn."""


def make_picture(domain: Domain, split: str, index: int, seed: int, body: str = "tiny") -> Picture:
    """Picture number `index` of a split: the same bits whenever, wherever and beside whatever it is made."""
    who = person(domain, split, index, seed, body)
    where = place(who.vertices, domain, stream(seed, domain.name, split, index, CAMERA))
    vertices = who.vertices + where.transl
    left, top, right, bottom = extent(vertices, where.intrinsics)
    image = _draw(domain, vertices, where.intrinsics, (where.width, where.height), body, split, index, seed)
    slack_x, slack_y = BOX_BEYOND_PICTURE * where.width, BOX_BEYOND_PICTURE * where.height
    left, right = np.clip([left, right], -slack_x, where.width + slack_x)
    top, bottom = np.clip([top, bottom], -slack_y, where.height + slack_y)
    label = replace(who.label, transl=where.transl, joints=who.label.joints + where.transl)
    return Picture(image, np.array([left, top, right - left, bottom - top]), where.intrinsics, label, vertices)


def _draw(
    domain: Domain,
    vertices: NDArray[np.float32],
    intrinsics: Intrinsics,
    size: tuple[int, int],
    body: str,
    split: str,
    index: int,
    seed: int,
) -> NDArray[np.uint8]:
    look = stream(seed, domain.name, split, index, LOOK)
    model = load_body(body)
    width, height = 2 * size[0], 2 * size[1]
    canvas = background(width, height, domain, look)
    colours = dress(model.v_template.numpy(), model.regions.numpy(), domain, look)
    azimuth, elevation = look.uniform(-1.2, 1.2), look.uniform(0.1, 1.2)
    towards = (np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), -np.cos(azimuth) * np.cos(elevation))
    light = Light((float(towards[0]), float(towards[1]), float(towards[2])), look.uniform(*domain.ambient))
    fine = intrinsics.scaled(2)
    rendering = render(vertices, model.faces.numpy(), colours, fine, width, height, light=light)
    person_alone = Image.fromarray(np.clip(rendering.colour * 255 + 0.5, 0, 255).astype(np.uint8))
    mask = Image.fromarray((rendering.coverage * 255).astype(np.uint8))
    canvas.paste(person_alone, (0, 0), mask)
    canvas = occlude(canvas, extent(vertices, fine), domain, look)
    return expose(canvas, domain, stream(seed, domain.name, split, index, SENSOR))
