"""Pictures of rigid bodies, ray cast in NumPy: no display, no OpenGL.

Brax's environments are made of spheres and capsules over a plane, whose intersections with rays have closed forms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

WIDTH, HEIGHT, SUPERSAMPLING = 360, 270, 2
FOCAL = 1.5  # focal length in units of the picture's width: 37 degrees from left to right
LIGHT = np.array([-0.35, -0.45, 0.82], np.float32) / np.linalg.norm([-0.35, -0.45, 0.82])
VIEW = np.array([0.3, 0.9, -0.38], np.float32) / np.linalg.norm([0.3, 0.9, -0.38])  # from the camera to the body
SKY, HORIZON = np.array([0.60, 0.73, 0.88], np.float32), np.array([0.93, 0.95, 0.97], np.float32)
TILES = np.array([[0.80, 0.82, 0.85], [0.68, 0.71, 0.76]], np.float32)
BODY, LIMB = np.array([0.87, 0.47, 0.20], np.float32), np.array([0.24, 0.43, 0.71], np.float32)
PLANE, SPHERE, CAPSULE = 0, 2, 3  # MuJoCo's numbers


class Capsules(NamedTuple):
    """Capsules in the world; a sphere is one of length 0."""

    start: np.ndarray  # [G, 3]
    end: np.ndarray  # [G, 3]
    radius: np.ndarray  # [G]
    colour: np.ndarray  # [G, 3] in 0 .. 1


def bodies(sys: Any, position: Any, rotation: Any) -> np.ndarray:
    """The bodies of a Brax system, seen by a camera that follows the first one, as `[H, W, 3]` uint8.

    Args:
      sys: the `brax.base.System`.
      position: where its links are, `[links, 3]`.
      rotation: how they are turned, quaternions `[links, 4]`.
    """
    from PIL import Image

    position, rotation = np.asarray(position, np.float32), np.asarray(rotation, np.float32)
    capsules = _capsules(sys, position, rotation)
    planes = np.asarray(sys.geom_pos)[np.asarray(sys.geom_type) == PLANE]
    floor = float(planes[0, 2]) if len(planes) else None
    heights = np.concatenate([capsules.start, capsules.end])[:, 2]
    target = np.array([*position[0, :2], (heights.min() + heights.max()) / 2], np.float32)
    eye = target - VIEW * 3.2 * _reach(sys)
    if floor is not None:
        eye[2] = max(eye[2], floor + 0.05)
    rays, axes = _rays()
    image, depth = _background(eye, rays, floor, capsules, target)
    for capsule in zip(*capsules):
        _draw(image, depth, eye, rays, axes, *capsule)
    picture = (255.0 * np.clip(image, 0.0, 1.0) + 0.5).astype(np.uint8)
    return np.asarray(Image.fromarray(picture).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def _capsules(sys: Any, position: np.ndarray, rotation: np.ndarray) -> Capsules:
    kind, body = np.asarray(sys.geom_type), np.asarray(sys.geom_bodyid)
    rgba, size = np.asarray(sys.geom_rgba, np.float32), np.asarray(sys.geom_size, np.float32)
    shown = np.flatnonzero(np.isin(kind, (SPHERE, CAPSULE)) & (rgba[:, 3] > 0))
    # Body 0 is the world, which is no link.
    position = np.concatenate([np.zeros((1, 3), np.float32), position])[body[shown]]
    rotation = np.concatenate([np.array([[1, 0, 0, 0]], np.float32), rotation])[body[shown]]
    centre = position + _rotate(np.asarray(sys.geom_pos, np.float32)[shown], rotation)
    up = np.broadcast_to(np.array([0, 0, 1], np.float32), centre.shape)
    axis = _rotate(_rotate(up, np.asarray(sys.geom_quat, np.float32)[shown]), rotation)
    half = np.where(kind[shown] == CAPSULE, size[shown, 1], 0.0)[:, None] * axis
    return Capsules(centre - half, centre + half, size[shown, 0], _colours(rgba[shown, :3], body[shown]))


def _colours(rgb: np.ndarray, body: np.ndarray) -> np.ndarray:
    """The system's colours where it has some; the many that are grey or brown by default get ours."""
    saturation = rgb.max(1) - rgb.min(1)
    ours = np.where((body <= 1)[:, None], BODY, LIMB)
    return np.where((saturation > 0.3)[:, None], rgb, ours).astype(np.float32)


def _reach(sys: Any) -> float:
    """The distance from the first link that any part can have, whatever the pose."""
    offset = np.asarray(sys.link.transform.pos)
    reach = []
    for link, parent in enumerate(sys.link_parents):
        joint = offset[link] - (offset[0] if parent < 0 else 0.0)
        reach.append(float(np.linalg.norm(joint)) + (reach[parent] if parent >= 0 else 0.0))
    moving = np.asarray(sys.geom_bodyid) > 0
    extent = np.linalg.norm(np.asarray(sys.geom_pos), axis=1) + np.asarray(sys.geom_rbound)
    return max(reach[body - 1] + extent[i] for i, body in enumerate(sys.geom_bodyid) if moving[i])


def _rays() -> tuple[np.ndarray, np.ndarray]:
    """The camera's unit rays `[H, W, 3]`, and its axes right, up and forward as rows."""
    right = np.cross(VIEW, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(right, VIEW), VIEW]).astype(np.float32)
    width, height = WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / width
    y = (height / 2 - np.arange(height, dtype=np.float32) - 0.5) / width
    rays = x[None, :, None] * axes[0] + y[:, None, None] * axes[1] + FOCAL * axes[2]
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True), axes


