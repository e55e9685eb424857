"""Colours: clothes and skin for the vertices of a body, and the palette that clutter shares with them."""

import colorsys

import numpy as np
from numpy.typing import NDArray

from tasks.synthesize.domains import Domain

SKIN, TOP, TROUSERS, SHOES, HAIR = range(5)
SKIN_TONES = (
    np.array([[250, 214, 185], [232, 184, 148], [205, 150, 110], [160, 108, 74], [112, 72, 50], [78, 50, 38]]) / 255
)
HAIR_TONES = np.array([[25, 20, 18], [60, 40, 28], [105, 72, 45], [190, 150, 95], [150, 148, 145], [120, 50, 25]]) / 255


def cloth(domain: Domain, generator: np.random.Generator) -> NDArray[np.float64]:
    """(3,) a colour of the domain's palette, 0 to 1; a quarter of them grey."""
    low, high = domain.hues[int(generator.integers(len(domain.hues)))]
    saturation = generator.uniform(*domain.saturation) * (generator.random() > 0.25)
    return np.array(colorsys.hsv_to_rgb(generator.uniform(low, high), saturation, generator.uniform(0.2, 0.95)))


def skin(generator: np.random.Generator) -> NDArray[np.float64]:
    """(3,) a skin colour between two neighbouring tones."""
    place = generator.uniform(0, len(SKIN_TONES) - 1)
    first, share = int(place), place % 1
    return (1 - share) * SKIN_TONES[first] + share * SKIN_TONES[first + 1]


def _with_bands(
    colours: NDArray[np.float64], template: NDArray[np.floating], hue_spread: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Training clothes: sleeves, gloves, leggings and socks whose colours distinguish arms, legs, upper and lower.

    At 64 px a plain sleeve is hardly a clue to which limb it is; with these, what stays ambiguous is depth and side, as
    in real pictures of many more pixels. Left and right are dressed alike: a mirrored picture is a possible one.
    """
    worn = colours.copy()
    across, up = np.abs(template[:, 0]), template[:, 1]
    arms, legs = np.array([0.02, 0.58]) + generator.uniform(-hue_spread, hue_spread, 2)
    for part, hue, saturation, value in (
        ((across > 0.2) & (across <= 0.46), arms, 0.85, 0.6),
        ((across > 0.46) & (across <= 0.7), arms + 0.1, 0.6, 0.95),
        (across > 0.7, arms, 0.95, 0.95),
        ((up < -0.32) & (up >= -0.68), legs, 0.9, 0.55),
        ((up < -0.68) & (up >= -1.08), legs - 0.12, 0.6, 0.9),
        (up < -1.08, legs, 0.95, 0.95),
    ):
        shade = float(np.clip(value * generator.uniform(0.85, 1.05), 0, 1))
        worn[part] = colorsys.hsv_to_rgb(hue % 1.0, saturation, shade)
    return worn


def dress(
    template: NDArray[np.floating], regions: NDArray[np.integer], domain: Domain, generator: np.random.Generator
) -> NDArray[np.float64]:
    """(V, 3) vertex colours of one person.

    Args:
        template: (V, 3) rest pose, metres (T-pose, y up): says where sleeves and trouser legs end.
        regions: (V,) SKIN, TOP, TROUSERS, SHOES or HAIR for each vertex.
        domain: gives the palette.
        generator: this picture's stream for looks.
    """
    skin_colour, top, trousers = skin(generator), cloth(domain, generator), cloth(domain, generator)
    hair = HAIR_TONES[int(generator.integers(len(HAIR_TONES)))]
    shoes = cloth(domain, generator) * 0.6
    sleeves, shorts = generator.choice(3, p=(0.4, 0.4, 0.2)), generator.random() < 0.3
    striped, phase, period = generator.random() < 0.3, generator.random(), generator.uniform(0.14, 0.3)
    stripe = cloth(domain, generator)
    colours = np.empty((len(regions), 3))
    for region, colour in enumerate((skin_colour, top, trousers, shoes, hair)):
        colours[regions == region] = colour
    across, up = np.abs(template[:, 0]), template[:, 1]
    wears_top = regions == TOP
    if sleeves == 1:  # long ones, to the wrist
        wears_top = wears_top | ((regions == SKIN) & (across > 0.2) & (across < 0.7))
        colours[wears_top] = top
    elif sleeves == 2:  # none
        colours[wears_top & (across > 0.22)] = skin_colour
        wears_top = wears_top & (across <= 0.22)
    if striped:
        colours[wears_top & ((up / period + phase) % 1 < 0.5)] = stripe
    if shorts:
        colours[(regions == TROUSERS) & (up < -0.55)] = skin_colour
    colours = _with_bands(colours, template, domain.kit_hues, generator)
    # Cloth is never one colour; the grain is that of the mesh.
    grain = 1 + 0.06 * generator.standard_normal((len(regions), 1))
    return np.clip(colours * grain, 0, 1)
