"""``model-index.yml`` and ``metafile.yml``: our configs in the form that OpenMMLab's tools read.

mmengine's hub finds configs by them, ``mim search`` lists their figures. Fields as in mmdetection's
own files; FLOPs are multiply-adds there, and so they are here. Published figures have that word in
their name, so that no tool shows them as measured.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from casvit_dense.errors import UserError
from casvit_dense.results.costs import ModelSize, Sizes
from casvit_dense.results.lines import row_id
from casvit_dense.results.targets import Target, Targets
from casvit_dense.results.verify import COMPARED, Finding
from casvit_dense.zoo import (
    DATASETS,
    FAMILIES,
    METRICS,
    PEERS_FOLDER,
    Family,
    backbone_of,
    tasks_of,
)

HEADER = "# Made by `casvit-dense results`; changes here are overwritten.\n"
INDEX = "model-index.yml"
METAFILE = "metafile.yml"
SCHEDULE = re.compile(r"_8xb(\d+)-(\d+)([xk])(?:_|$)")


def metafiles(
    configs: Path, targets: Targets, findings: Sequence[Finding], sizes: Sizes
) -> dict[str, str]:
    """Every file's content, by its path from the folder that holds ``configs``.

    Of the findings, those that could be compared follow the published figures.
    """
    files = {}
    for folder in [*(family.folder for family in FAMILIES), PEERS_FOLDER]:
        collections = [_collection(family) for family in FAMILIES if family.folder == folder]
        models = [
            _model(path, family, targets.of_config(path.stem), findings, sizes.get(path.stem))
            for family in FAMILIES
            for path in sorted((configs / folder).glob(f"{family.prefix}_*.py"))
        ]
        content: dict[str, Any] = {"Collections": collections} if collections else {}
        files[f"configs/{folder}/{METAFILE}"] = _yaml({**content, "Models": models})
    return {INDEX: _yaml({"Import": list(files)}), **files}


def _yaml(content: Mapping[str, Any]) -> str:
    return HEADER + yaml.safe_dump(content, sort_keys=False, width=100)


def _collection(family: Family) -> dict[str, Any]:
    title, address = family.paper
    data = DATASETS[family.dataset].name
    return {
        "Name": family.title,
        "Metadata": {"Training Data": data, "Architecture": list(family.architecture)},
        "Paper": {"Title": title, "URL": address},
    }


def _model(
    path: Path,
    family: Family,
    target: Target | None,
    findings: Sequence[Finding],
    size: ModelSize | None,
) -> dict[str, Any]:
    backbone = target.backbone if target else backbone_of(path.stem)
    data = DATASETS[family.dataset].name
    metadata: dict[str, Any] = {"Training Data": data, **_schedule(path)}
    metadata["Architecture"] = [backbone, *family.architecture]
    if size:
        metadata["Parameters"] = round(1e6 * size.params_m)
        metadata["FLOPs"] = round(1e9 * size.gmacs)
        metadata["FLOPs Input"] = size.input
    model = {
        "Name": path.stem,
        "In Collection": family.title,
        "Config": f"configs/{path.parent.name}/{path.name}",
        "Metadata": metadata,
    }
    here = [f for f in findings if f.target == target and f.verdict in COMPARED]
    results = _results(family, target, here) if target else []
    return {**model, "Results": results} if results else model


def _schedule(path: Path) -> dict[str, int]:
    """Batch and length of training, which names of configs state.

    ``…_8xb4-1x_coco``: 8 GPUs with 4 images, one times 12 epochs; ``…-40k_…``: 40,000 iterations.

    Raises:
        UserError: the name has no such part.
    """
    found = SCHEDULE.search(path.stem)
    if found is None:
        raise UserError(
            f"{path}: its name does not state batch and schedule as those of published configs do, "
            "…_8xb4-1x_… or …_8xb4-40k_…; rename it, or move it out of this folder"
        )
    batch, count, unit = found.groups()
    steps = {"Iterations": 1000 * int(count)} if unit == "k" else {"Epochs": 12 * int(count)}
    return {"Batch Size": 8 * int(batch), **steps}


def _results(family: Family, target: Target, here: Sequence[Finding]) -> list[dict[str, Any]]:
    """For every task the published figures, then ours."""
    results = []
    measured = {finding.metric: finding.ours for finding in here}
    rows = sorted({row_id(row) for finding in here for row in finding.rows})
    for task, metrics in tasks_of(family).items():
        about = {"Task": task, "Dataset": DATASETS[family.dataset].name}
        known = [name for name in metrics if name in target.metrics]
        published = {f"{METRICS[m].title} (published)": target.metrics[m] for m in known}
        if published:
            results.append({**about, "Metrics": published, "Source": target.source})
        ours = {
            METRICS[m].title: round(v, 2) for m in metrics if (v := measured.get(m)) is not None
        }
        if ours:
            source = f"casvit-dense, row {', '.join(rows)}"
            results.append({**about, "Metrics": ours, "Source": source})
    return results
