"""A second implementation of every corruption from its definition: single images, float64, common libraries.

It uses NumPy, SciPy, Pillow and OpenCV. Tests compare pixels and distributions with it, the benchmark compares time.
Nothing here uses the package. A function takes pixels, uint8 of shape (height, width, 3), a source of random numbers
with NumPy's method names (``uniform``, ``standard_normal``, ``integers``, ``poisson``) and the constants.
"""

import io
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]


def bytes_of(values: Floats) -> Pixels:
    return np.uint8(np.clip(values, 0, 1) * 255)


def gaussian_noise(pixels: Pixels, rng: Any, sigma: float) -> Pixels:
    return bytes_of(pixels / 255 + sigma * rng.standard_normal(pixels.shape))


def shot_noise(pixels: Pixels, rng: Any, scale: float) -> Pixels:
    return bytes_of(rng.poisson(pixels / 255 * scale) / scale)


def impulse_noise(pixels: Pixels, rng: Any, amount: float) -> Pixels:
    flipped, salted = rng.uniform(0, 1, pixels.shape) <= amount, rng.uniform(0, 1, pixels.shape) <= 0.5
    return np.where(flipped, np.where(salted, 255, 0), pixels).astype(np.uint8)


def speckle_noise(pixels: Pixels, rng: Any, sigma: float) -> Pixels:
    values = pixels / 255
    return bytes_of(values + values * sigma * rng.standard_normal(pixels.shape))


def gaussian_blur(pixels: Pixels, rng: Any, sigma: float) -> Pixels:
    return bytes_of(_blur(pixels / 255, sigma))


def defocus_blur(pixels: Pixels, rng: Any, radius: float, alias: float) -> Pixels:
    reach, side = (8, 3) if radius <= 8 else (int(radius), 5)
    x, y = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1))
    disk = (x**2 + y**2 <= radius**2).astype(np.float64)
    kernel = cv2.GaussianBlur(disk / disk.sum(), (side, side), sigmaX=alias)
    return bytes_of(ndimage.correlate(pixels / 255, kernel[..., None], mode="mirror"))


def glass_blur(pixels: Pixels, rng: Any, sigma: float, reach: float, rounds: float) -> Pixels:
    height, width = pixels.shape[:2]
    reach = int(reach)
    moved = bytes_of(_blur(pixels / 255, sigma)).copy()
    for _ in range(int(rounds)):
        offsets = rng.integers(-reach, reach, (height, width, 2)).tolist()
        for h in range(height - reach, reach, -1):
            for w in range(width - reach, reach, -1):
                down, right = offsets[h][w]
                moved[h, w] = moved[h + down, w + right]
    return bytes_of(_blur(moved / 255, sigma))


def motion_blur(pixels: Pixels, rng: Any, radius: float, sigma: float) -> Pixels:
    return bytes_of(_motion(pixels / 255, radius, sigma, rng.uniform(-45, 45, (1,))[0]))


def zoom_blur(pixels: Pixels, rng: Any, end: float, step: float) -> Pixels:
    values = pixels / 255
    zoomed = [_zoom_centre(values, factor) for factor in np.arange(1, end, step)]
    return bytes_of((values + sum(zoomed)) / (len(zoomed) + 1))


def snow(
    pixels: Pixels,
    rng: Any,
    mean: float,
    deviation: float,
    factor: float,
    threshold: float,
    radius: float,
    sigma: float,
    mix: float,
) -> Pixels:
    values = pixels / 255
    layer = _zoom_centre((mean + deviation * rng.standard_normal((1, *pixels.shape[:2])))[0][..., None], factor)
    layer[layer < threshold] = 0
    angle = rng.uniform(-135, -45, (1,))[0]
    flakes = bytes_of(_motion(bytes_of(layer) / 255, radius, sigma, angle)) / 255
    grey = cv2.cvtColor(values.astype(np.float32), cv2.COLOR_RGB2GRAY).astype(np.float64)[..., None]
    whitened = mix * values + (1 - mix) * np.maximum(values, grey * 1.5 + 0.5)
    return bytes_of(whitened + flakes + np.rot90(flakes, 2))


