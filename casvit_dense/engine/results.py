"""What an evaluation leaves behind: metrics, their conditions, and where they stand."""

import json
import math
import platform
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size

from casvit_dense.doctor import installed_versions
from casvit_dense.files import write_whole

STACK = (
    *("casvit-dense", "torch", "pycocotools", "faster-coco-eval", "numpy"),
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


def conditions(cfg: Config, **more: Any) -> dict[str, Any]:
    """Everything an evaluation depends on beside config and weights: data, versions, device.

    Args:
        cfg: the config that ran.
        **more: further conditions, e.g. the hash of the weights.
    """
    loader = cfg.test_dataloader
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu_name(),
        "processes": get_world_size(),
        "threads": torch.get_num_threads(),
        "precision": "float16" if (cfg.get("test_cfg") or {}).get("fp16") else "float32",
        "tf32": {
            "matmul": torch.backends.cuda.matmul.allow_tf32,
            "cudnn": torch.backends.cudnn.allow_tf32,
        },
        "batch_size": loader.batch_size,
        "dataset": loader.dataset.to_dict(),  # paths and the whole test pipeline
        "python": platform.python_version(),
        "versions": installed_versions(STACK),
        **more,
    }


def cpu_name() -> str:
    """The processor's model, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


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
