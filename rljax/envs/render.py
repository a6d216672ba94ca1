"""Pictures of environments, drawn on the host with Pillow: classic control and grids.

Every renderer returns `[H, W, 3]` uint8 and needs no display, no OpenGL and no fonts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Point = tuple[float, float]
Colour = tuple[int, int, int]

PAPER, LINE, SHADE = (250, 249, 246), (52, 58, 70), (222, 220, 214)
BLUE, ORANGE, GREEN, RED = (64, 110, 180), (226, 138, 58), (86, 158, 104), (204, 78, 78)
SUPERSAMPLING = 3


class Canvas:
    """A drawing in world units, y upwards, with the origin `(x, y)` at its centre; drawn large and then reduced."""

    def __init__(self, width: int, height: int, centre: Point, span: float):
        """A picture of `width` x `height` pixels that shows `span` world units from left to right."""
        from PIL import Image, ImageDraw

        self.size, self.centre = (width, height), centre
        self.scale = width * SUPERSAMPLING / span
        self.image = Image.new("RGB", (width * SUPERSAMPLING, height * SUPERSAMPLING), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def pixel(self, point: Point) -> Point:
        x, y = point[0] - self.centre[0], point[1] - self.centre[1]
        return self.image.width / 2 + x * self.scale, self.image.height / 2 - y * self.scale

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        self.draw.polygon([self.pixel(p) for p in points], fill=fill)

    def circle(self, centre: Point, radius: float, fill: Colour) -> None:
        (x, y), r = self.pixel(centre), radius * self.scale
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)

    def line(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """A line with round joints and ends."""
        pixels = [self.pixel(p) for p in points]
        self.draw.line(pixels, fill=fill, width=max(1, round(width * self.scale)), joint="curve")
        for end in (points[0], points[-1]):
            self.circle(end, width / 2, fill)

    def frame(self) -> np.ndarray:
        """`[H, W, 3]` uint8."""
        from PIL import Image

        return np.asarray(self.image.resize(self.size, Image.Resampling.LANCZOS))


def cartpole(state: Any, task: Any) -> np.ndarray:
    """The cart on its track, the pole, and where the track ends."""
    x, theta, edge = float(state.x), float(state.theta), float(task.x_threshold)
    canvas = Canvas(400, 240, centre=(0.0, 0.35), span=2.2 * edge)
    u = edge / 2.4  # the drawing's unit, so that a longer track shows a smaller cart
    canvas.line([(-edge, -0.16 * u), (edge, -0.16 * u)], 0.025 * u, LINE)
    for end in (-edge, edge):
        canvas.line([(end, -0.24 * u), (end, -0.08 * u)], 0.025 * u, RED)
    for wheel in (-0.16, 0.16):
        canvas.circle((x + wheel * u, -0.1 * u), 0.06 * u, LINE)
    body = [(x + dx * u, dy * u) for dx, dy in ((-0.28, -0.1), (0.28, -0.1), (0.28, 0.12), (-0.28, 0.12))]
    canvas.polygon(body, BLUE)
    length = 2 * float(task.length)  # the task has the distance to the centre of mass
    canvas.line([(x, 0.12 * u), (x + length * math.sin(theta), 0.12 * u + length * math.cos(theta))], 0.09 * u, ORANGE)
    canvas.circle((x, 0.12 * u), 0.035 * u, LINE)
    return canvas.frame()


def pendulum(state: Any, task: Any) -> np.ndarray:
    """The rod, upright at angle 0, and an arc as long as the torque is strong."""
    theta, length = float(state.theta), float(task.l)
    canvas = Canvas(300, 300, centre=(0.0, 0.0), span=2.8 * length)
    ring = [(1.02 * length * math.cos(a), 1.02 * length * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 200)]
    canvas.line(ring, 0.01 * length, SHADE)
    tip = (-length * math.sin(theta), length * math.cos(theta))
    canvas.line([(0.0, 0.0), tip], 0.16 * length, RED)
    push = float(np.clip(np.asarray(state.last_u).item() / float(task.max_torque), -1.0, 1.0))
    if abs(push) > 0.02:
        angles = math.pi / 2 + theta + np.linspace(0.0, push * 0.9 * math.pi, 60)
        arc = [(0.38 * length * math.cos(a), 0.38 * length * math.sin(a)) for a in angles]
        canvas.line(arc, 0.03 * length, BLUE)
        canvas.circle(arc[-1], 0.045 * length, BLUE)
    canvas.circle((0.0, 0.0), 0.045 * length, LINE)
    return canvas.frame()


def acrobot(state: Any, task: Any) -> np.ndarray:
    """The two links, hanging down at angle 0, and the height that the tip has to reach."""
    first, second = float(state.joint_angle1), float(state.joint_angle1) + float(state.joint_angle2)
    upper, lower = float(task.link_length_1), float(task.link_length_2)
    reach = upper + lower
    canvas = Canvas(300, 300, centre=(0.0, 0.0), span=2.3 * reach)
    canvas.line([(-1.1 * reach, 1.0), (1.1 * reach, 1.0)], 0.008 * reach, GREEN)
    elbow = (upper * math.sin(first), -upper * math.cos(first))
    tip = (elbow[0] + lower * math.sin(second), elbow[1] - lower * math.cos(second))
    for start, end, colour in (((0.0, 0.0), elbow, BLUE), (elbow, tip, ORANGE)):
        canvas.line([start, end], 0.07 * reach, colour)
    for joint in ((0.0, 0.0), elbow):
        canvas.circle(joint, 0.018 * reach, LINE)
    return canvas.frame()


def mountain_car(state: Any, task: Any) -> np.ndarray:
    """The valley, the car, and the flag at the goal."""
    low, high = float(task.min_position), float(task.max_position)
    canvas = Canvas(400, 260, centre=((low + high) / 2, 0.62), span=1.04 * (high - low))

    def ground(x: float) -> Point:
        return x, 0.45 * math.sin(3 * x) + 0.55

    xs = np.linspace(low - 0.2, high + 0.2, 150)
    hills = [ground(float(x)) for x in xs]
    canvas.polygon([*hills, (hills[-1][0], -1.0), (hills[0][0], -1.0)], SHADE)
    canvas.line(hills, 0.008, LINE)
    foot = ground(float(task.goal_position))
    top = (foot[0], foot[1] + 0.18)
    canvas.line([foot, top], 0.008, LINE)
    canvas.polygon([top, (top[0] - 0.09, top[1] - 0.03), (top[0], top[1] - 0.07)], GREEN)

    x = float(state.position)
    slope = math.atan(0.45 * 3 * math.cos(3 * x))
    along, up = (math.cos(slope), math.sin(slope)), (-math.sin(slope), math.cos(slope))

    def on_car(a: float, b: float) -> Point:
        px, py = ground(x)
        return px + a * along[0] + b * up[0], py + a * along[1] + b * up[1]

    shape = (
        (-0.085, 0.03),
        (0.085, 0.03),
        (0.085, 0.065),
        (0.045, 0.07),
        (0.02, 0.105),
        (-0.05, 0.105),
        (-0.085, 0.065),
    )
    canvas.polygon([on_car(a, b) for a, b in shape], BLUE)
    for wheel in (-0.05, 0.05):
        canvas.circle(on_car(wheel, 0.028), 0.026, LINE)
    return canvas.frame()


CLASSIC: dict[str, Callable[[Any, Any], np.ndarray]] = {
    "CartPole-v1": cartpole,
    "Pendulum-v1": pendulum,
    "Acrobot-v1": acrobot,
    "MountainCar-v0": mountain_car,
    "MountainCarContinuous-v0": mountain_car,
}


def grid(obs: Any, size: int = 300) -> np.ndarray:
    """A grid observation, `[H, W]` or `[H, W, C]`: a colour for each channel, the first channel on top.

    The first channel is the player in MinAtar, so it is the brightest.
    """
    channels = np.atleast_3d(np.asarray(obs, np.float32))
    rows, columns, count = channels.shape
    cell = max(4, size // max(rows, columns))
    gap = max(1, cell // 12)
    colours = _channel_colours(count)
    image = np.full((rows, columns, 3), (30.0, 33.0, 42.0))
    for channel in reversed(range(count)):
        strength = np.clip(channels[:, :, channel : channel + 1], 0.0, 1.0)
        image = image * (1.0 - strength) + colours[channel] * strength
    large = np.kron(image, np.ones((cell, cell, 1)))
    inner = np.tile(np.pad(np.ones((cell - gap, cell - gap)), ((0, gap), (0, gap))), (rows, columns))[:, :, None]
    framed = np.where(inner > 0, large, (20.0, 22.0, 28.0))
    return np.pad(framed, ((gap, 0), (gap, 0), (0, 0)), mode="wrap").astype(np.uint8)


def _channel_colours(count: int) -> np.ndarray:
    """`[count, 3]`: white-gold for the first channel, then hues far apart."""
    import colorsys

    golden = 0.618034  # successive multiples of the golden ratio never come close on the colour circle
    rest = [colorsys.hsv_to_rgb((0.02 + golden * i) % 1.0, 0.62, 0.92) for i in range(count - 1)]
    return 255.0 * np.array([(1.0, 0.96, 0.84), *rest])
