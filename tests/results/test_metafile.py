"""``model-index.yml`` and the metafiles: what OpenMMLab's tools read in them is true."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from findings import finding, target
from ledger_rows import evaluation
from mmengine.config import Config
from mmengine.config.utils import _get_cfg_metainfo

import casvit_dense
from casvit_dense.errors import UserError
from casvit_dense.results.metafile import metafiles
from casvit_dense.results.tables import ModelSize
from casvit_dense.results.targets import Targets, read_targets
from casvit_dense.results.verify import Verdict
from casvit_dense.zoo import FAMILIES

ROOT = Path(__file__).parents[2]
FOLDERS = [*(family.folder for family in FAMILIES), "peers"]
XS = "retinanet_casvit-xs_fpn_8xb4-1x_coco"
#: By a metric of theirs.
TASKS = {
    "bbox_mAP": "Object Detection",
    "segm_mAP": "Instance Segmentation",
    "mIoU": "Semantic Segmentation",
}


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


@pytest.fixture(scope="module")
def files() -> list[dict[str, Any]]:
    return [read(ROOT / name) for name in read(ROOT / "model-index.yml")["Import"]]


@pytest.fixture(scope="module")
def models(files: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = [model for content in files for model in content["Models"]]
    assert len({model["Name"] for model in found}) == len(found)
    return {model["Name"]: model for model in found}


def test_the_index_names_every_metafile() -> None:
    imports = read(ROOT / "model-index.yml")["Import"]
    assert sorted(imports) == sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / "configs").glob("*/metafile.yml")
    )


def test_every_config_has_one_entry(models: dict[str, dict[str, Any]]) -> None:
    paths = [path for folder in FOLDERS for path in (ROOT / "configs" / folder).glob("*.py")]
    assert {model["Config"] for model in models.values()} == {
        str(path.relative_to(ROOT)) for path in paths
    }
    assert all(Path(model["Config"]).stem == name for name, model in models.items())


def test_collections_are_defined_once(
    files: list[dict[str, Any]], models: dict[str, dict[str, Any]]
) -> None:
    collections = [c["Name"] for content in files for c in content.get("Collections", ())]
    assert {"Mask R-CNN", "RetinaNet", "Semantic FPN"} <= set(collections)
    assert len(set(collections)) == len(collections)
    assert {model["In Collection"] for model in models.values()} == set(collections)


@pytest.mark.parametrize("pattern", ["*/*_casvit-xs_*", "peers/*_swin-t_*"])
def test_training_is_that_of_the_config(pattern: str, models: dict[str, dict[str, Any]]) -> None:
    """Of one variant and one peer; the tests of the configs show that the others train alike."""
    paths = sorted((ROOT / "configs").glob(f"{pattern}.py"))
    assert len(paths) >= 3
    for path in paths:
        metadata = models[path.stem]["Metadata"]
        cfg = Config.fromfile(path, import_custom_modules=False)
        assert metadata["Batch Size"] == cfg.auto_scale_lr.base_batch_size
        assert metadata.get("Epochs") == cfg.train_cfg.get("max_epochs")
        assert metadata.get("Iterations") == cfg.train_cfg.get("max_iters")
        data = {"CocoDataset": "COCO", "ADE20KDataset": "ADE20K"}
        assert metadata["Training Data"] == data[cfg.train_dataloader.dataset.type]


def test_sizes_are_the_counted_ones(models: dict[str, dict[str, Any]]) -> None:
    lines = (ROOT / "docs" / "speed" / "cpu.jsonl").read_text().splitlines()
    counts = {row["model"]: row for row in map(json.loads, lines) if row["mode"] == "count"}
    assert set(counts) == set(models)
    for name, model in models.items():
        metadata = model["Metadata"]
        assert metadata["Parameters"] == pytest.approx(1e6 * counts[name]["params_m"])
        assert metadata["FLOPs"] == pytest.approx(1e9 * counts[name]["gmacs"])
        assert metadata["FLOPs Input"].startswith(counts[name]["size"])


def test_published_figures_say_that_they_are(models: dict[str, dict[str, Any]]) -> None:
    published = json.loads((ROOT / "casvit_dense" / "results" / "targets.json").read_text())
    of_config = {row["config"]: row for row in published["dense"] if "config" in row}
    assert set(of_config) <= set(models)
    for name, model in models.items():
        results = model.get("Results", [])
        quoted = [r for r in results if r["Source"] == of_config.get(name, {}).get("source")]
        assert bool(quoted) == (name in of_config)
        if quoted:
            tasks = [task for metric, task in TASKS.items() if metric in of_config[name]["metrics"]]
            assert [result["Task"] for result in quoted] == tasks
            figures = {k: v for result in quoted for k, v in result["Metrics"].items()}
            assert all(key.endswith(" (published)") for key in figures)
            assert sorted(figures.values()) == sorted(of_config[name]["metrics"].values())


def test_own_results_join_them(tmp_path: Path) -> None:
    (tmp_path / "configs" / "retinanet").mkdir(parents=True)
    (tmp_path / "configs" / "retinanet" / f"{XS}.py").touch()
    model, row = target(config=XS), evaluation()
    own = finding(model, Verdict.WITHIN, ours=36.4567, difference=-0.04, rows=(row,))
    sizes = {XS: ModelSize(12.19, 161.91, 2.759, "800x1280")}
    targets = Targets(dense=(model,), classifiers=(), paper_throughput=())
    texts = metafiles(tmp_path / "configs", targets, [own], sizes)
    (entry,) = yaml.safe_load(texts["configs/retinanet/metafile.yml"])["Models"]
    about = {"Task": "Object Detection", "Dataset": "COCO"}
    assert entry["Metadata"]["Architecture"] == ["CAS-ViT-XS", "FPN"]
    published, measured = entry["Results"]
    assert published == {**about, "Metrics": {"box AP (published)": 36.5}, "Source": "A paper"}
    assert measured.pop("Source").startswith("casvit-dense, row ")
    assert measured == {**about, "Metrics": {"box AP": 36.46}}
    subset = finding(model, Verdict.NOT_COMPARABLE, rows=(row,))
    texts = metafiles(tmp_path / "configs", targets, [subset], sizes)
    (entry,) = yaml.safe_load(texts["configs/retinanet/metafile.yml"])["Models"]
    assert entry["Results"] == [published]


def test_a_config_whose_name_states_no_schedule_is_named(tmp_path: Path) -> None:
    (tmp_path / "configs" / "retinanet").mkdir(parents=True)
    for name in ("retinanet_mine.py", "retinanet_mine_8xb4_coco.py"):
        file = tmp_path / "configs" / "retinanet" / name
        file.touch()
        with pytest.raises(UserError, match=f"{name}: its name does not state"):
            metafiles(tmp_path / "configs", read_targets(), [], {})
        file.unlink()


def test_mmengine_finds_the_entry_of_a_config() -> None:
    package = str(Path(casvit_dense.__file__).parent)
    assert _get_cfg_metainfo(package, f"retinanet/{XS}.py")["Name"] == XS
