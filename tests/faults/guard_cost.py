"""What looking at every loss and gradient costs, on the demo's RetinaNet and on RetinaNet with
CAS-ViT-XS at a small size: the time inside the guard, and steps with and without it in turn.

Seconds are those of the processor: other work on the machine would count on the clock. The bar is
for the time inside, since that of whole steps varies by more than the guard takes.
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import torch
from demo_runs import CONFIGS, config_of
from fault_scripts import flags, folder_with_shapes
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS

from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.options import RunOptions
from casvit_dense.training.finite import FiniteLossHook

#: The guard's share of a step, in percent, at most.
BAR = 1.0
XS = CONFIGS / "retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco.py"


class TimedGuard(FiniteLossHook):
    """Notes the seconds that it takes."""

    seconds = 0.0

    def before_train_iter(self, *args: Any, **kwargs: Any) -> None:
        self._timed(super().before_train_iter, *args, **kwargs)

    def _before_step(self, *args: Any, **kwargs: Any) -> None:
        self._timed(super()._before_step, *args, **kwargs)

    def after_train_iter(self, *args: Any, **kwargs: Any) -> None:
        self._timed(super().after_train_iter, *args, **kwargs)

    def _timed(self, part: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        begun = time.process_time()
        part(*args, **kwargs)
        self.seconds += time.process_time() - begun


def seconds_of(config: Path, shapes: Path, size: int, images: int, pairs: int) -> list[list[float]]:
    """Seconds of steps without the guard, with it, and inside it: one of each on every batch.

    Args:
        config: of the model; the images are the demo's.
        size: side of the images.
        images: in a batch.
    """
    data = resolve(
        config_of("retinanet"), RunOptions(data_root=str(shapes), image_size=size)
    ).config
    cfg = resolve(config, RunOptions(from_scratch=config == XS)).config
    register_scope(cfg)
    model: Any = MODELS.build(cfg.model)
    model.train()
    plain, guarded = (build_optim_wrapper(model, cfg.optim_wrapper) for _ in range(2))
    hub = MessageHub.get_instance("cost")
    runner: Any = SimpleNamespace(model=model, optim_wrapper=guarded, message_hub=hub, iter=0)
    guard = TimedGuard()
    guard.before_train(runner)
    dataset = DATASETS.build(data.train_dataloader.dataset)
    samples = [dataset[number % len(dataset)] for number in range(4 * images)]
    seconds: list[list[float]] = [[], [], []]
    for number in range(pairs + 2):
        chosen = samples[number % 4 * images : (number % 4 + 1) * images]
        batch = {key: [sample[key] for sample in chosen] for key in ("inputs", "data_samples")}
        for watched in (number % 2, 1 - number % 2):
            torch.manual_seed(number)
            guard.seconds, begun = 0.0, time.process_time()
            if watched:
                guard.before_train_iter(runner, 0, batch)
            outputs = model.train_step(batch, guarded if watched else plain)
            if watched:
                guard.after_train_iter(runner, 0, batch, outputs)
            if number > 1:  # the first ones make the optimizer's moments
                seconds[watched].append(time.process_time() - begun)
                if watched:
                    seconds[2].append(guard.seconds)
    return seconds


def main() -> int:
    args = flags(__doc__, quick="10 pairs of the demo's alone", pairs=60)  # XS: a third of them
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cases = [("the demo's RetinaNet", config_of("retinanet"), 160, 8, args.pairs)]
    if args.quick:
        cases = [(*cases[0][:4], 10)]
    else:
        cases.append(("RetinaNet XS", XS, 256, 2, args.pairs // 3))
    worst = 0.0
    with folder_with_shapes() as root:
        for title, config, size, images, pairs in cases:
            found = seconds_of(config, root / "shapes/coco", size, images, pairs)
            plain, guarded, inside = (1000 * statistics.median(times) for times in found)
            share = 100 * inside / plain
            worst = max(worst, share)
            print(
                f"{title}, {images} images of {size} x {size}: {plain:.1f} ms a step, "
                f"{inside:.2f} ms inside the guard "
                f"({share:.2f} %); with it {100 * (guarded / plain - 1):+.2f} %, "
                f"{pairs} steps of each",
                flush=True,
            )
    print(f"cost of the guard at most {worst:.2f} %, bar {BAR:g} %")
    return int(worst > BAR)


if __name__ == "__main__":
    sys.exit(main())