def frost(pixels: Pixels, rng: Any, image_weight: float, frost_weight: float) -> Pixels:
    """Frost with this project's own texture; see ``docs/corruptions.md``."""
    height, width = pixels.shape[:2]
    noise = rng.uniform(-1, 1, (3, _next_power(height, width) ** 2 - 1))
    clouds = zip(noise, (2.0, 1.6, 1.35), strict=True)
    film, rough, fine = (fractal_clouds(of_cloud, height, width, decay) for of_cloud, decay in clouds)
    ys = np.arange(height)[:, None] / height + 0.3 * film
    xs = np.arange(width) / height + 0.15 * rough
    points = rng.uniform(0, 1, (12, 2)) * [1.3, width / height + 0.15]
    cell = np.argmin((ys - points[:, :1, None]) ** 2 + (xs - points[:, 1:, None]) ** 2, axis=0)
    angle = rng.uniform(0, 2 * np.pi, (12,))[cell]
    down, right = ys - points[cell, 0], xs - points[cell, 1]
    along = down * np.sin(angle) + right * np.cos(angle)
    across = np.abs(right * np.sin(angle) - down * np.cos(angle))
    barbs = 1 + np.sin(2 * np.pi * 30 * (along + 0.7 * across) + 22 * rough)
    stems, grain = np.exp(-45 * across), np.exp(-16 * np.abs(fine - 0.5))
    cover = np.clip((film - 0.12) / 0.45, 0, 1)
    whiteness = cover * (0.22 + 0.35 * fine + 0.14 * barbs + 0.3 * grain) + (0.15 + 0.4 * cover) * stems
    whiteness = np.clip(whiteness, 0, 1)[..., None]
    texture = ((1 - whiteness) * [38, 66, 104] + whiteness * [235, 244, 252]) / 255
    return bytes_of(image_weight * pixels / 255 + frost_weight * texture)


def fog(pixels: Pixels, rng: Any, strength: float, decay: float) -> Pixels:
    values = pixels / 255
    noise = rng.uniform(-1, 1, (1, _next_power(*pixels.shape[:2]) ** 2 - 1))[0]
    foggy = values + strength * fractal_clouds(noise, *pixels.shape[:2], decay)[..., None]
    return bytes_of(foggy * values.max() / (values.max() + strength))


def fractal_clouds(noise: Floats, height: int, width: int, decay: float) -> Floats:
    """Diamond-square point by point: squares from their four corners, then edges from the four points around."""
    size = _next_power(height, width)
    cloud, step, wibble = np.zeros((size, size)), size, 100.0
    while step >= 2:
        half, n = step // 2, size // step
        drawn, noise = np.split(noise, [3 * n**2])
        drawn = wibble * wibble * drawn.reshape(3, n, n)
        corners = np.arange(0, size, step)

        def mean_of(ys: NDArray[Any], xs: NDArray[Any], offsets: list[tuple[int, int]]) -> Floats:
            return sum(cloud[np.ix_((ys + y) % size, (xs + x) % size)] for y, x in offsets) / 4

        square = [(y, x) for y in (-half, half) for x in (-half, half)]
        cloud[half::step, half::step] = mean_of(corners + half, corners + half, square) + drawn[0]
        diamond = [(-half, 0), (half, 0), (0, -half), (0, half)]
        cloud[::step, half::step] = mean_of(corners, corners + half, diamond) + drawn[1]
        cloud[half::step, ::step] = mean_of(corners + half, corners, diamond) + drawn[2]
        step, wibble = half, wibble / decay
    cloud -= cloud.min()
    return (cloud / cloud.max())[:height, :width]


def _next_power(height: int, width: int) -> int:
    return int(2 ** math.ceil(math.log2(max(height, width))))


def brightness(pixels: Pixels, rng: Any, increase: float) -> Pixels:
    hue, saturation, value = _hsv(pixels / 255)
    return bytes_of(_rgb(hue, saturation, np.clip(value + increase, 0, 1)))


def saturate(pixels: Pixels, rng: Any, factor: float, offset: float) -> Pixels:
    hue, saturation, value = _hsv(pixels / 255)
    return bytes_of(_rgb(hue, np.clip(saturation * factor + offset, 0, 1), value))


def contrast(pixels: Pixels, rng: Any, gain: float) -> Pixels:
    values = pixels / 255
    means = values.mean(axis=(0, 1), keepdims=True)
    return bytes_of((values - means) * gain + means)


