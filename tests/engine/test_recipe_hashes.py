"""Which options and values change the hashes by which results are compared."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from demo_runs import CONFIGS, hashes_by_hand
from mmengine.config import Config

from casvit_dense.config import resolve as resolving
from casvit_dense.config.read import read_config
from casvit_dense.config.resolve import resolve
from casvit_dense.options import ABOUT_DATA, RunOptions
from casvit_dense.results.hashes import hashes_of

RETINANET = CONFIGS / "retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco.py"
SEM_FPN = CONFIGS / "sem_fpn/fpn_casvit-xs_8xb4-40k_ade20k-512x512.py"

#: Beginnings of the hashes of config, pipeline and recipe, and of the recipe from scratch, as rows
#: in users' ledgers have them since version 0.1. Another value makes those rows incomparable.
KNOWN = {
    "retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco": (
        *("d5b29fb9dfa4ddb1", "5690373caeb00ddd"),
        *("d09597584aa553a6", "26ea6b9de329b8e7"),
    ),
    "mask_rcnn/mask-rcnn_casvit-xs_fpn_8xb4-1x_coco": (
        *("08e7ded03d91a784", "33aca29327916196"),
        *("ef86422d8e8c07bc", "77f947e544358684"),
    ),
    "sem_fpn/fpn_casvit-xs_8xb4-40k_ade20k-512x512": (
        *("cc2dd4eb497fa82c", "429b7c9f0b08ba9c"),
        *("80de72e9d31c4cf5", "ee73bf1b7d19df62"),
    ),
}


@pytest.mark.parametrize("stem", KNOWN)
def test_hashes_of_the_recipes_stay_as_they_are_in_ledgers(stem: str) -> None:
    cfg = read_config(CONFIGS / f"{stem}.py")
    usual = resolve(cfg, RunOptions()).hashes
    scratch = resolve(cfg, RunOptions(from_scratch=True)).hashes
    found = (usual.config, usual.pipeline, usual.recipe, scratch.recipe)
    assert tuple(value[:16] for value in found) == KNOWN[stem]


#: Options that change what is learned: each value is another recipe.
RECIPE_OPTIONS: dict[str, list[Any]] = {
    "from_scratch": [True],
    "amp": ["fp16", "bf16"],
    "auto_scale_lr": [True],
    "image_decoder": ["turbojpeg"],
    "cfg_options": [{"train_cfg.max_epochs": 1}],
    "epochs": [3, 24],
    "iters": [500],
    "lr": [1e-3],
    "image_size": [320],
    "init": ["detector.pth"],
}
#: All others.
OTHER_OPTIONS: dict[str, Any] = {
    "work_dir": Path("elsewhere"),
    "data_root": "/elsewhere",
    "pretrained": "another.pth",
    "resume": "auto",
    "fold": "memory",
    "seed": 3,
    "trusted_configs_only": True,
    "allow_changed_resume": True,
    "max_bad_images": 0.5,
    "on_nan": 1,
    "hang_timeout": 60.0,
    "workers": 1,
    "deterministic": True,
    "launcher": "pytorch",
    "classwise": True,
    "format_only": True,
    "fuse": True,
    "coco_backend": "pycocotools",
    "ledger": Path("ledger.jsonl"),
    "command": "casvit-dense train",
}


def test_every_option_is_of_the_recipe_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new option must be listed here, so that nobody forgets what it does to the hashes."""
    # A record keeps the batch by itself; see test_own_data.py and tests/backbones for the others.
    known = {*RECIPE_OPTIONS, *OTHER_OPTIONS, "backbone", "batch_size", "data", *ABOUT_DATA}
    assert {f.name for f in dataclasses.fields(RunOptions)} == known
    cfg = read_config(RETINANET)
    usual = resolve(cfg, RunOptions()).hashes  # mmengine's logger counts the GPUs that are there
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(resolving, "check_decoder", lambda cfg, decoder: None)
    monkeypatch.setenv("RANK", "0")
    recipes = [usual.recipe]
    for name, values in RECIPE_OPTIONS.items():
        recipes += [resolve(cfg, RunOptions(**{name: value})).hashes.recipe for value in values]
    assert len(set(recipes)) == len(recipes)
    for name, value in OTHER_OPTIONS.items():
        assert resolve(cfg, RunOptions(**{name: value})).hashes == usual, name


