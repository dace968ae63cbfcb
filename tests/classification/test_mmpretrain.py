"""Our names in mmpretrain's index; skipped where mmpretrain does not import."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from timm_models import timm_or_skip
from weight_files import CLASSES, classifier_state, port_names, save_official_classification

import casvit_dense
from casvit_dense.errors import UserError

TOTALS = {"xs": 3_200_700, "s": 5_764_224, "m": 12_421_520, "t": 21_763_120}


@pytest.fixture(scope="module")
def mmpretrain():
    timm_or_skip("torchvision")  # mmpretrain imports it when it builds its first model
    found = timm_or_skip("mmpretrain")
    import_module("casvit_dense.mmpretrain")
    return found


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "casvit-xs.pth"
    return save_official_classification(path, 384, model=classifier_state("xs"))


def test_names_of_three_kinds_give_our_models(mmpretrain):
    names = {
        "xs": ("casvit-xs", "casvit-xs_8xb256_in1k", "casvit-xsmall_8xb256_in1k"),
        "s": ("casvit-s", "casvit-s_8xb256_in1k", "casvit-small_8xb256_in1k"),
        "m": ("casvit-m", "casvit-m_8xb256_in1k", "casvit-middle_8xb256_in1k"),
        "t": ("casvit-t", "casvit-t_8xb256_in1k", "casvit-tiny_8xb256_in1k"),
    }
    assert mmpretrain.list_models("casvit") == sorted(sum(names.values(), ()))
    with torch.device("meta"):
        for arch, spellings in names.items():
            for name in spellings:
                model = mmpretrain.get_model(name)
                assert isinstance(model, casvit_dense.CASViTClassifier)
                assert sum(p.numel() for p in model.parameters()) == TOTALS[arch]


@pytest.mark.parametrize("kind", ["official", "port"])
def test_a_file_is_loaded_as_by_our_get_model(kind, mmpretrain, official, tmp_path):
    state, path = classifier_state("xs"), official
    if kind == "port":
        path, renamed = tmp_path / "x.pth", port_names(list(state))
        torch.save({"state_dict": {renamed[n]: t for n, t in state.items()}}, path)
    name = "casvit-xsmall_8xb256_in1k"
    model = mmpretrain.get_model(name, pretrained=str(path), num_classes=CLASSES)
    ours = casvit_dense.get_model(name, pretrained=path, num_classes=CLASSES).eval()
    assert not model.training
    assert model.image_size == ours.image_size == (384 if kind == "official" else 224)
    own, expected = model.state_dict(), ours.state_dict()
    assert own.keys() == expected.keys()
    assert all(torch.equal(own[n], tensor) for n, tensor in expected.items())
    assert torch.equal(own["head.weight"], state["head.weight"])


def test_files_that_do_not_fit_are_refused(mmpretrain, official, tmp_path, monkeypatch):
    """mmengine's own loader warns, runs what an unsafe file holds, and gives a random model."""
    state = {n: t for n, t in classifier_state("xs").items() if n != "norm.bias"}
    path = save_official_classification(tmp_path / "x.pth", model=state)
    with pytest.raises(UserError, match=r"missing \(1\): backbone\.norm6\.bias"):
        mmpretrain.get_model("casvit-xs", pretrained=str(path), num_classes=CLASSES)
    with pytest.raises(UserError, match="it seems to hold xs, the model has s"):
        mmpretrain.get_model("casvit-s", pretrained=str(official), num_classes=CLASSES)
    torch.save({"model": classifier_state("xs"), "run": Path("x")}, path)
    with pytest.raises(UserError, match=r"is refused: it needs the type pathlib\."):
        mmpretrain.get_model("casvit-xs", pretrained=str(path), num_classes=CLASSES)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"pretrained/casvit-xs_in1k\.pth does not exist"):
        mmpretrain.get_model("casvit-xs", pretrained=True)


def test_models_of_mmpretrain_load_as_before(mmpretrain, tmp_path):
    model = mmpretrain.get_model("resnet18_8xb16_cifar10")
    state = {n: t + 1 for n, t in model.state_dict().items() if n != "head.fc.bias"}
    torch.save({"state_dict": state}, tmp_path / "x.pth")
    loaded = mmpretrain.get_model("resnet18_8xb16_cifar10", pretrained=str(tmp_path / "x.pth"))
    assert torch.equal(loaded.state_dict()["backbone.conv1.weight"], state["backbone.conv1.weight"])