def elastic_transform(pixels: Pixels, rng: Any, strength: float, sigma: float, reach: float) -> Pixels:
    height, width = pixels.shape[:2]
    centre, size = np.array([width // 2, height // 2]), min(height, width) // 3
    corners = np.array([centre + size, [centre[0] + size, centre[1] - size], centre - size], dtype=np.float64)
    targets = corners + rng.uniform(-reach, reach, (3, 2))
    # OpenCV's own warp rounds positions to 1/32 pixel, so only its map is used.
    back = cv2.getAffineTransform(targets.astype(np.float32), corners.astype(np.float32))
    y, x = np.mgrid[:height, :width]
    x_from, y_from = (row[0] * x + row[1] * y + row[2] for row in back)
    moved = _read(pixels / 255, y_from, x_from, "mirror")
    if strength == 0:
        return bytes_of(moved)
    noise = rng.uniform(-1, 1, (2, height, width))
    down, right = (ndimage.gaussian_filter(plane, sigma, mode="reflect", truncate=3) * strength for plane in noise)
    return bytes_of(_read(moved, y + down, x + right, "reflect"))


def pixelate(pixels: Pixels, rng: Any, scale: float) -> Pixels:
    height, width = pixels.shape[:2]
    small = Image.fromarray(pixels).resize((int(width * scale), int(height * scale)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX))


def jpeg_compression(pixels: Pixels, rng: Any, quality: float) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file))


def spatter(
    pixels: Pixels,
    rng: Any,
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    strength: float,
    mud: float,
) -> Pixels:
    values = pixels / 255
    layer = (mean + deviation * rng.standard_normal((1, *pixels.shape[:2])))[0]
    layer = ndimage.gaussian_filter(layer, sigma, mode="nearest")
    layer[layer < threshold] = 0
    if mud:
        cover = ndimage.gaussian_filter((layer > threshold).astype(np.float64), strength, mode="nearest")[..., None]
        cover[cover < 0.8] = 0
        return bytes_of(values * (1 - cover) + cover * [63 / 255, 42 / 255, 20 / 255])
    liquid = bytes_of(layer)
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8)
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], dtype=np.float32)
    embossed = cv2.blur(cv2.filter2D(cv2.equalizeHist(distance), cv2.CV_8U, emboss), (3, 3))
    water = liquid * embossed.astype(np.float64)
    water *= strength / max(1.0, water.max())
    return bytes_of(values + water[..., None] * [175 / 255, 238 / 255, 238 / 255])


def _blur(values: Floats, sigma: float) -> Floats:
    return ndimage.gaussian_filter(values, (sigma, sigma, 0), mode="nearest", truncate=4)


def _motion(values: Floats, radius: float, sigma: float, degrees: float) -> Floats:
    weights = np.exp(-(np.arange(2 * int(radius) + 1) ** 2) / (2 * sigma**2))
    height, width = values.shape[:2]
    blurred = np.zeros_like(values)
    for i, weight in enumerate(weights / weights.sum()):
        down = math.ceil(i * math.sin(math.radians(degrees)) - 0.5)
        right = math.ceil(i * math.cos(math.radians(degrees)) - 0.5)
        rows = np.clip(np.arange(height) + down, 0, height - 1)
        columns = np.clip(np.arange(width) + right, 0, width - 1)
        blurred += weight * values[rows][:, columns]
    return blurred


def _zoom_centre(values: Floats, factor: float) -> Floats:
    height, width = values.shape[:2]
    rows, columns = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - rows) // 2, (width - columns) // 2
    zoomed = ndimage.zoom(values[top : top + rows, left : left + columns], (factor, factor, 1), order=1)
    top, left = (zoomed.shape[0] - height) // 2, (zoomed.shape[1] - width) // 2
    return zoomed[top : top + height, left : left + width].copy()


def _read(values: Floats, ys: Floats, xs: Floats, mode: str) -> Floats:
    channels = [ndimage.map_coordinates(values[..., k], [ys, xs], order=1, mode=mode) for k in range(3)]
    return np.stack(channels, axis=2)


def _hsv(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Hue, saturation and value, in the order of operations of ``skimage.color.rgb2hsv``."""
    red, green, blue = np.moveaxis(values, 2, 0)
    value, spread = values.max(axis=2), np.ptp(values, axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        saturation = np.where(spread == 0, 0, spread / value)
        hue = np.where(red == value, (green - blue) / spread, 0)
        hue = np.where(green == value, 2 + (blue - red) / spread, hue)
        hue = np.where(blue == value, 4 + (red - green) / spread, hue)
    return np.where(spread == 0, 0, (hue / 6) % 1), saturation, value


def _rgb(hue: Floats, saturation: Floats, value: Floats) -> Floats:
    """Colours of hue, saturation and value, in the order of operations of ``skimage.color.hsv2rgb``."""
    sector = np.floor(hue * 6)
    within = hue * 6 - sector
    p, q, t = value * (1 - saturation), value * (1 - within * saturation), value * (1 - (1 - within) * saturation)
    choices = [(value, t, p), (q, value, p), (p, value, t), (p, q, value), (t, p, value), (value, p, q)]
    stacked = [np.stack(choice, axis=2) for choice in choices]
    return np.choose((sector.astype(int) % 6)[..., None], stacked)
