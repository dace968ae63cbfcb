"""The backbone: totals, shapes, gradients, freezing, and the ways to carry it about."""

import copy
import pickle

import pytest
import torch
from torch import nn

from casvit_dense import CASViT
from casvit_dense.casvit import ARCHS, DropPath

TINY = {"depths": [1, 1, 2, 1], "dims": [8, 12, 16, 24]}


def batch_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


# Totals of the official code (four output norms), counted there.
@pytest.mark.parametrize(
    ("arch", "total"), [("xs", 2_759_132), ("s", 5_250_704), ("m", 11_652_224), ("t", 20_738_080)]
)
def test_parameters_equal_the_official_totals(arch: str, total: int) -> None:
    assert sum(p.numel() for p in CASViT(arch).parameters()) == total


@pytest.mark.parametrize(
    ("arch", "size"),
    [("xs", (32, 32)), ("xs", (61, 40)), *[(arch, (33, 65)) for arch in ARCHS]],
)
def test_maps_have_the_promised_shapes(arch: str, size: tuple[int, int]) -> None:
    model = CASViT(arch).eval()
    with torch.no_grad():
        maps = model(torch.randn(2, 3, *size))
    assert model.out_strides == (4, 8, 16, 32)
    assert model.out_channels == ARCHS[arch]["dims"]
    expected = [
        (2, c, -(-size[0] // s), -(-size[1] // s))
        for c, s in zip(model.out_channels, model.out_strides, strict=True)
    ]
    assert [tuple(m.shape) for m in maps] == expected


@pytest.mark.parametrize("indices", [(0,), (1, 2), (1, 2, 3), (3,)])
def test_chosen_stages_equal_those_of_the_whole_network(indices: tuple[int, ...]) -> None:
    whole, part = CASViT(TINY).eval(), CASViT(TINY, out_indices=indices).eval()
    part.load_state_dict({k: v for k, v in whole.state_dict().items() if k in part.state_dict()})
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = [whole(x)[i] for i in indices]
        for ours, theirs in zip(part(x), expected, strict=True):
            torch.testing.assert_close(ours, theirs)
    assert part.out_channels == tuple(whole.out_channels[i] for i in indices)


@pytest.mark.parametrize("indices", [(0, 1, 2, 3), (1, 2, 3), (0, 2)])
@pytest.mark.parametrize("norm_eval", [True, False])
def test_every_parameter_gets_a_gradient(indices: tuple[int, ...], norm_eval: bool) -> None:
    model = CASViT(TINY, out_indices=indices, norm_eval=norm_eval).train()
    sum(y.square().mean() for y in model(torch.randn(2, 3, 64, 64))).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == []


def test_norm_eval_leaves_statistics_and_trains_scale() -> None:
    model = CASViT(TINY, norm_eval=True).train()
    assert not any(bn.training for bn in batch_norms(model))
    before = [bn.running_mean.clone() for bn in batch_norms(model)]
    model(torch.randn(2, 3, 64, 64))
    assert all(
        torch.equal(a, bn.running_mean) for a, bn in zip(before, batch_norms(model), strict=True)
    )
    assert all(bn.weight.requires_grad for bn in batch_norms(model))


def test_norm_eval_holds_for_synchronised_norms() -> None:
    model = nn.SyncBatchNorm.convert_sync_batchnorm(CASViT(TINY)).train()
    norms = [m for m in model.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms)


def test_norm_training_moves_statistics() -> None:
    model = CASViT(TINY, norm_eval=False).train()
    assert all(bn.training for bn in batch_norms(model))
    model(torch.randn(2, 3, 64, 64))
    assert all(bn.num_batches_tracked == 1 for bn in batch_norms(model))


def test_train_returns_the_model_and_eval_undoes_it() -> None:
    model = CASViT(TINY)
    assert model.train() is model
    assert not any(m.training for m in model.eval().modules())


@pytest.mark.parametrize(
    ("frozen", "prefixes"),
    [
        (-1, ()),
        (0, ("patch_embed",)),
        (1, ("patch_embed", "network.0.", "norm0")),
        (2, ("patch_embed", "network.0.", "network.1.", "network.2.", "norm0", "norm2")),
        (4, ("",)),
    ],
)
def test_frozen_stages(frozen: int, prefixes: tuple[str, ...]) -> None:
    model = CASViT(TINY, frozen_stages=frozen, norm_eval=False).train()
    fixed = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert fixed == {n for n, _ in model.named_parameters() if n.startswith(prefixes)}
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.training == (not name.startswith(prefixes)), name


@pytest.mark.parametrize("norm_eval", [True, False])
def test_checkpointing_gives_the_same_gradients(norm_eval: bool) -> None:
    plain = CASViT(TINY, norm_eval=norm_eval, drop_path_rate=0.5).train()
    saving = CASViT(TINY, norm_eval=norm_eval, drop_path_rate=0.5, with_cp=True).train()
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for model in (plain, saving):
        torch.manual_seed(1)
        sum(y.square().mean() for y in model(x)).backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=lambda m, name=name: f"{name}: {m}")


def test_checkpointing_saves_activations() -> None:
    def saved_bytes(with_cp: bool) -> int:
        total = 0

        def count(t: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += t.numel() * t.element_size()
            return t

        with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
            CASViT(TINY, with_cp=with_cp).train()(torch.randn(1, 3, 64, 64))
        return total

    assert saved_bytes(True) < 0.5 * saved_bytes(False)


def test_drop_path_rises_linearly_over_all_blocks() -> None:
    rates = [
        m.drop_prob for m in CASViT(TINY, drop_path_rate=0.4).modules() if isinstance(m, DropPath)
    ]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    y = DropPath(0.25).train()(torch.ones(20_000, 1, 2, 2))
    kept = y[:, 0, 0, 0] > 0
    assert torch.equal(y, kept[:, None, None, None] * torch.full_like(y, 1 / 0.75))
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (1, 1)])
def test_small_images_are_refused_with_their_size(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]} pixels.*32 or more"):
        CASViT(TINY)(torch.randn(1, 3, *size))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arch": "b"}, "unknown arch 'b'; choose from xs, s, m, t"),
        ({"arch": {"depths": [1, 1], "dims": [8, 8]}}, "4 depths and 4 dims"),
        ({"arch": {"depths": [1] * 4}}, "4 depths and 4 dims"),
        ({"out_indices": ()}, "rising stages out of 0..3"),
        ({"out_indices": (0, 4)}, "rising stages out of 0..3"),
        ({"out_indices": (2, 1)}, "rising stages out of 0..3"),
        ({"frozen_stages": 5}, "expected -1 to 4"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CASViT(**arguments)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="style"):
        CASViT("xs", style="pytorch")


