"""From config file and options to the config that runs."""

import re
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS

from casvit_dense.config.machine import set_launcher, world_size
from casvit_dense.config.read import read_config
from casvit_dense.config.resolve import check_amp, resolve
from casvit_dense.config.tree import leaf_datasets, weight_parts
from casvit_dense.engine.checks import check_weights
from casvit_dense.engine.record import training_precision
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions

CONFIGS = Path(__file__).parents[2] / "configs"
RETINANET = CONFIGS / "retinanet/retinanet_casvit-m_fpn_8xb4-1x_coco.py"
SEM_FPN = CONFIGS / "sem_fpn/fpn_casvit-xs_8xb4-40k_ade20k-512x512.py"


@WEIGHT_INITIALIZERS.register_module()
class Own(PretrainedInit):
    """An initialiser from elsewhere."""


@cache
def read(path: Path) -> Config:
    """Read once: bases from mmdet take half a second. `resolve` leaves it as it is."""
    return read_config(path)


def test_missing_and_broken_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no config file .*none.py"):
        resolve(tmp_path / "none.py", RunOptions())
    broken = tmp_path / "broken.py"
    broken.write_text("model = dict(")
    with pytest.raises(UserError, match="broken.py: SyntaxError"):
        resolve(broken, RunOptions())
    broken.write_text("model = undefined_name")
    with pytest.raises(UserError, match="broken.py: .*undefined_name"):
        resolve(broken, RunOptions())


def test_bases_of_both_frameworks_are_found_without_reading_their_metafiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_metafiles(*_: str) -> dict:
        raise AssertionError("a hundred files")

    monkeypatch.setattr("mmengine.config.utils._get_cfg_metainfo", read_metafiles)
    config = tmp_path / "config.py"
    bases = ["mmdet::_base_/schedules/schedule_1x.py", "mmseg::_base_/datasets/ade20k.py"]
    config.write_text(f"_base_ = {bases}\n")
    cfg = read_config(config)
    assert cfg.train_cfg.max_epochs == 12  # mmdet's
    assert cfg.dataset_type == "ADE20KDataset"  # mmseg's


def test_a_base_that_no_framework_has_is_a_user_error(tmp_path: Path) -> None:
    config = tmp_path / "config.py"
    config.write_text('_base_ = "mmdet::retinanet/retinanet_r500_fpn_1x_coco.py"\n')
    with pytest.raises(UserError, match="retinanet_r500_fpn_1x_coco.py"):
        read_config(config)


def test_one_flag_moves_every_path_of_the_data() -> None:
    cfg = resolve(read(RETINANET), RunOptions(data_root="/somewhere/else")).config
    roots = {
        dataset.data_root
        for key in ("train_dataloader", "val_dataloader", "test_dataloader")
        for dataset in leaf_datasets(cfg[key].dataset)
    }
    assert roots == {"/somewhere/else"}
    expected = "/somewhere/else/annotations/instances_val2017.json"
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == expected


def test_data_sets_inside_wrappers_are_moved() -> None:
    cfg = resolve(read(RETINANET), RunOptions()).config
    plain = cfg.train_dataloader.dataset
    repeated = dict(type="RepeatDataset", times=2, dataset=plain)
    wrapped = dict(_delete_=True, type="ConcatDataset", datasets=[plain, repeated])
    options = {"train_dataloader.dataset": wrapped}
    cfg = resolve(read(RETINANET), RunOptions(data_root="/else", cfg_options=options)).config
    moved = list(leaf_datasets(cfg.train_dataloader.dataset))
    assert [dataset.data_root for dataset in moved] == ["/else", "/else"]


def test_data_sets_inside_wrappers_are_found() -> None:
    inner = [dict(type="A"), dict(type="RepeatDataset", dataset=dict(type="B"))]
    cfg = Config(dict(dataset=dict(type="ConcatDataset", datasets=inner)))
    assert [d.type for d in leaf_datasets(cfg.dataset)] == ["A", "B"]


@pytest.mark.parametrize(
    ("key", "flag"),
    [("work_dir", "work_dir"), ("train_dataloader.dataset.data_root", "data_root")],
)
def test_an_override_that_a_flag_would_undo_is_refused(key: str, flag: str) -> None:
    options = RunOptions(**{flag: "a"}, cfg_options={key: "b"})
    message = f"--cfg-options {key} and --{flag.replace('_', '-')} contradict each other"
    with pytest.raises(UserError, match=message):
        resolve(SEM_FPN, options)


@pytest.mark.parametrize(
    ("option", "in_file", "expected"),
    [
        (None, None, "work_dirs/retinanet_casvit-m_fpn_8xb4-1x_coco"),
        (None, "from_file", "from_file"),
        (Path("from_flag"), "from_file", "from_flag"),
    ],
)
def test_work_dir_flag_beats_file_beats_stem(
    option: Path | None, in_file: str | None, expected: str
) -> None:
    cfg = deepcopy(read(RETINANET))
    cfg.work_dir = in_file
    assert resolve(cfg, RunOptions(work_dir=option)).config.work_dir == expected