def _background(
    eye: np.ndarray, rays: np.ndarray, floor: float | None, capsules: Capsules, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sky, chequered floor and shadows: colours `[H, W, 3]` and distances `[H, W]`."""
    height = np.clip(rays[..., 2:] * 2.5, 0.0, 1.0)
    image = HORIZON + (SKY - HORIZON) * height
    depth = np.full(rays.shape[:2], np.inf, np.float32)
    if floor is None:
        return image, depth
    below = rays[..., 2] < -1e-3
    distance = (floor - eye[2]) / rays[below][:, 2]
    ground = eye[:2] + distance[:, None] * rays[below][:, :2]
    away = float(np.linalg.norm(target - eye))
    tile = np.floor(ground / (0.2 * away)).astype(int).sum(1) % 2
    lit = TILES[tile] * _shadow(ground, capsules, floor)[:, None]
    haze = np.exp(-np.maximum(distance / away - 0.9, 0.0) * 0.45)[:, None]
    image[below] = HORIZON + (lit - HORIZON) * haze
    depth[below] = distance
    return image, depth


def _shadow(ground: np.ndarray, capsules: Capsules, floor: float) -> np.ndarray:
    """The light that reaches points on the ground, `[P]` in 0.55 .. 1."""
    slope = LIGHT[:2] / LIGHT[2]
    dark = np.zeros(len(ground), np.float32)
    for start, end, radius, _ in zip(*capsules):
        a, b = (p[:2] - slope * (p[2] - floor) for p in (start, end))
        near = np.flatnonzero(
            np.all((ground > np.minimum(a, b) - 2 * radius) & (ground < np.maximum(a, b) + 2 * radius), 1)
        )
        along = b - a
        part = np.clip((ground[near] - a) @ along / max(float(along @ along), 1e-9), 0.0, 1.0)
        away = np.linalg.norm(ground[near] - a - part[:, None] * along, axis=1)
        dark[near] = np.maximum(dark[near], np.clip(1.6 - away / radius, 0.0, 1.0))
    return 1.0 - 0.45 * dark


def _draw(
    image: np.ndarray,
    depth: np.ndarray,
    eye: np.ndarray,
    rays: np.ndarray,
    axes: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    radius: float,
    colour: np.ndarray,
) -> None:
    """Draw one capsule into `image` and `depth` where it is the nearest thing."""
    box = _box(eye, axes, np.stack([start, end]), radius, image.shape[:2])
    ray = rays[box]
    distance = _intersect(eye, ray, start, end, radius)
    seen = distance < depth[box]
    point = eye + distance[seen][:, None] * ray[seen]
    axis = end - start
    part = np.clip((point - start) @ axis / max(float(axis @ axis), 1e-9), 0.0, 1.0)
    normal = (point - start - part[:, None] * axis) / radius
    sun = np.clip(normal @ LIGHT, 0.0, 1.0)[:, None]
    sky = (0.5 + 0.5 * normal[:, 2])[:, None]
    half = LIGHT - ray[seen]
    shine = np.clip((normal * half).sum(1) / np.linalg.norm(half, axis=1), 0.0, 1.0)[:, None] ** 40
    image[box][seen] = colour * (0.28 + 0.22 * sky + 0.62 * sun) + 0.22 * shine
    depth[box][seen] = distance[seen]


def _box(
    eye: np.ndarray, axes: np.ndarray, ends: np.ndarray, radius: float, shape: tuple[int, ...]
) -> tuple[slice, slice]:
    """The rows and columns that a capsule may touch."""
    right, up, forward = ((ends - eye) @ axes.T).T
    forward = np.maximum(forward - radius, 1e-3)
    height, width = shape
    scale = FOCAL * width / forward
    column, row, margin = width / 2 + right * scale, height / 2 - up * scale, 1.3 * radius * scale + 2
    low = np.floor([(row - margin).min(), (column - margin).min()]).astype(int)
    high = np.ceil([(row + margin).max(), (column + margin).max()]).astype(int)
    rows, columns = (slice(int(max(a, 0)), int(max(b, 0))) for a, b in zip(low, high))
    return rows, columns


def _intersect(eye: np.ndarray, ray: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float) -> np.ndarray:
    """The distance at which each ray enters the capsule, infinite where it misses: a tube and two balls."""
    axis, offset = end - start, eye - start
    length, ray_axis, eye_axis = float(axis @ axis), ray @ axis, float(axis @ offset)
    nearest = np.minimum(_intersect_ball(offset, ray, radius), _intersect_ball(eye - end, ray, radius))
    a = length - ray_axis**2
    b = length * (ray @ offset) - eye_axis * ray_axis
    c = length * float(offset @ offset) - eye_axis**2 - radius**2 * length
    root = b**2 - a * c
    hit = (root > 0) & (a > 1e-9)
    tube = np.where(hit, -b - np.sqrt(np.where(hit, root, 0.0)), 0.0) / np.where(hit, a, 1.0)
    height = eye_axis + tube * ray_axis
    on_tube = hit & (height > 0) & (height < length) & (tube > 0)
    return np.where(on_tube, np.minimum(tube, nearest), nearest)


def _intersect_ball(offset: np.ndarray, ray: np.ndarray, radius: float) -> np.ndarray:
    b = ray @ offset
    root = b**2 - (float(offset @ offset) - radius**2)
    distance = -b - np.sqrt(np.maximum(root, 0.0))
    return np.where((root > 0) & (distance > 0), distance, np.inf)


def _rotate(vector: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """`[G, 3]` turned by `[G, 4]`, real part first."""
    real, imaginary = quaternion[:, :1], quaternion[:, 1:]
    twice = 2.0 * np.cross(imaginary, vector)
    return vector + real * twice + np.cross(imaginary, twice)