def test_trace_export_deepcopy_and_pickle_give_the_same_maps() -> None:
    model = CASViT(TINY, out_indices=(0, 1)).eval()  # of four stages, tracing takes twice as long
    x, larger = torch.randn(1, 3, 64, 96), torch.randn(1, 3, 128, 64)
    height, width = torch.export.Dim("height", min=33), torch.export.Dim("width", min=33)
    forms = {
        "trace": torch.jit.trace(model, x),
        "export": torch.export.export(
            model, (x,), dynamic_shapes=({2: height, 3: width},)
        ).module(),
        "deepcopy": copy.deepcopy(model),
        "pickle": pickle.loads(pickle.dumps(model)),
    }
    for name, form in forms.items():
        for image in (x, larger):
            with torch.no_grad():
                pairs = zip(form(image), model(image), strict=True)
                for ours, theirs in pairs:
                    torch.testing.assert_close(ours, theirs, msg=lambda m, n=name: f"{n}: {m}")


def test_calls_leave_no_state_behind() -> None:
    model = CASViT(TINY, drop_path_rate=0.1).eval()
    before = copy.deepcopy(model.state_dict())
    attributes = dict(vars(model))
    with torch.no_grad():
        first = model(torch.ones(1, 3, 64, 64))
        model(torch.ones(1, 3, 40, 96))
        again = model(torch.ones(1, 3, 64, 64))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert vars(model) == attributes


def test_registered_in_the_root_registry_of_mmengine() -> None:
    from mmengine.registry import MODELS

    assert isinstance(MODELS.build({"type": "CASViT", "arch": TINY}), CASViT)


@pytest.mark.cuda
@pytest.mark.parametrize("arch", ARCHS)
def test_gpu_equals_cpu(arch: str) -> None:
    model = CASViT(arch).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
        for ours, theirs in zip(model.cuda()(x.cuda()), expected, strict=True):
            torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-3, atol=1e-3)
