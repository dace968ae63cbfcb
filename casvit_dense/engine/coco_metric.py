"""COCO's own twelve numbers, for boxes and masks, at full precision."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from mmdet.evaluation import CocoMetric
from mmengine.fileio import load
from mmengine.logging import print_log
from mmengine.registry import METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from casvit_dense.engine.results import check_once_each, class_table

#: COCO's summary in its order: precision at 100 detections, then recall.
COCO_NUMBERS = (
    *("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l"),
    *("AR@1", "AR@10", "AR@100", "AR_s@100", "AR_m@100", "AR_l@100"),
)


@METRICS.register_module()
class DenseCocoMetric(CocoMetric):
    """COCO average precision and recall by pycocotools, as the COCO server computes them.

    mmdet's metric, from which collecting and writing of results come, evaluates at 100, 300 and
    1000 detections, rounds to three digits and gives up when nothing was detected.

    Args:
        ann_file: instances file with the truth.
        metric: ``'bbox'``, ``'segm'`` or both.
        outfile_prefix: predictions are kept as ``<prefix>.bbox.json`` and ``<prefix>.segm.json``,
            in COCO's results format; without it they are not kept.
        classwise: log the AP of every class.
        collect_device: where processes gather results.

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
    ) -> None:
        kinds = [metric] if isinstance(metric, str) else list(metric)
        super().__init__(
            ann_file=ann_file,
            metric=kinds,
            outfile_prefix=outfile_prefix,
            classwise=classwise,
            collect_device=collect_device,
        )
        self.per_class: dict[str, dict[str, float]] = {}

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Evaluates the gathered results.

        Args:
            results: one pair (truth, prediction) an image.

        Returns:
            ``{kind}_{number}`` for each of the twelve; fractions, -1 where there is no truth.
        """
        predictions = [prediction for _, prediction in results]
        image_ids = [prediction["img_id"] for prediction in predictions]
        check_once_each(image_ids)
        self.cat_ids = self._category_ids()
        with TemporaryDirectory() as scratch:
            prefix = self.outfile_prefix or str(Path(scratch, "results"))
            files = self.results2json(predictions, prefix)
            return {
                f"{kind}_{name}": float(value)
                for kind in self.metrics
                for name, value in zip(
                    COCO_NUMBERS, self._evaluate(kind, files.get(kind), image_ids), strict=True
                )
            }

    def _category_ids(self) -> list[int]:
        """Ids of the classes, in the order of the classes."""
        ids = {category["name"]: category["id"] for category in self._coco_api.cats.values()}
        return [ids[name] for name in self.dataset_meta["classes"]]

    def _evaluate(self, kind: str, file: str | None, image_ids: list[int]) -> np.ndarray:
        detections = load(file) if file else []
        if kind == "segm":
            for detection in detections:
                detection.pop("bbox")  # else pycocotools sorts sizes by box area, not mask area
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            evaluation = COCOeval(self._coco_api, with_results(self._coco_api, detections), kind)
            evaluation.params.catIds = self.cat_ids
            evaluation.params.imgIds = image_ids
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        lines = [line for line in printed.getvalue().splitlines() if " Average " in line]
        print_log("\n".join([f"COCO {kind}:", *lines]), logger="current")
        self.per_class[kind] = self._class_ap(evaluation)
        if self.classwise:
            print_log(class_table(f"{kind} AP", self.per_class[kind]), logger="current")
        return evaluation.stats

    def _class_ap(self, evaluation: COCOeval) -> dict[str, float]:
        # (IoU, recall, class, area, detections): over all areas, at 100 detections
        precision = evaluation.eval["precision"][:, :, :, 0, -1]
        values = [precision[:, :, i] for i in range(len(self.cat_ids))]
        means = [float(v[v > -1].mean()) if (v > -1).any() else float("nan") for v in values]
        return dict(zip(self.dataset_meta["classes"], means, strict=True))


def with_results(truth: COCO, detections: list[dict]) -> COCO:
    """Detections as a COCO object; `COCO.loadRes` fails on an empty list."""
    if detections:
        return truth.loadRes(detections)
    empty = COCO()
    empty.dataset = {**truth.dataset, "annotations": []}
    empty.createIndex()
    return empty
