"""Strict loading of every format into backbones and whole models."""

import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from weight_files import (
    TINY,
    assert_holds,
    backbone_state,
    classifier_state,
    dense_state,
    edited,
    port_names,
    save_official_classification,
    save_official_dense,
)

from casvit_dense import CASViT, load_pretrained
from casvit_dense.checkpoint import load_model
from casvit_dense.checkpoint.reader import file_sha256
from casvit_dense.errors import UserError

OUTPUT_NORM = re.compile(r"norm[0246]\.")


def trunk(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a classifier that a dense backbone has too."""
    return {n: t for n, t in state.items() if n.startswith(("patch_embed.", "network."))}


def write_format(format: str, path: Path) -> dict[str, Tensor]:
    """Writes a file and returns the backbone tensors that must come out of it."""
    backbone, classifier = backbone_state(), classifier_state()
    if format == "official classification":
        save_official_classification(path, model=classifier)
        return trunk(classifier)
    if format == "official dense":
        save_official_dense(path, dense_state())
        return backbone
    if format == "mmpretrain port classification":
        names = port_names(list(classifier))
        torch.save({"state_dict": {names[n]: t for n, t in classifier.items()}, "meta": {}}, path)
        return trunk(classifier)
    if format == "mmengine dense":
        wrapped = {f"module.{n}": t for n, t in dense_state().items()}
        torch.save({"state_dict": wrapped, "message_hub": {}, "meta": {"epoch": 1}}, path)
        return backbone
    if format == "plain backbone, safetensors":
        safetensors.torch.save_file(backbone, path)
        return backbone
    assert format == "plain backbone"
    torch.save(backbone, path)
    return backbone


@pytest.mark.parametrize(
    "format",
    [
        "official classification",
        "official dense",
        "mmpretrain port classification",
        "mmengine dense",
        "plain backbone",
        "plain backbone, safetensors",
    ],
)
def test_every_format_loads_under_any_file_name(format, tmp_path):
    path = tmp_path / "weights.bin"
    expected = write_format(format, path)
    backbone = CASViT(TINY)
    report = load_pretrained(backbone, path)
    assert_holds(backbone, expected)
    fresh = 20 if "classification" in format else 0
    assert report.format == format
    assert report.variant == "depths=[1, 1, 2, 1], dims=[8, 12, 16, 24]"
    assert report.matched == len(expected) == len(backbone.state_dict()) - fresh
    assert len(report.initialised) == fresh
    assert all(OUTPUT_NORM.match(name.removeprefix("backbone.")) for name in report.initialised)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model._orig_mod."])
def test_averaged_weights_on_request(prefix, tmp_path):
    last, averaged = classifier_state(seed=1), classifier_state(seed=2)
    ema = {prefix + name: tensor for name, tensor in averaged.items()}
    path = save_official_classification(tmp_path / "x.pth", model=last, model_ema=ema)
    backbone = CASViT(TINY)
    load_pretrained(backbone, path)
    assert_holds(backbone, trunk(last))
    report = load_pretrained(backbone, path, ema=True)
    assert_holds(backbone, trunk(averaged))
    assert report.format == "official classification, EMA"


def test_averaged_weights_alone_are_named(tmp_path):
    path = save_official_classification(tmp_path / "x.pth", model_ema=classifier_state())
    with pytest.raises(UserError, match="averaged weights alone .*by --ema, or ema=True"):
        load_pretrained(CASViT(TINY), path)


@pytest.mark.parametrize("tables", [{}, {"model_ema": None}])
def test_averaged_weights_must_be_there(tables, tmp_path):
    path = save_official_classification(tmp_path / "x.pth", model=classifier_state(), **tables)
    with pytest.raises(UserError, match="no averaged weights"):
        load_pretrained(CASViT(TINY), path, ema=True)


def test_the_report_names_file_and_rules(tmp_path):
    path = save_official_dense(tmp_path / "x.pth", dense_state())
    backbone = CASViT(TINY, out_indices=(1, 2))
    last_stage = [n for n in backbone_state() if n.startswith(("network.5.", "network.6."))]
    report = load_pretrained(backbone, path)
    assert report.path == path
    assert report.sha256 == file_sha256(path)
    assert {rule: len(names) for rule, names in report.left_out.items()} == {
        "neck and heads": 5,
        "output norms the backbone does not build": 10,
        "stages after the last output": len(last_stage),
    }
    text = str(report)
    for part in (str(path), report.sha256[:12], "official dense", "neck and heads", "10 left out"):
        assert part in text
    expected = backbone_state()
    assert_holds(backbone, {name: expected[name] for name in backbone.state_dict()})


ONE = torch.ones(1)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (edited(classifier_state(), patch_embed__0__bias=None), r"missing \(1\).*patch_embed.0.b"),
        (edited(classifier_state(), network__0__0__extra=ONE), r"unexpected \(1\).*0\.0\.extra"),
        (edited(classifier_state(), aux_head__weight=ONE), r"unexpected \(1\): aux_head\.weight"),
        (edited(classifier_state(), neck__x=ONE), r"unexpected \(1\): neck\.x"),
        (edited(classifier_state(), network__7__x=ONE), r"unexpected \(1\): backbone\.network\.7"),
        (edited(classifier_state(), norm4__weight=torch.ones(16)), r"missing \(19\)"),
        (
            edited(classifier_state(), patch_embed__0__bias=torch.ones(5)),
            r"another shape \(1\).*bias \[5\] instead of \[4\]",
        ),
        (edited(backbone_state(), norm2__weight=None), r"missing \(1\): backbone\.norm2\.weight"),
        (classifier_state("xs"), r"seems to hold xs, the model has depths=\[1, 1, 2, 1\]"),
        ({"fc.weight": ONE}, "hold no CAS-ViT stages"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_does_not_fit_raises_and_changes_nothing(table, message, tmp_path):
    path = save_official_classification(tmp_path / "x.pth", model=table)
    backbone = CASViT(TINY)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(UserError, match=message):
        load_pretrained(backbone, path)
    assert_holds(backbone, before)


def test_only_classification_files_may_lack_output_norms(tmp_path):
    state = {n: t for n, t in dense_state().items() if not n.startswith("backbone.norm")}
    path = save_official_dense(tmp_path / "x.pth", state)
    with pytest.raises(UserError, match=r"missing \(20\)"):
        load_pretrained(CASViT(TINY), path)


def test_long_lists_are_cut(tmp_path):
    path = save_official_classification(tmp_path / "x.pth", model=classifier_state("s"))
    with pytest.raises(UserError) as caught:
        load_pretrained(CASViT("m"), path)
    message = str(caught.value)
    assert "seems to hold s, the model has m" in message
    assert re.search(r"of another shape \(\d+\): .* and \d+ more$", message)
    assert len(message) < 2000


@pytest.mark.parametrize(
    "content",
    [{}, {"state_dict": {}}, {"epoch": 1, "weights": "x"}, {"model": {"a": torch.ones(1), "b": 2}}],
    ids=["empty", "empty table", "no table", "number among tensors"],
)
def test_files_without_weights_are_refused(content, tmp_path):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no weights"):
        load_pretrained(CASViT(TINY), tmp_path / "x.pth")


def test_two_names_for_one_tensor_are_refused(tmp_path):
    classifier = classifier_state()
    names = port_names(list(classifier))
    state = {names[n]: t for n, t in classifier.items()}
    state["backbone.stages.0.0.local_perception.network.4.weight"] = torch.ones(8, 8, 1, 1)
    torch.save({"state_dict": state}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="mixes two formats"):
        load_pretrained(CASViT(TINY), tmp_path / "x.pth")


def test_the_initialiser_loads_and_is_noted(tmp_path):
    state = classifier_state()
    path = save_official_classification(tmp_path / "x.pth", model=state)
    backbone = CASViT(TINY, init_cfg={"type": "CASViTWeights", "checkpoint": str(path)})
    backbone.init_weights()
    assert_holds(backbone, trunk(state))


def test_the_initialiser_fails_loudly(tmp_path):
    init_cfg = {"type": "CASViTWeights", "checkpoint": str(tmp_path / "absent.pth")}
    with pytest.raises(UserError, match=r"absent\.pth does not exist"):
        CASViT(TINY, init_cfg=init_cfg).init_weights()


class Detector(nn.Module):
    """As much of a detector as its tensor names need."""

    def __init__(self, out_indices: tuple[int, ...]) -> None:
        super().__init__()
        self.backbone = CASViT(TINY, out_indices=out_indices)
        self.neck = nn.Module()
        laterals = [nn.Conv2d(c, 6, 1, bias=False) for c in self.backbone.out_channels]
        self.neck.lateral_convs = nn.ModuleList(nn.ModuleDict({"conv": c}) for c in laterals)
        self.bbox_head = nn.Module()
        self.bbox_head.retina_cls = nn.Conv2d(6, 9, 3, bias=False)


def test_a_whole_model_loads_but_for_norms_its_neck_does_not_read(tmp_path):
    state = dense_state((1, 2, 3))
    path = save_official_dense(tmp_path / "x.pth", state)
    model = Detector((1, 2, 3))
    report = load_model(model, path)
    assert_holds(model, {n: t for n, t in state.items() if not n.startswith("backbone.norm0.")})
    assert report.matched == len(model.state_dict())
    assert [len(names) for names in report.left_out.values()] == [5]


@pytest.mark.parametrize(
    ("out_indices", "extra", "message"),
    [
        ((0, 1, 2, 3), None, r"missing \(1\): neck\.lateral_convs\.3"),
        ((1, 2, 3), "mask_head.x", r"unexpected \(1\): mask_head\.x"),
        ((1, 2), None, r"unexpected .*backbone\.network\.5"),
    ],
)
def test_a_whole_model_must_fit(out_indices, extra, message, tmp_path):
    state = dense_state((1, 2, 3)) | ({extra: torch.ones(1)} if extra else {})
    path = save_official_dense(tmp_path / "x.pth", state)
    with pytest.raises(UserError, match=message):
        load_model(Detector(out_indices), path)


def test_a_classifier_is_no_whole_model(tmp_path):
    path = save_official_classification(tmp_path / "x.pth", model=classifier_state())
    with pytest.raises(UserError, match="holds a classification"):
        load_model(Detector((1, 2, 3)), path)


def test_names_must_be_text(tmp_path):
    torch.save({"state_dict": {5: ONE}}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="there is no tensor under 5"):
        load_pretrained(CASViT(TINY), tmp_path / "x.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value, tmp_path):
    state = backbone_state()
    name = next(iter(state))
    state[name] = torch.full_like(state[name], value)
    torch.save(state, tmp_path / "broken.pth")
    backbone = CASViT(TINY)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    with pytest.raises(UserError, match=f"not finite.*{re.escape(name)}".replace(".*", "(?s:.*)")):
        load_pretrained(backbone, tmp_path / "broken.pth")
    assert_holds(backbone, before)