def test_a_decoder_is_the_same_by_flag_and_by_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "check_decoder", lambda cfg, decoder: None)
    cfg = read_config(RETINANET)
    by_flag = resolve(cfg, RunOptions(image_decoder="turbojpeg")).hashes
    places = [f"{part}_dataloader.dataset.pipeline.0" for part in ("train", "val", "test")]
    overrides = {f"{place}.imdecode_backend": "turbojpeg" for place in places}
    assert by_flag == hashes_by_hand(RETINANET, overrides)
    usual = hashes_by_hand(RETINANET, {})
    assert resolve(cfg, RunOptions(image_decoder="cv2")).hashes == usual


SAME: list[dict[str, Any]] = [
    {"work_dir": "/somewhere", "launcher": "slurm", "log_level": "ERROR"},
    {"train_dataloader.dataset.data_root": "/data", "test_dataloader.dataset.data_root": "/data"},
    {"test_dataloader.num_workers": 0, "test_dataloader.persistent_workers": False},
    {"train_dataloader.num_workers": 16, "train_dataloader.pin_memory": True},
    {"model.backbone.init_cfg.checkpoint": "/weights/xs.pth", "model.backbone.with_cp": True},
    {"visualizer.name": "x", "default_hooks.logger.interval": 1, "custom_hooks.0.seconds": 5.0},
    {"randomness": {"seed": 3}, "env_cfg.cudnn_benchmark": False, "resume": True},
    {"test_evaluator.outfile_prefix": "/out", "test_evaluator.backend": "pycocotools"},
    {"test_dataloader.dataset.pipeline.0.imdecode_backend": "cv2"},
    {"test_dataloader.dataset.data_prefix": {"img": "images/"}},
]


@pytest.mark.parametrize("overrides", SAME, ids=lambda overrides: next(iter(overrides)))
def test_places_and_machines_change_no_hash(overrides: dict[str, Any]) -> None:
    assert hashes_by_hand(RETINANET, overrides) == hashes_by_hand(RETINANET, {})


#: Override -> which of config, pipeline and recipe it changes.
CHANGED: list[tuple[str, Any, tuple[bool, bool, bool]]] = [
    ("test_dataloader.dataset.pipeline.1.scale", (640, 480), (True, True, False)),
    ("test_dataloader.dataset.pipeline.0.imdecode_backend", "turbojpeg", (True, True, False)),
    ("test_dataloader.batch_size", 2, (True, False, False)),
    ("test_dataloader.dataset.indices", 100, (True, False, False)),
    ("model.test_cfg.score_thr", 0.5, (True, False, False)),
    ("test_evaluator.metric", ["bbox", "segm"], (True, False, False)),
    ("train_cfg.val_interval", 3, (True, False, False)),
    ("train_dataloader.batch_size", 8, (True, False, False)),  # see Training.global_batch
    ("train_cfg.max_epochs", 24, (True, False, True)),
    ("optim_wrapper.optimizer.lr", 1e-4, (True, False, True)),
    ("optim_wrapper.type", "AmpOptimWrapper", (True, False, True)),
    ("optim_wrapper.accumulative_counts", 2, (True, False, True)),
    ("param_scheduler.1.milestones", [16, 22], (True, False, True)),
    ("train_dataloader.dataset.pipeline.3.prob", 0.0, (True, False, True)),
    ("train_dataloader.dataset.filter_cfg.min_size", 8, (True, False, True)),
    ("train_dataloader.sampler.shuffle", False, (True, False, True)),
    ("model.backbone.norm_eval", False, (True, False, True)),
    ("model.backbone.init_cfg", None, (True, False, True)),
    ("model.neck.out_channels", 128, (True, False, True)),
    ("custom_hooks", [{"type": "EMAHook"}], (True, False, True)),
    ("load_from", "/some/model.pth", (False, False, True)),
]


@pytest.mark.parametrize(("key", "value", "changed"), CHANGED, ids=[key for key, *_ in CHANGED])
def test_what_matters_changes_its_hash(
    key: str, value: Any, changed: tuple[bool, bool, bool]
) -> None:
    before, after = hashes_by_hand(RETINANET, {}), hashes_by_hand(RETINANET, {key: value})
    names = ("config", "pipeline", "recipe")
    assert tuple(getattr(before, n) != getattr(after, n) for n in names) == changed


def test_hashes_do_not_depend_on_the_machine() -> None:
    """On CPUs `resolve` replaces SyncBN by BN; the recipe stays what it is."""
    asked = resolve(SEM_FPN, RunOptions()).hashes
    assert asked == hashes_of(Config.fromfile(SEM_FPN, import_custom_modules=False).to_dict())
    changed = hashes_by_hand(SEM_FPN, {"model.decode_head.norm_cfg.type": "BN"})
    assert changed.recipe != asked.recipe
