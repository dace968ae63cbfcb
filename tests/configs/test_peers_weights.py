"""Pretrained files of other backbones: the published ones fill them, any other stops the run."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from peer_files import OFFICIAL, numbered, save_official
from torch import Tensor, nn

from casvit_dense.cli import main
from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.engine.checks import check_weights, dry_run
from casvit_dense.engine.train import train
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions

CONFIGS = Path(__file__).parents[2] / "configs"
SEM_FPN = "fpn_{}_8xb4-40k_ade20k-512x512"
RETINANET = "retinanet_{}_fpn_8xb4-1x_coco"
PEERS = [*OFFICIAL, "mscan-t", "mscan-s"]
#: A file that is easily confused with the peer's: its larger or smaller sibling where there is one.
SIBLING = {
    "resnet18": "resnet50",
    "resnet50": "resnet18",
    "mobilenetv2": "resnet18",
    "pvt-t": "pvt-s",
    "pvt-s": "pvt-t",
    "pvtv2-b0": "pvtv2-b1",
    "pvtv2-b1": "pvtv2-b2",
    "pvtv2-b2": "mit-b1",
    "swin-t": "pvt-t",
    "mit-b0": "mit-b1",
    "mit-b1": "pvtv2-b1",
    "mscan-t": "mscan-s",
    "mscan-s": "mit-b1",
}
#: Tensors of the published file that have no place in the backbone.
LEFT_OUT = {
    "resnet18": 2,  # fc
    "resnet50": 2,
    "mobilenetv2": 6,  # the convolution before the classifier; the classifier has another prefix
    "swin-t": 2 + 5,  # the last norm; masks of shifted windows, one, one and three
    "mscan-t": 2,  # head
    "mscan-s": 2,
}


@pytest.fixture(autouse=True)
def _logger(tmp_path: Path) -> None:
    """mmengine's current logger, with a stream that the test does not close behind it."""
    MMLogger.get_instance(str(tmp_path))


@cache
def read(stem: str) -> Config:
    return resolve(CONFIGS / f"peers/{stem}.py", RunOptions()).config


def backbone_of(cfg: Config) -> nn.Module:
    register_scope(cfg)
    return MODELS.build(deepcopy(cfg.model.backbone))


def save_peer(peer: str, path: Path) -> dict[str, Tensor]:
    """As `save_official`, for all peers."""
    if peer in OFFICIAL:
        return save_official(peer, path)
    cfg = deepcopy(read(SEM_FPN.format(peer)))
    cfg.model.backbone.init_cfg = None
    # OpenMMLab publishes MSCAN under mmseg's own names, with the classifier.
    own = {name: tuple(t.shape) for name, t in backbone_of(cfg).state_dict().items()}
    state = numbered(own | {"head.weight": (1000, 8), "head.bias": (1000,)})
    torch.save({"state_dict": state}, path)
    return state


def ready(stem: str, file: Path) -> Config:
    cfg = resolve(read(stem), RunOptions(pretrained=str(file))).config
    check_weights(cfg)
    register_scope(cfg)
    return cfg


def histogram(tensors: Any) -> list[int]:
    """How many elements have the value 0, 1, 2 and so on."""
    counts = torch.zeros(2000, dtype=torch.int64)
    for tensor in tensors:
        if tensor.stride() == (0,) * tensor.ndim:
            counts[int(tensor.flatten()[0])] += tensor.numel()
        else:
            counts += torch.bincount(tensor.flatten().to(torch.int64), minlength=2000)
    return counts.tolist()