def test_seed_and_determinism() -> None:
    cfg = resolve(read(RETINANET), RunOptions(seed=7, deterministic=True)).config
    assert cfg.randomness == dict(seed=7, deterministic=True)


def test_memory_is_pinned_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = resolve(read(RETINANET), RunOptions()).config
    if not torch.cuda.is_available():
        assert "pin_memory" not in cfg.train_dataloader
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    overrides = {"val_dataloader.pin_memory": False}
    cfg = resolve(read(RETINANET), RunOptions(cfg_options=overrides)).config
    assert cfg.train_dataloader.pin_memory and cfg.test_dataloader.pin_memory
    assert not cfg.val_dataloader.pin_memory  # the user's choice


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("fp16", {"loss_scale": "dynamic"}),
        ("bf16", {"loss_scale": {"enabled": False}, "dtype": "bfloat16"}),
    ],
)
def test_mixed_precision(precision: str, expected: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    cfg = resolve(read(RETINANET), RunOptions(amp=precision)).config
    wrapper = cfg.optim_wrapper.to_dict()
    assert wrapper.pop("type") == "AmpOptimWrapper"
    assert {key: wrapper[key] for key in ("loss_scale", "dtype") if key in wrapper} == expected
    assert training_precision(cfg) == precision
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    if precision == "bf16":
        with pytest.raises(UserError, match="computes no bfloat16"):
            resolve(read(RETINANET), RunOptions(amp=precision))


def test_workers_none_means_none_kept_alive() -> None:
    cfg = resolve(
        read(RETINANET), RunOptions(cfg_options={"train_dataloader.num_workers": 0})
    ).config
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.val_dataloader.persistent_workers is True


def test_missing_weights_stop_with_the_place_to_get_them() -> None:
    cfg = resolve(read(RETINANET), RunOptions()).config
    with pytest.raises(UserError) as caught:
        check_weights(cfg)
    for part in ("pretrained/casvit-m_in1k.pth", "MODEL_ZOO.md", "--from-scratch", "'m'"):
        assert part in str(caught.value)


def test_pretrained_flag_replaces_the_file(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"model": {}}, file)
    cfg = resolve(read(RETINANET), RunOptions(pretrained=str(file))).config
    check_weights(cfg)
    assert cfg.model.backbone.init_cfg == dict(type="CASViTWeights", checkpoint=str(file))
    assert cfg.model.backbone.norm_eval is True


def test_damaged_weights_stop_before_anything_is_built(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"half a file")
    with pytest.raises(UserError, match="weights.pth is damaged or no weight file"):
        check_weights(resolve(read(RETINANET), RunOptions(pretrained=str(file))).config)


def test_from_scratch_trains_norms_and_says_so() -> None:
    resolved = resolve(read(RETINANET), RunOptions(from_scratch=True))
    cfg, (note, _) = resolved.config, resolved.messages
    assert cfg.model.backbone.init_cfg is None
    assert cfg.model.backbone.norm_eval is False
    assert "BatchNorm is trained" in note


@pytest.mark.parametrize(
    ("batch", "processes", "steps", "flag", "note", "lr"),
    [
        (4, 8, 1, False, None, 2e-4),
        (4, 8, 1, True, None, 2e-4),
        (4, 1, 8, False, None, 2e-4),
        (2, 1, 1, False, "global batch is 2 .*the recipe's is 32.*lr stays 0.0002", 2e-4),
        (2, 1, 1, True, "lr 0.0002 -> 1.25e-05", 1.25e-5),
        (2, 1, 2, True, "lr 0.0002 -> 2.5e-05", 2.5e-5),
        (4, 1, 8, True, None, 2e-4),
        (4, 2, 1, True, "lr 0.0002 -> 5e-05", 5e-5),
    ],
)
def test_batch_against_learning_rate(
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    processes: int,
    steps: int,
    flag: bool,
    note: str | None,
    lr: float,
) -> None:
    options = RunOptions(
        auto_scale_lr=flag,
        launcher="pytorch",
        cfg_options={
            "train_dataloader.batch_size": batch,
            "optim_wrapper.accumulative_counts": steps,
        },
    )
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    resolved = resolve(read(RETINANET), options)
    cfg, notes = resolved.config, resolved.messages
    assert len(notes) == (note is not None)
    for line in notes:
        assert re.search(note, line), line
    assert cfg.auto_scale_lr.enable is False  # mmengine must not scale once more
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(lr)


def test_an_allocation_alone_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "8")
    assert (world_size("none"), world_size("slurm")) == (1, 8)


def test_only_what_is_asked_for_changes_the_randomness() -> None:
    demo = CONFIGS / "demo/retinanet_casvit-mini_fpn_shapes.py"
    cfg = resolve(read(demo), RunOptions(deterministic=True)).config
    assert cfg.randomness == dict(seed=0, deterministic=True)


