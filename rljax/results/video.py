"""Pictures that move."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def save_gif(frames: Sequence[np.ndarray], path: str | Path, fps: float = 50) -> Path:
    """Write frames as a GIF that loops for ever.

    Args:
      frames: `[H, W, 3]` uint8 each, all of one size.
      path: the file.
      fps: frames a second; a GIF counts in hundredths of a second, and viewers slow down above 50.

    Returns:
      `path`.

    Raises:
      ValueError: there is no frame.
    """
    if len(frames) == 0:
        raise ValueError("no frames to save")
    images = [Image.fromarray(np.asarray(frame, np.uint8)) for frame in frames]
    # One palette for all, from frames all along: a palette a frame would flicker.
    sample = [np.asarray(image) for image in images[:: max(1, len(images) // 8)]]
    palette = Image.fromarray(np.concatenate(sample)).quantize(256)
    first, *rest = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    duration = max(2, round(100 / fps)) * 10
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=duration, loop=0)
    return path