@pytest.mark.parametrize(
    ("stem", "peer"),
    [*((SEM_FPN, peer) for peer in PEERS), (RETINANET, "swin-t"), (RETINANET, "resnet18")],
)
def test_the_published_file_fills_the_backbone(
    stem: str, peer: str, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    file = tmp_path / f"{peer}.pth"
    state = save_peer(peer, file)
    cfg = ready(stem.format(peer), file)
    capfd.readouterr()
    (note,) = dry_run(cfg, RunOptions())
    assert capfd.readouterr() == ("", "")
    backbone = backbone_of(cfg)
    backbone.init_weights()
    own = backbone.state_dict()
    outside = ("head", "fc.", "norm.", "cls_token", "backbone.conv2", "conv2")
    taken = {n: t for n, t in state.items() if not (n.startswith(outside) or "attn_mask" in n)}
    absent = {n for n in own if n.startswith("norm") and peer == "swin-t"}
    absent |= {n for n in own if n.endswith("num_batches_tracked") and "resnet" in peer}
    expected = [t[:, 1:] if n == "pos_embed4" else t for n, t in taken.items()]
    assert histogram(t for n, t in own.items() if n not in absent) == histogram(expected)
    assert f"{len(own) - len(absent)} tensors matched" in note
    left_out = [int(line.split()[0]) for line in note.splitlines() if "left out" in line]
    assert sum(left_out) == LEFT_OUT.get(peer, 0)
    assert ("not in the file" in note) == bool(absent)


@pytest.mark.parametrize("peer", PEERS)
def test_another_file_stops_the_command(
    peer: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "other.pth"
    save_peer(SIBLING[peer], file)
    config = CONFIGS / f"peers/{SEM_FPN.format(peer)}.py"
    # No data is there: the message comes before data is looked for.
    places = ["--data-root", str(tmp_path), "--work-dir", str(tmp_path / "work")]
    assert main(["train", str(config), "--pretrained", str(file), *places]) == 2
    error = capsys.readouterr().err
    assert f"weight file {file}" in error
    assert "does not fit" in error
    assert "nothing was loaded" in error
    assert "): " in error  # a count and names
    assert "Traceback" not in error
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("block2.1.norm1.bias", None, r"missing \(1\): layers\.1\.1\.1\.norm1\.bias"),
        ("block2.1.attn.kv.weight", None, r"cannot read it \(KeyError: .*in the file \(\d+\): pa"),
        ("block2.2.norm1.bias", torch.ones(64), r"unexpected \(1\): layers\.1\.1\.2\.norm1\.bias"),
        ("norm2.bias", torch.ones(63), r"shape \(1\): layers\.1\.2\.bias \[63\] instead of \[64\]"),
        ("norm2.bias", torch.full((64,), torch.nan), "not finite"),
        ("norm2.bias", "text", r"looks for tensors .* finds 'layers\.1\.2\.bias'"),
    ],
)
def test_one_wrong_tensor_is_enough(name: str, value: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "edited.pth"
    state = save_official("pvtv2-b0", file)
    if value is None:
        del state[name]
    else:
        state[name] = value
    torch.save(state, file)
    with pytest.raises(UserError, match=f"(?s){message}"):
        dry_run(ready(SEM_FPN.format("pvtv2-b0"), file), RunOptions())


class Derived(BaseModule):
    """A user's backbone: blocks in a list, norms of its outputs."""

    def __init__(self, depth: int = 2, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.stem = nn.Conv2d(3, 4, 4, stride=4)
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(depth))
        self.norm0 = nn.BatchNorm2d(4)
        self.norm1 = nn.BatchNorm2d(4)


class Plain(nn.Module):
    """One that nothing initialises."""

    def __init__(self, init_cfg: dict | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, stride=4)


@pytest.fixture
def own_backbones() -> Any:
    for kind in (Plain, Derived):
        MODELS.register_module(module=kind, force=True)
    yield
    for kind in (Plain, Derived):
        del MODELS._module_dict[kind.__name__]


def own_config(kind: str, file: Path, **more: Any) -> Config:
    cfg = deepcopy(read(RETINANET.format("resnet18")))
    cfg.model.backbone, cfg.model.neck = dict(type=kind, **more), None
    cfg = resolve(cfg, RunOptions(pretrained=str(file))).config
    check_weights(cfg)
    register_scope(cfg)
    return cfg


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_a_backbone_of_the_users_own_is_held_to_the_same(
    prefix: str, own_backbones: None, tmp_path: Path
) -> None:
    file = tmp_path / "own.pth"
    state = {prefix + n: torch.rand(t.shape) for n, t in Derived().state_dict().items()}
    classifier = {"head.weight": torch.ones(1)}

    def save(state: dict[str, Tensor]) -> None:
        torch.save({"state_dict": state | classifier}, file)

    save(state)
    cfg = own_config("Derived", file)
    (note,) = dry_run(cfg, RunOptions())
    assert f"{len(state)} tensors matched" in note
    backbone = backbone_of(cfg)
    backbone.init_weights()
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, state[prefix + name].to(tensor.dtype)), name

    norms = [n for n in state if "norm" in n]
    save({n: t for n, t in state.items() if n not in norms})
    (note,) = dry_run(cfg, RunOptions())
    assert f"{len(norms)} not in the file, kept as initialised" in note
    save({n: t for n, t in state.items() if "norm1" not in n})
    with pytest.raises(UserError, match=r"missing \(4\): norm1\.bias"):
        dry_run(cfg, RunOptions())

    save(state)
    with pytest.raises(UserError, match=r"unexpected \(2\): blocks\.1\.bias, blocks\.1\.weight"):
        dry_run(own_config("Derived", file, depth=1), RunOptions())
    with pytest.raises(UserError, match=r"missing \(2\): blocks\.2\.bias, blocks\.2\.weight"):
        dry_run(own_config("Derived", file, depth=3), RunOptions())
    with pytest.raises(UserError, match="named for Plain, but its init_weights does not load it"):
        dry_run(own_config("Plain", file), RunOptions())
    with pytest.raises(UserError, match="model.backbone.colour: Derived takes no 'colour'"):
        dry_run(own_config("Derived", file, colour="red"), RunOptions())