def test_from_scratch_freezes_nothing() -> None:
    overrides = {"model.backbone.frozen_stages": 1}
    cfg = resolve(read(RETINANET), RunOptions(from_scratch=True, cfg_options=overrides)).config
    assert cfg.model.backbone.frozen_stages == -1


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone."])
@pytest.mark.parametrize(
    ("init_cfg", "kind"),
    [
        (None, "Pretrained"),
        (dict(type="Pretrained", checkpoint="of/the/config.pth"), "Pretrained"),
        (dict(type="Pretrained", checkpoint="of/the/config.pth", prefix="backbone."), "Pretrained"),
        ([dict(type="Kaiming"), dict(type="Own", checkpoint="of/the/config.pth")], "Own"),
    ],
)
def test_pretrained_flag_for_another_backbone(
    init_cfg: dict | list | None, kind: str, prefix: str, tmp_path: Path
) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"state_dict": {f"{prefix}conv1.weight": torch.ones(1)}}, file)
    cfg = resolve(read(RETINANET), RunOptions()).config
    cfg.model.backbone = dict(type="ResNet", depth=18, init_cfg=init_cfg)
    cfg = resolve(cfg, RunOptions(pretrained=str(file))).config
    check_weights(cfg)
    (part,) = weight_parts(cfg.model.backbone)
    assert (part.type, part.checkpoint) == (kind, str(file))
    if kind == "Pretrained":
        assert part.prefix == ("backbone." if prefix else None)
    else:
        assert "prefix" not in part


@pytest.mark.parametrize("place", ["model", "backbone"])
def test_the_older_key_of_weight_files_is_read(place: str, tmp_path: Path) -> None:
    node = dict(type="ResNet", depth=18)
    model = dict(type="EncoderDecoder", backbone=node)
    dict(model=model, backbone=node)[place]["pretrained"] = "torchvision://resnet18"
    config = tmp_path / "older.py"
    config.write_text(f"default_scope = 'mmseg'\nmodel = {model}")
    cfg = resolve(config, RunOptions()).config
    assert (cfg.model.get("pretrained"), cfg.model.backbone.get("pretrained")) == (None, None)
    with pytest.raises(UserError, match="no pretrained weights at torchvision://resnet18"):
        check_weights(cfg)
    check_weights(resolve(config, RunOptions(from_scratch=True)).config)


def test_weights_in_a_list_of_initialisers_are_looked_for() -> None:
    cfg = resolve(read(RETINANET), RunOptions()).config
    cfg.model.backbone.init_cfg = [dict(type="Constant"), cfg.model.backbone.init_cfg]
    with pytest.raises(UserError, match="no pretrained weights"):
        check_weights(cfg)


def test_forgotten_launcher_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="add --launcher pytorch"):
        resolve(read(RETINANET), RunOptions())
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    with pytest.raises(UserError, match="start with tools/slurm_train.sh"):
        resolve(read(RETINANET), RunOptions(launcher="slurm"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="speaks of machines without a GPU")
class TestWithoutGPU:
    def test_mixed_precision_is_refused(self) -> None:
        with pytest.raises(UserError, match="--amp needs a GPU"):
            resolve(read(RETINANET), RunOptions(amp="fp16"))
        imagenet = read(CONFIGS / "imagenet/casvit-xs_8xb256_in1k.py")
        with pytest.raises(UserError, match="needs a GPU; .* --amp off trains in fp32"):
            check_amp(resolve(imagenet, RunOptions()).config)
        in_fp32 = resolve(imagenet, RunOptions(amp="off"))
        check_amp(in_fp32.config)
        assert "loss_scale" not in in_fp32.config.optim_wrapper
        assert in_fp32.hashes.recipe != resolve(imagenet, RunOptions()).hashes.recipe

    def test_sync_bn_becomes_bn(self) -> None:
        cfg = resolve(read(SEM_FPN), RunOptions()).config
        assert cfg.model.decode_head.norm_cfg.type == "BN"

    def test_processes_talk_by_gloo(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RANK", "0")
        cfg = resolve(read(RETINANET), RunOptions()).config
        set_launcher(cfg, "pytorch")
        assert cfg.env_cfg.dist_cfg.backend == "gloo"
        assert cfg.model_wrapper_cfg.device_ids is None

    def test_slurms_processes_talk_by_gloo(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLURM_PROCID", "0")
        options = RunOptions(launcher="slurm", hang_timeout=30)
        cfg = resolve(read(RETINANET), options).config
        assert cfg.env_cfg.dist_cfg == {"backend": "gloo", "timeout": 30}
        assert cfg.model_wrapper_cfg.device_ids is None

    def test_mpi_is_refused(self) -> None:
        with pytest.raises(UserError, match="torchrun"):
            resolve(read(RETINANET), RunOptions(launcher="mpi"))
