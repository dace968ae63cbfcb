"""What an evaluation leaves behind: metrics, their conditions, and where they stand."""

import json
import math
import os
import platform
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from casvit_dense.doctor import installed_versions
from casvit_dense.files import write_whole

STACK = (
    *("casvit-dense", "torch", "pycocotools", "numpy"),
    *("onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "onedl-mmsegmentation"),
    *("mmengine", "mmcv", "mmdet", "mmsegmentation"),
)


def check_once_each(images: Sequence[Hashable]) -> None:
    """Processes share the images out; none may be counted twice.

    Raises:
        RuntimeError: with the images that occur more than once.
    """
    twice = [image for image, count in Counter(images).items() if count > 1]
    if twice:
        raise RuntimeError(f"{len(twice)} images were evaluated more than once: {twice[:5]}")


def class_table(title: str, values: Mapping[str, float]) -> str:
    """One line a class, for the log."""
    width = max(map(len, values))
    return "\n".join(
        [f"{title} by class:", *(f"  {name:<{width}}  {v:.4g}" for name, v in values.items())]
    )


def conditions(**more: Any) -> dict[str, Any]:
    """Everything a figure depends on beside the model: versions, device, date.

    Args:
        **more: further conditions, e.g. the config and the hash of the weights.
    """
    cuda = torch.cuda.is_available()
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "threads": torch.get_num_threads(),
        "precision": "float32",
        "python": platform.python_version(),
        "versions": installed_versions(STACK),
        **more,
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file whole or not at all; NaN becomes null."""
    text = json.dumps(_plain(content), indent=2, allow_nan=False)
    write_whole(path, f"{text}\n".encode())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
