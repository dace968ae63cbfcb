"""COCO's own twelve numbers, for boxes and masks, at full precision."""

import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from mmengine.logging import print_log
from mmengine.registry import METRICS

from casvit_dense.coco_backends import (
    COCO_KINDS,
    COCO_NUMBERS,
    coco_results,
    collector_paused,
    evaluate_coco,
    load_backend,
)
from casvit_dense.config.coco_api import CocoAnnotations
from casvit_dense.engine.console import class_table
from casvit_dense.engine.runner import check_once_each
from casvit_dense.files import write_whole
from casvit_dense.log import LOG
from casvit_dense.options import COCO_BACKENDS

with redirect_stdout(None):  # mmdet prints that it misses a package which few data sets need
    from mmdet.evaluation import CocoMetric


@METRICS.register_module()
class DenseCocoMetric(CocoMetric):
    """COCO average precision and recall, as the COCO server computes them.

    mmdet's metric, from which the collecting of results comes, evaluates at 100, 300 and 1000
    detections, rounds to three digits and gives up when nothing was detected.

    Args:
        ann_file: instances file with the truth.
        metric: ``'bbox'``, ``'segm'`` or both.
        outfile_prefix: predictions are kept as ``<prefix>.bbox.json`` and ``<prefix>.segm.json``,
            in COCO's results format; without it they are not kept.
        classwise: log the AP of every class.
        collect_device: where processes gather results.
        format_only: keep the predictions and evaluate nothing: the images have no truth.
        backend: package that evaluates, see `options.COCO_BACKENDS`; the numbers are the same.

    Attributes:
        per_class: after evaluation, AP by class name for each kind; NaN without truth.
    """

    def __init__(
        self,
        ann_file: str,
        metric: str | Sequence[str] = "bbox",
        outfile_prefix: str | None = None,
        classwise: bool = False,
        collect_device: str = "cpu",
        format_only: bool = False,
        backend: str = COCO_BACKENDS[0],
    ) -> None:
        load_backend(backend)  # before hours of testing, not after
        kinds = [metric] if isinstance(metric, str) else list(metric)
        super().__init__(
            metric=kinds,
            outfile_prefix=outfile_prefix,
            classwise=classwise,
            collect_device=collect_device,
            format_only=format_only,
        )
        self._coco_api = CocoAnnotations(ann_file)
        self.backend = backend
        self.per_class: dict[str, dict[str, float]] = {}

    @collector_paused()
    def compute_metrics(self, results: list) -> dict[str, float]:
        """Evaluates the gathered results.

        Args:
            results: one pair (truth, prediction) per image.

        Returns:
            ``{kind}_{number}`` for each of the twelve; fractions, -1 where there is no truth.
            Empty with ``format_only``.
        """
        predictions = [prediction for _, prediction in results]
        check_once_each([prediction["img_id"] for prediction in predictions])
        self.cat_ids = self._category_ids()
        values = {}
        for kind in self.metrics:
            detections = coco_results(predictions, kind, self.cat_ids)
            if self.outfile_prefix:
                file = Path(f"{self.outfile_prefix}.{kind}.json")
                write_whole(file, json.dumps(detections).encode())
            if self.format_only:
                continue
            stats = self._evaluate(kind, detections, [p["img_id"] for p in predictions])
            for name, value in zip(COCO_NUMBERS, stats, strict=True):
                values[f"{kind}_{name}"] = float(value)
        return values

    def _category_ids(self) -> list[int]:
        """Ids of the classes, in the order of the classes."""
        ids = {category["name"]: category["id"] for category in self._coco_api.cats.values()}
        return [ids[name] for name in self.dataset_meta["classes"]]

    def _evaluate(self, kind: str, detections: list[dict], image_ids: list[int]) -> np.ndarray:
        numbers = evaluate_coco(
            self._coco_api.dataset, detections, kind, self.cat_ids, image_ids, self.backend
        )
        print_log("\n".join([f"COCO {kind}:", *numbers.summary]), logger="current")
        classes = self.dataset_meta["classes"]
        self.per_class[kind] = dict(zip(classes, map(float, numbers.class_ap), strict=True))
        if self.classwise:
            percent = {name: 100 * ap for name, ap in self.per_class[kind].items()}
            LOG.info(class_table(f"{COCO_KINDS[kind]} AP", percent))
        return numbers.stats
