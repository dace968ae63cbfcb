"""The demo: three small models learn the generated shapes, by the code that trains all others."""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import DATASETS
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from casvit_dense.data.shape_crops import cut_shapes
from casvit_dense.data.shapes import ShapesSpec, generate_shapes
from casvit_dense.engine.console import quiet_console
from casvit_dense.engine.evaluate import evaluate
from casvit_dense.engine.train import train
from casvit_dense.errors import UserError
from casvit_dense.files import write_whole
from casvit_dense.options import RunOptions
from casvit_dense.predictor import Labels, Predictor, draw, read_image
from casvit_dense.predictor.results import encoded
from casvit_dense.progress import format_duration
from casvit_dense.reproduce.state import read_progress
from casvit_dense.training.saving import numbered
from casvit_dense.zoo import DEMO_MODELS, DemoModel, config_file

NUM_PICTURES = 6
IGNORED = 255  # mmseg's label for pixels that do not count
SCORE_THR = 0.3  # of the instances that are drawn


@dataclass(frozen=True)
class DemoResult:
    """The result of one model; ``seconds`` covers training, evaluation and pictures."""

    model: DemoModel
    value: float
    seconds: float
    folder: Path

    @property
    def reached(self) -> bool:
        return self.value >= self.model.minimum


def run_demo(
    out: Path,
    data_root: Path,
    names: Sequence[str] = tuple(DEMO_MODELS),
    spec: ShapesSpec | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    log: Callable[[str], None] = print,
) -> list[DemoResult]:
    """Generates the data, then trains, evaluates and draws one model after the other.

    Args:
        out: result folder; each model gets a work directory below it, with ``pictures`` inside:
            truth at the left, prediction at the right.
        data_root: where the generated data set is or will be.
        names: keys of `zoo.DEMO_MODELS`; none: the data alone.
        spec: the data set, the demo's own by default.
        cfg_options: config overrides by dotted key, for all of the models.

    Raises:
        UserError: a folder cannot be used; see `generate_shapes`.
    """
    made = generate_shapes(data_root, spec)
    cut_shapes(data_root)
    log(f"demo: data set {'written to' if made else 'found in'} {data_root}")
    results = []
    for name in names:
        log(f"demo: {name}")
        results.append(run_model(DEMO_MODELS[name], out, data_root, cfg_options or {}))
    return results


def run_model(
    model: DemoModel, out: Path, data_root: Path, cfg_options: Mapping[str, Any]
) -> DemoResult:
    """Trains, evaluates and draws one model; goes on with what an earlier demo left."""
    started = time.monotonic()
    config, folder, data = find_config(model.config), out / model.config, data_root / model.layout
    options = RunOptions(
        work_dir=folder,
        data_root=str(data),
        cfg_options=dict(cfg_options),
        resume="auto" if numbered(folder) else None,
    )
    checkpoint = read_progress(folder).last or train(config, options)
    words = ("test", config, checkpoint, "--data-root", data, "--work-dir", folder)
    options.command = shlex.join(("casvit-dense", *map(str, words)))
    metrics = evaluate(config, checkpoint, options)
    with quiet_console():  # data sets print while they load
        save_pictures(config, checkpoint, data, folder / "pictures")
    seconds = time.monotonic() - started
    return DemoResult(model, metrics[model.metric], seconds, folder)


def find_config(stem: str) -> Path:
    """A demo config."""
    path = config_file(stem)
    if path is None:
        raise UserError(f"no config {stem}.py in this installation; reinstall casvit-dense")
    return path


def save_pictures(config: Path, checkpoint: Path, data_root: Path, folder: Path) -> None:
    """Draws truth and prediction side by side for the first images of the test set."""
    predictor = Predictor(config, checkpoint, data_root=str(data_root))
    labels = predictor.labels
    dataset = DATASETS.build(predictor.cfg.test_dataloader.dataset)
    for i in range(min(NUM_PICTURES, len(dataset))):
        truth = dataset[i]["data_samples"]
        image = read_image(truth.img_path)
        left = draw(image, as_prediction(truth, len(labels.names)), with_unlabelled(labels))
        right = draw(image, predictor.predict(image), labels, SCORE_THR)
        write_whole(
            folder / f"{Path(truth.img_path).stem}.png", encoded(".png", np.hstack([left, right]))
        )


def as_prediction(truth: BaseDataElement, num_classes: int) -> BaseDataElement:
    """The truth of an image in the form of a prediction, so that both are drawn alike.

    Args:
        truth: data sample of a test set whose pipeline leaves images at their size.
        num_classes: index that unlabelled pixels of a map get.
    """
    sample = type(truth)()
    if "gt_sem_seg" in truth:
        labels = truth.gt_sem_seg.data
        sample.pred_sem_seg = PixelData(data=labels.masked_fill(labels == IGNORED, num_classes))
    else:
        instances = truth.gt_instances
        sample.pred_instances = InstanceData(
            bboxes=instances.bboxes.tensor,
            labels=instances.labels,
            scores=instances.labels.new_ones(len(instances)),
            masks=instances.masks.to_tensor(bool, "cpu"),
        )
    return sample


def with_unlabelled(labels: Labels) -> Labels:
    """The classes and, behind them, a black one for pixels without a label."""
    return Labels((*labels.names, "unlabelled"), (*labels.palette, (0, 0, 0)), (*labels.ids, 0))


def summary(results: Sequence[DemoResult], seconds: float) -> list[str]:
    """The closing table, one line per model, and the verdict."""
    width = max(len(result.model.config) for result in results)
    head = f"{'model':{width}}  {'metric':16}  {'value':>6}  {'minimum':>7}  {'time':>12}  folder"
    rows = [
        f"{r.model.config:{width}}  {r.model.metric:16}  {r.value:6.4g}  {r.model.minimum:7.4g}  "
        f"{format_duration(r.seconds):>12}  {r.folder}"
        for r in results
    ]
    reached = sum(result.reached for result in results)
    verdict = f"demo: {reached} of {len(results)} models reached the expected accuracy"
    return [head, *rows, f"{verdict} in {format_duration(seconds)}"]
