"""``model-index.yml`` and ``metafile.yml``: our configs in the form that OpenMMLab's tools read.

mmengine's hub finds configs by them, ``mim search`` lists their figures. Fields as in mmdetection's
own files; FLOPs are multiply-adds there, and so they are here. Published figures have that word in
their name, lest a tool show them as measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.fileio import dump

from casvit_dense.results.names import METRIC_NAMES
from casvit_dense.results.row import row_id
from casvit_dense.results.tables import COMPARED, ModelSize, Sizes
from casvit_dense.results.targets import Target, Targets
from casvit_dense.results.verify import Finding

HEADER = "# Made by `casvit-dense results`; changes here are overwritten.\n"
INDEX = "model-index.yml"
METAFILE = "metafile.yml"


@dataclass(frozen=True)
class Collection:
    """Models under one head.

    Attributes:
        name: of the collection.
        folder: of our configs.
        prefix: how names of their configs begin.
        data: what they are trained on.
        tasks: kind of task by the metrics that belong to it.
        paper: title and address of the head's.
    """

    name: str
    folder: str
    prefix: str
    data: str
    tasks: Mapping[str, Sequence[str]]
    paper: tuple[str, str]


BOXES = [name for name in METRIC_NAMES if name.startswith("bbox")]
MASKS = [name for name in METRIC_NAMES if name.startswith("segm")]
COLLECTIONS = (
    Collection(
        name="RetinaNet",
        folder="retinanet",
        prefix="retinanet",
        data="COCO",
        tasks={"Object Detection": BOXES},
        paper=("Focal Loss for Dense Object Detection", "https://arxiv.org/abs/1708.02002"),
    ),
    Collection(
        name="Mask R-CNN",
        folder="mask_rcnn",
        prefix="mask-rcnn",
        data="COCO",
        tasks={"Object Detection": BOXES, "Instance Segmentation": MASKS},
        paper=("Mask R-CNN", "https://arxiv.org/abs/1703.06870"),
    ),
    Collection(
        name="Semantic FPN",
        folder="sem_fpn",
        prefix="fpn",
        data="ADE20K",
        tasks={"Semantic Segmentation": ["mIoU"]},
        paper=("Panoptic Feature Pyramid Networks", "https://arxiv.org/abs/1901.02446"),
    ),
)
PEERS = "peers"


def metafiles(
    configs: Path, targets: Targets, findings: Sequence[Finding], sizes: Sizes
) -> dict[str, str]:
    """Every file's content, by its path from the folder that holds ``configs``.

    Args:
        configs: folder of the configs.
        targets: published figures.
        findings: what was compared here joins the published figures.
        sizes: counted models.
    """
    files = {}
    for folder in (*(collection.folder for collection in COLLECTIONS), PEERS):
        models = [
            _model(path, collection, targets.of_config(path.stem), findings, sizes.get(path.stem))
            for collection in COLLECTIONS
            for path in sorted((configs / folder).glob(f"{collection.prefix}_*.py"))
        ]
        own = [c for c in COLLECTIONS if c.folder == folder]
        content = {"Collections": [_collection(c) for c in own]} if own else {}
        files[f"configs/{folder}/{METAFILE}"] = _yaml({**content, "Models": models})
    return {INDEX: _yaml({"Import": list(files)}), **files}


def _yaml(content: Mapping[str, Any]) -> str:
    return HEADER + dump(content, file_format="yaml", sort_keys=False, width=100)


def _collection(collection: Collection) -> dict[str, Any]:
    title, address = collection.paper
    return {
        "Name": collection.name,
        "Metadata": {"Training Data": collection.data, "Architecture": ["FPN"]},
        "Paper": {"Title": title, "URL": address},
    }


def _model(
    path: Path,
    collection: Collection,
    target: Target | None,
    findings: Sequence[Finding],
    size: ModelSize | None,
) -> dict[str, Any]:
    backbone = target.backbone if target else path.stem.split("_")[1]
    metadata: dict[str, Any] = {"Training Data": collection.data, **_schedule(path.stem)}
    metadata["Architecture"] = [backbone, "FPN"]
    if size:
        metadata["Parameters"] = round(1e6 * size.params_m)
        metadata["FLOPs"] = round(1e9 * size.gmacs)
        metadata["FLOPs Input"] = size.input
    model = {
        "Name": path.stem,
        "In Collection": collection.name,
        "Config": f"configs/{path.parent.name}/{path.name}",
        "Metadata": metadata,
    }
    here = [f for f in findings if f.target == target and f.verdict in COMPARED]
    results = _results(collection, target, here) if target else []
    return {**model, "Results": results} if results else model


def _schedule(stem: str) -> dict[str, int]:
    """Batch and length of training, which names of configs state.

    ``…_8xb4-1x_coco``: 8 GPUs with 4 images, one times 12 epochs; ``…-40k_…``: 40,000 iterations.
    """
    batch, length = stem.partition("_8xb")[2].split("_")[0].split("-")
    count = int(length[:-1])
    iterations = {"Iterations": 1000 * count} if length.endswith("k") else {"Epochs": 12 * count}
    return {"Batch Size": 8 * int(batch), **iterations}


def _results(
    collection: Collection, target: Target, here: Sequence[Finding]
) -> list[dict[str, Any]]:
    """For every task what was published, then what came out here."""
    results = []
    measured = {finding.metric: finding.ours for finding in here}
    rows = sorted({row_id(row) for finding in here for row in finding.rows})
    for task, metrics in collection.tasks.items():
        about = {"Task": task, "Dataset": collection.data}
        known = [name for name in metrics if name in target.metrics]
        figures = {f"{METRIC_NAMES[m]} (published)": target.metrics[m] for m in known}
        if figures:
            results.append({**about, "Metrics": figures, "Source": target.source})
        own = {METRIC_NAMES[m]: round(v, 2) for m in metrics if (v := measured.get(m)) is not None}
        if own:
            source = f"casvit-dense, row {', '.join(rows)}"
            results.append({**about, "Metrics": own, "Source": source})
    return results
