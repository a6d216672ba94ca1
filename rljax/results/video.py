"""Films as animated pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rljax.errors import require
from rljax.storage import absolute, replacing

LEAST = 200  # pixels: what is shorter is enlarged, as grids of a few pixels a cell are
FORMATS = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}  # all of them move


def check(path: Path) -> None:
    """Raises ConfigError unless a file's name ends with a format that can be written."""
    known = path.suffix.lower() in FORMATS
    require(known, "out", path, f"must end with {', '.join(FORMATS)}; other programs make films of those")


def save_film(frames: Sequence[np.ndarray], path: str | Path, fps: float = 50) -> Path:
    """Writes frames as a picture that loops for ever, in the format of the file's suffix.

    Args:
      frames: `[H, W, 3]` uint8 each, all of one size; small ones are enlarged by a whole number.
      path: the file.
      fps: frames a second; a GIF counts in hundredths of a second, and viewers slow down above 50.

    Returns:
      `path`.

    Raises:
      ConfigError: a suffix that is not in `FORMATS`.
      StorageError: it cannot be written; nothing is left of it.
      ValueError: there is no frame.
    """
    path = absolute(path)
    check(path)
    if len(frames) == 0:
        raise ValueError("no frames to save")
    images = [_enlarged(Image.fromarray(np.asarray(frame, np.uint8))) for frame in frames]
    kind = FORMATS[path.suffix.lower()]
    first, *rest = _one_palette(images) if kind == "GIF" else images
    duration = max(2, round(100 / fps)) * 10
    with replacing(path) as partial:
        first.save(partial, format=kind, save_all=True, append_images=rest, duration=duration, loop=0)
    return path


def _enlarged(image: Image.Image) -> Image.Image:
    times = -(-LEAST // min(image.size))
    return image if times == 1 else image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def _one_palette(images: list[Image.Image]) -> list[Image.Image]:
    """Reduces a film to 256 colours, chosen from frames of all of it: one palette a frame would flicker."""
    sample = [np.asarray(image) for image in images[:: max(1, len(images) // 8)]]
    palette = Image.fromarray(np.concatenate(sample)).quantize(256)
    return [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
