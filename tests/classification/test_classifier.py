"""The official classifier: size, arithmetic, loading of official files."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from weight_files import (
    CLASSES,
    TINY,
    backbone_state,
    classifier_state,
    port_names,
    save_official_classification,
)

from casvit_dense import CASViTClassifier, get_model, list_models
from casvit_dense.checkpoint import convert
from casvit_dense.classification.weights import variant_of
from casvit_dense.errors import UserError

TOTALS = {"xs": 3_200_700, "s": 5_764_224, "m": 12_421_520, "t": 21_763_120}


@pytest.mark.parametrize(("arch", "total"), TOTALS.items())
def test_parameters_of_the_published_classifiers(arch, total):
    with torch.device("meta"):
        model = CASViTClassifier(arch)
    assert sum(p.numel() for p in model.parameters()) == total


class Reference:
    """The classifier as plain functions over the official tensors."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def conv(self, x: Tensor, name: str, **options: int) -> Tensor:
        return F.conv2d(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"), **options)

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            self.state[f"{name}.{part}"].view(1, -1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def depthwise(self, x: Tensor, name: str) -> Tensor:
        return self.conv(x, name, padding=1, groups=x.shape[1])

    def gate(self, x: Tensor, name: str) -> Tensor:
        y = self.norm(self.depthwise(x, f"{name}.0.block.0"), f"{name}.0.block.1").relu()
        x = x * self.conv(y, f"{name}.0.block.3").sigmoid()
        return x * self.conv(x.mean((2, 3), keepdim=True), f"{name}.1.block.1").sigmoid()

    def block(self, x: Tensor, name: str) -> Tensor:
        local = f"{name}.local_perception.network"
        y = self.norm(self.conv(x, f"{local}.0"), f"{local}.1")
        x = x + self.conv(F.gelu(self.depthwise(y, f"{local}.2")), f"{local}.4")
        attn = f"{name}.attn"
        q, k, v = self.conv(self.norm(x, f"{name}.norm1"), f"{attn}.qkv").chunk(3, 1)
        y = self.gate(q, f"{attn}.oper_q") + self.gate(k, f"{attn}.oper_k")
        x = x + self.depthwise(self.depthwise(y, f"{attn}.dwc") * v, f"{attn}.proj")
        y = F.gelu(self.conv(self.norm(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
        return x + self.conv(y, f"{name}.mlp.fc2")

    def features(self, x: Tensor) -> Tensor:
        for conv, norm in ((0, 1), (3, 4)):
            x = self.conv(x, f"patch_embed.{conv}", stride=2, padding=1)
            x = self.norm(x, f"patch_embed.{norm}").relu()
        for i, depth in enumerate(TINY["depths"]):
            if i:
                x = self.conv(x, f"network.{2 * i - 1}.proj", stride=2, padding=1)
                x = self.norm(x, f"network.{2 * i - 1}.norm")
            for j in range(depth):
                x = self.block(x, f"network.{2 * i}.{j}")
        return self.norm(x, "norm").mean((2, 3))

    def head(self, features: Tensor, name: str) -> Tensor:
        return features @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]


@pytest.fixture
def official(tmp_path):
    state = classifier_state()
    return state, save_official_classification(tmp_path / "official.pth", model=state)


def test_an_official_file_gives_the_official_arithmetic(official):
    state, path = official
    model = CASViTClassifier(TINY, num_classes=CLASSES)
    report = model.load_file(path)
    model.eval()
    assert report.matched == len(state)
    assert not report.left_out
    assert not report.initialised
    images = torch.randn(2, 3, 65, 96)
    reference = Reference(state)
    features = reference.features(images)
    torch.testing.assert_close(model.extract_feat(images), features)
    heads = [reference.head(features, name) for name in ("head", "dist_head")]
    torch.testing.assert_close(model(images), torch.stack(heads).mean(0))
    for branch in model.modules():
        branch.training = branch is model  # the two heads, with every norm as in eval
    torch.testing.assert_close(model(images), tuple(heads))


@pytest.mark.parametrize("format", ["official", "ema", "port", "ours", "own state dict"])
def test_every_classification_format_loads_with_both_heads(format, tmp_path):
    state, path = classifier_state("xs"), tmp_path / "x.pth"
    if format == "port":
        names = port_names(list(state))
        torch.save({"state_dict": {names[n]: t for n, t in state.items()}}, path)
    elif format == "ours":
        official = save_official_classification(tmp_path / "official.pth", model=state)
        convert(official, path)
    elif format == "ema":
        save_official_classification(path, model=classifier_state("xs", 1), model_ema=state)
    else:
        save_official_classification(path, model=state)
    if format == "own state dict":
        torch.save(get_model("casvit-xs", path, num_classes=CLASSES).state_dict(), path)
    model = get_model("casvit-xs", path, num_classes=CLASSES, ema=format == "ema")
    own = model.state_dict()
    assert len(own) == len(state)
    for name, tensor in (
        ("backbone.patch_embed.0.weight", state["patch_embed.0.weight"]),
        ("backbone.norm6.running_var", state["norm.running_var"]),
        ("head.weight", state["head.weight"]),
        ("dist_head.bias", state["dist_head.bias"]),
    ):
        assert torch.equal(own[name], tensor)


def test_a_model_has_as_many_heads_as_its_file(official, tmp_path):
    """The published files have two; the released training script makes one."""
    state = {n: t for n, t in classifier_state("xs").items() if not n.startswith("dist_head.")}
    path = save_official_classification(tmp_path / "x.pth", model=state)
    model = get_model("casvit-xs", path, num_classes=CLASSES).eval()
    assert model.dist_head is None
    images = torch.randn(2, 3, 64, 64)
    expected = model.extract_feat(images) @ state["head.weight"].T + state["head.bias"]
    torch.testing.assert_close(model(images), expected)


def test_a_file_with_half_a_head_is_refused(tmp_path):
    state = {n: t for n, t in classifier_state("xs").items() if n != "dist_head.bias"}
    path = save_official_classification(tmp_path / "x.pth", model=state)
    with pytest.raises(UserError, match=r"missing \(1\): dist_head\.bias"):
        get_model("casvit-xs", path, num_classes=CLASSES)


def test_other_classes_keep_all_but_the_heads(tmp_path, caplog):
    state = classifier_state("xs")
    path = save_official_classification(tmp_path / "x.pth", model=state)
    model = get_model("casvit-xs", path, num_classes=CLASSES + 1)
    own = model.state_dict()
    assert torch.equal(own["backbone.norm6.bias"], state["norm.bias"])
    assert own["head.weight"].shape == own["dist_head.weight"].shape == (CLASSES + 1, 220)
    assert f"knows {CLASSES} classes, the model {CLASSES + 1}: all was loaded but" in caplog.text


def pixels_by_hand(image: Image.Image, size: int) -> np.ndarray:
    """What torchvision makes of an image of 200 x 100: Resize, CenterCrop, Normalize."""
    if size == 384:
        image = image.resize((384, 384), Image.Resampling.BICUBIC)
    else:  # the short side becomes 256, of 512 x 256 the centre is cut
        image = image.resize((512, 256), Image.Resampling.BICUBIC).crop((144, 16, 368, 240))
    pixels = np.asarray(image, np.float64) / 255
    return ((pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)


@pytest.mark.parametrize("size", [224, 384])
def test_images_are_prepared_as_the_weights_need(size, tmp_path):
    """By what the official file says, also once it is converted; and by what the caller says."""
    noise = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "x.png")
    official = save_official_classification(tmp_path / "x.pth", size, model=classifier_state("xs"))
    convert(official, tmp_path / "ours.safetensors")
    expected = torch.from_numpy(pixels_by_hand(Image.fromarray(noise), size)).float()
    for file in (official, tmp_path / "ours.safetensors"):
        model = get_model("casvit-xs", file, num_classes=CLASSES)
        torch.testing.assert_close(model.transform(tmp_path / "x.png"), expected)
    for image in (Image.fromarray(noise), Image.fromarray(noise).convert("RGBA")):
        torch.testing.assert_close(
            get_model("xs", image_size=size).transform(image), expected, msg=image.mode
        )


def test_images_of_no_size_are_refused(tmp_path):
    path = save_official_classification(tmp_path / "x.pth", 10**9, model=classifier_state("xs"))
    with pytest.raises(UserError, match="is for images of 1000000000 pixels"):
        get_model("casvit-xs", path, num_classes=CLASSES)


def test_a_backbone_is_no_classifier(tmp_path):
    torch.save(backbone_state(), tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no classifier"):
        get_model("casvit-xs", tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("casvit-xsmall_8xb256_in1k", "xs"),
        ("casvit-small_8xb256_in1k", "s"),
        ("casvit-middle_8xb256_in1k", "m"),
        ("casvit-tiny_8xb256_in1k", "t"),  # the largest
        ("casvit-t_8xb256_in1k", "t"),
        ("casvit_s", "s"),
        ("CAS-ViT-M", "m"),
        ("rcvit_xs", "xs"),
        *((f"casvit-{variant}", variant) for variant in TOTALS),
    ],
)
def test_names_of_everybody_are_understood(name, variant):
    assert variant_of(name) == variant


def test_models_are_listed():
    assert list_models() == [f"casvit-{variant}" for variant in TOTALS]


@pytest.mark.parametrize(
    ("name", "nearest"), [("casvit-smal", "casvit-s"), ("casvit-xsmal_8xb256_in1k", "xsmall")]
)
def test_unknown_names_are_refused_with_the_nearest(name, nearest):
    with pytest.raises(UserError, match=rf"unknown model '{name}'; did you mean \S*{nearest}"):
        get_model(name)
    with pytest.raises(UserError, match="choose from casvit-xs, casvit-s, casvit-m, casvit-t"):
        get_model("resnet50")
