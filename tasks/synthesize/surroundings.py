"""Everything in a picture that is not the person: background, clutter, occluders, and the sensor.

Drawn by Pillow on a canvas twice as large as the picture, which is then halved: clean edges at little cost.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from tasks.synthesize.domains import Domain
from tasks.synthesize.looks import cloth, skin

JPEG_QUALITY = 92
#: Textures are made on a square of so many cells and stretched over the canvas.
TEXTURE_CELLS = 56
Colour = tuple[int, int, int]


def _rgb(colour: NDArray[np.float64]) -> Colour:
    red, green, blue = (int(value) for value in np.clip(colour * 255 + 0.5, 0, 255))
    return red, green, blue


def background(width: int, height: int, domain: Domain, generator: np.random.Generator) -> Image.Image:
    """A wall and a floor with some texture, and the domain's share of clutter; `width` × `height` px."""
    canvas = _wall(width, height, domain, generator)
    draw = ImageDraw.Draw(canvas)
    fewest, most = domain.clutter
    for _ in range(int(generator.integers(fewest, most + 1))):
        centre = generator.uniform(0, 1, size=2) * (width, height)
        size = generator.uniform(0.08, 0.45) * height
        # Some of it has the colour of skin and the shape of limbs: a detector of colours must not be enough.
        colour = skin(generator) if generator.random() < 0.2 else cloth(domain, generator)
        _shape(draw, generator, centre, size, _rgb(colour * generator.uniform(0.5, 1.0)))
    return canvas


def _wall(width: int, height: int, domain: Domain, generator: np.random.Generator) -> Image.Image:
    """Two plain surfaces under uneven light, with stains some cells wide and a fine grain."""
    wall, floor = (_surface(domain, generator) for _ in range(2))
    rows = (np.arange(TEXTURE_CELLS) / TEXTURE_CELLS)[:, None, None]
    light = 1 + generator.uniform(-0.4, 0.4) * (rows - 0.5)
    plain = np.where(rows < generator.uniform(0.45, 0.9), wall, floor) * light
    contrast = generator.uniform(*domain.texture)
    stains = int(generator.integers(4, 24))
    coarse = _grid(generator, stains)
    small = Image.fromarray(np.clip(128 + 50 * coarse, 0, 255).astype(np.uint8))
    large = small.resize((TEXTURE_CELLS, TEXTURE_CELLS), Image.Resampling.BICUBIC)
    smooth = (np.asarray(large, np.float64) - 128) / 50
    cells = plain * (1 + contrast * (0.7 * smooth + 0.35 * _grid(generator, TEXTURE_CELLS)))
    eight_bit = np.clip(cells * 255, 0, 255).astype(np.uint8)
    return Image.fromarray(eight_bit).resize((width, height), Image.Resampling.BILINEAR)


def _surface(domain: Domain, generator: np.random.Generator) -> NDArray[np.float64]:
    """(3,) a colour as walls and floors have it: paler than clothes."""
    return 0.55 * cloth(domain, generator) + 0.45 * generator.uniform(0.15, 0.95)


def _grid(generator: np.random.Generator, cells: int) -> NDArray[np.float32]:
    """(cells, cells, 3) random light, the same for the three colours, and a little random colour."""
    grey = generator.standard_normal((cells, cells, 1), dtype=np.float32)
    return grey + np.float32(0.25) * generator.standard_normal((cells, cells, 3), dtype=np.float32)


def _shape(
    draw: ImageDraw.ImageDraw,
    generator: np.random.Generator,
    centre: NDArray[np.float64],
    size: float,
    fill: Colour | int,
) -> None:
    """One ellipse, turned rectangle, limb (two thick strokes) or triangle of about `size` px."""
    kind = int(generator.integers(4))
    angle, aspect = generator.uniform(0, np.pi), generator.uniform(0.3, 1.0)
    along = 0.5 * size * np.array([np.cos(angle), np.sin(angle)])
    across = aspect * np.array([-along[1], along[0]])
    bend = generator.uniform(-1, 1)

    def corners(*points: NDArray[np.float64]) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in points]

    if kind == 0:
        half = 0.5 * size * np.array([1, aspect])
        draw.ellipse(corners(centre - half, centre + half), fill=fill)
    elif kind == 1:
        rectangle = (centre + along + across, centre + along - across, centre - along - across, centre - along + across)
        draw.polygon(corners(*rectangle), fill=fill)
    elif kind == 2:
        elbow = centre + bend * across
        thickness = max(int(0.18 * size * (0.6 + aspect)), 2)
        draw.line(corners(centre - along, elbow, centre + along), fill=fill, width=thickness, joint="curve")
    else:
        draw.polygon(corners(centre + along, centre - along + across, centre - along - across), fill=fill)


def occlude(
    canvas: Image.Image, box: NDArray[np.float64], domain: Domain, generator: np.random.Generator
) -> Image.Image:
    """Put something in front of the person whose box (left, top, right, bottom; px of the canvas) is given."""
    if generator.random() >= domain.occluded:
        return canvas
    mask = Image.new("L", canvas.size, 0)
    draw = ImageDraw.Draw(mask)
    left, top, right, bottom = box
    if generator.random() < 0.3:  # a table or a wall: all that is below a line
        edge = bottom - generator.uniform(0.08, 0.3) * (bottom - top)
        draw.rectangle([0, min(float(edge), canvas.height), canvas.width, canvas.height], fill=255)
    else:
        for _ in range(int(generator.integers(1, 3))):
            centre = np.array([generator.uniform(left, right), generator.uniform(top, bottom)])
            _shape(draw, generator, centre, generator.uniform(0.15, 0.38) * (bottom - top), 255)
    front = _wall(canvas.width, canvas.height, domain, generator)
    return Image.composite(front, canvas, mask)


def expose(canvas: Image.Image, domain: Domain, generator: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: what the camera makes of a canvas twice as large: blur, contrast, noise, poor compression."""
    radius = generator.uniform(*domain.blur)
    picture = canvas.reduce(2).filter(ImageFilter.GaussianBlur(radius))
    contrast, brightness = generator.uniform(0.8, 1.15), generator.uniform(-18, 18)
    strength = generator.uniform(*domain.noise)
    values = np.asarray(picture, dtype=np.float32)
    noise = generator.standard_normal(values.shape, dtype=np.float32)
    exposed = (values - 128) * np.float32(contrast) + np.float32(128 + brightness) + np.float32(strength) * noise
    image = np.clip(exposed + 0.5, 0, 255).astype(np.uint8)
    if generator.random() < domain.recompressed:
        poor = encode(image, int(generator.integers(35, 75)))
        image = np.asarray(Image.open(io.BytesIO(poor)).convert("RGB"))
    return image


def encode(image: NDArray[np.uint8], quality: int = JPEG_QUALITY) -> bytes:
    """A JPEG file of an (H, W, 3) uint8 picture."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()
