"""The disk space of a run: of its checkpoints or predictions, compared with what is free."""

from pathlib import Path

from mmengine.config import Config
from torch import nn

from casvit_dense.config.schedule import checkpoint_bytes, moments_of, schedule_of
from casvit_dense.config.tree import evaluators
from casvit_dense.errors import UserError
from casvit_dense.files import free_bytes
from casvit_dense.progress import counted, format_bytes

#: Bytes an image that predictions take, by kind: 100 boxes, 100 masks, or an index map.
PREDICTED = {"bbox": 16_000, "segm": 40_000, "map": 20_000}


def check_training_space(cfg: Config, model: nn.Module) -> list[str]:
    """Compares the checkpoints of a training with what is free where they go.

    Returns:
        What the user should be told before the training begins.

    Raises:
        UserError: not even one fits.
    """
    hook = (cfg.get("default_hooks") or {}).get("checkpoint")
    if not hook:
        return []
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    moments = moments_of(cfg)
    one = checkpoint_bytes(weights, trained, moments)
    # A new one is whole before an old one goes; those of a resumed run are there already.
    needed = schedule_of(cfg).disk(weights, trained, moments) + one
    folder = Path(hook.get("out_dir") or cfg.work_dir)
    free, there = free_bytes(folder), sum(file.stat().st_size for file in folder.glob("*.pth"))
    if free < one:
        raise UserError(
            f"{folder} has {format_bytes(free)} free, and one checkpoint takes about "
            f"{format_bytes(one)}: make room, or give --work-dir on another disk"
        )
    if free + there >= needed:
        return []
    return [
        f"{folder} has {format_bytes(free)} free, and the checkpoints take up to "
        f"{format_bytes(needed - there)} more ({format_bytes(one)} each): make room, or keep fewer "
        "by --cfg-options default_hooks.checkpoint.max_keep_ckpts=1"
    ]


def check_test_space(cfg: Config, images: int) -> list[str]:
    """Compares the predictions of an evaluation with what is free in its folder.

    Returns:
        What the user should be told before the evaluation begins.
    """
    kinds: list[str] = []
    for metric in evaluators(cfg):
        if metric.get("outfile_prefix"):
            kinds += [metric.metric] if isinstance(metric.metric, str) else metric.metric
        elif metric.get("output_dir"):
            kinds.append("map")
    needed = images * sum(PREDICTED.get(kind, 0) for kind in kinds)
    free = free_bytes(Path(cfg.work_dir))
    if free >= needed:
        return []
    return [
        f"{cfg.work_dir} has {format_bytes(free)} free, and the predictions of "
        f"{counted(images, 'image')} take up to {format_bytes(needed)}"
    ]