def test_tensors_where_nothing_looks_for_them(own_backbones: None, tmp_path: Path) -> None:
    file = tmp_path / "own.pth"
    torch.save({"model": Derived().state_dict(), "epoch": 3}, file)
    with pytest.raises(UserError, match="looks for tensors under `state_dict`.*'model', 'epoch'"):
        dry_run(own_config("Derived", file), RunOptions())


def test_folding_another_backbone_is_refused_before_data_is_looked_for(tmp_path: Path) -> None:
    config = CONFIGS / f"peers/{RETINANET.format('resnet18')}.py"
    options = RunOptions(
        work_dir=tmp_path / "work", data_root=str(tmp_path), from_scratch=True, fold="time"
    )
    with pytest.raises(UserError, match="--fold is for CASViT; the backbone is ResNet"):
        train(config, options)
    assert not (tmp_path / "work").exists()


def test_a_peer_trains_from_its_file_and_the_log_says_what_was_loaded(
    shapes: Path, tmp_path: Path
) -> None:
    file = tmp_path / "resnet18.pth"
    cfg = deepcopy(read(RETINANET.format("resnet18")))
    # Small weights, or the loss is not finite.
    state = {
        name: torch.rand(tensor.shape) * (0.01 if name.endswith("weight") else 1)
        for name, tensor in backbone_of(cfg).state_dict().items()
    }
    torch.save(state, file)
    loaders = ("train", "val", "test")
    classes = ("circle", "square", "triangle")
    overrides = {
        **{f"{loader}_dataloader.num_workers": 0 for loader in loaders},
        **{f"{loader}_dataloader.dataset.metainfo": {"classes": classes} for loader in loaders},
        "train_dataloader.dataset.pipeline.2.scale": (64, 64),
        "val_dataloader.dataset.pipeline.1.scale": (64, 64),
        "model.bbox_head.num_classes": 3,
        "train_cfg.max_epochs": 1,
        "visualizer.name": "peer_weights",
        "experiment_name": "peer_weights",
    }
    checkpoint = train(
        CONFIGS / f"peers/{RETINANET.format('resnet18')}.py",
        RunOptions(
            work_dir=tmp_path / "work",
            data_root=str(shapes / "coco"),
            seed=0,
            pretrained=str(file),
            cfg_options=overrides,
        ),
    )
    trained = torch.load(checkpoint, weights_only=False)["state_dict"]  # written just now
    for name in ("conv1.weight", "bn1.running_mean", "layer1.1.conv2.weight"):  # frozen
        assert torch.equal(trained[f"backbone.{name}"], state[name])
    (log,) = (tmp_path / "work").glob("*/*.log")
    assert f"{len(state)} tensors matched" in log.read_text()
