"""Networks with random weights, the same in every process, and their training step."""

import gc
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from casvit_dense.backbones.names import SPELLINGS, backbone_config
from casvit_dense.benchmark.cases import PLAIN, BenchmarkCase, variants
from casvit_dense.casvit import CASViT, DropPath
from casvit_dense.counts import dense_head
from casvit_dense.errors import UserError

SEED = 0


def build(case: BenchmarkCase) -> nn.Module:
    """The reference form of a case's network on the CPU in fp32, eval mode.

    Weights are random with a fixed seed; statistics and affine parameters of BatchNorm too, so
    that folding them is real work. Detectors keep detections of any score: their number, and with
    it the work behind the heads, then does not depend on the weights.

    Raises:
        UserError: no such backbone, or the config cannot be read.
    """
    check_model(case.model)
    torch.manual_seed(SEED)
    if case.model.endswith(".py"):
        network = _build_configured(case)
    elif ":" in case.model:
        network = _build_named(case)
    else:
        network = CASViT(case.model.removeprefix(PLAIN))
    randomise_norms(network)
    network.eval()  # not chained: of some peers this returns nothing
    return network


def check_model(model: str) -> None:
    """Raises a `UserError` if there is no such backbone or config file."""
    if model.endswith(".py"):
        if not Path(model).is_file():
            raise UserError(f"no config file {model}")
    elif ":" in model:
        backbone = backbone_config(model)
        if backbone["type"] == "TimmBackbone":
            from casvit_dense.backbones.timm_backbone import create

            with torch.device("meta"):
                create(backbone["name"])
    elif model not in variants():
        names = ", ".join(variants())
        raise UserError(f"no model {model!r}: give {names}, {SPELLINGS}, or a config file (.py)")


def check_configs(models: Iterable[str]) -> None:
    """Reads the configs among the models: a `UserError` about one is no failed measurement."""
    from casvit_dense.config.resolve import resolve
    from casvit_dense.options import RunOptions

    for model in models:
        if model.endswith(".py"):
            resolve(model, RunOptions())


def _build_named(case: BenchmarkCase) -> nn.Module:
    """A backbone by its name; one that takes images of a single size is made for the case's."""
    from casvit_dense.backbones.timm_backbone import SizeError, TimmBackbone
    from casvit_dense.config.backbone import own_network

    backbone = backbone_config(case.model)
    if backbone["type"] != "TimmBackbone":
        return own_network(backbone)
    try:
        return TimmBackbone(backbone["name"])
    except SizeError:
        return TimmBackbone(backbone["name"], img_size=case.size)


def _build_configured(case: BenchmarkCase) -> nn.Module:
    from mmengine.model import revert_sync_batchnorm

    from casvit_dense.config.read import register_scope
    from casvit_dense.config.resolve import resolve
    from casvit_dense.options import RunOptions

    cfg = resolve(case.model, RunOptions()).config
    models = import_module(f"{register_scope(cfg)}.registry").MODELS
    with warnings.catch_warnings():
        # Heads warn about their losses, which are not used here.
        warnings.simplefilter("ignore", UserWarning)
        if case.part == "backbone":
            return revert_sync_batchnorm(models.build(cfg.model.backbone))
        for test_cfg in (cfg.model.test_cfg, cfg.model.test_cfg.get("rcnn", {})):
            if "score_thr" in test_cfg:
                test_cfg.score_thr = 0.0
        return revert_sync_batchnorm(models.build(cfg.model))


def randomise_norms(network: nn.Module) -> None:
    """Gives every BatchNorm statistics and affine parameters around those it begins with."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                for mean in (module.running_mean, module.bias):
                    if mean is not None:
                        mean.normal_(0.0, 0.1)
                for scale in (module.running_var, module.weight):
                    if scale is not None:
                        scale.uniform_(0.5, 1.5)


def freeze_norms(backbone: nn.Module) -> nn.Module:
    """Training mode by the dense recipe: statistics of BatchNorm frozen, nothing dropped."""
    backbone.train()
    for module in backbone.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
    return backbone


def example(case: BenchmarkCase, device: str = "cpu") -> Tensor:
    """The input ``(batch, 3, height, width)``: fp32, contiguous, standard normal, fixed seed."""
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(case.batch, 3, *case.size, generator=generator).to(device)


class WholeModel(nn.Module):
    """An mmdet or mmseg model as a function from normalised images to predictions."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        """Predictions for images ``(N, 3, H, W)``, post-processing included."""
        return self.model.predict(images, data_samples(self.model, images))

    def maps(self, images: Tensor) -> list[Tensor]:
        """Outputs of the dense head, before detections are selected."""
        features = self.model.extract_feat(images)
        return flatten(dense_head(self.model)(features))


def data_samples(model: nn.Module, images: Tensor) -> list[Any]:
    """One record for each image that says that it was neither resized nor padded."""
    names = ("ori_shape", "img_shape", "pad_shape", "batch_input_shape")
    meta: dict[str, Any] = dict.fromkeys(names, tuple(images.shape[-2:]))
    meta |= {"scale_factor": (1.0, 1.0), "padding_size": [0, 0, 0, 0]}
    if hasattr(model, "decode_head"):
        from mmseg.structures import SegDataSample as DataSample
    else:
        from mmdet.structures import DetDataSample as DataSample
    return [DataSample(metainfo=meta) for _ in images]


def flatten(outputs: Tensor | Sequence[Any]) -> list[Tensor]:
    """The tensors of nested outputs, in order."""
    if isinstance(outputs, Tensor):
        return [outputs]
    return [tensor for part in outputs for tensor in flatten(part)]


def results_of(samples: Sequence[Any]) -> list[Tensor]:
    """What predictions are compared by: the scores of all detections, falling, or of all pixels."""
    return [
        sample.seg_logits.data
        if "seg_logits" in sample
        else sample.pred_instances.scores.sort(descending=True).values
        for sample in samples
    ]


Context = Callable[[], AbstractContextManager[Any]]


class TrainingStep:
    """One forward and one backward pass, gradients of all parameters.

    Args:
        module: the backbone in the form that is measured.
        parameters: those whose gradients count, by name; they may belong to another module that
            ``module`` reads its weights from.
        images: input ``(N, 3, H, W)``.
        context: made around the forward pass, e.g. autocast.
        convert: what the images go through first, e.g. a cast; part of the step.
    """

    def __init__(
        self,
        module: nn.Module,
        parameters: dict[str, nn.Parameter],
        images: Tensor,
        context: Context = nullcontext,
        convert: Callable[[Tensor], Tensor] = lambda images: images,
    ) -> None:
        self.module = module
        self.parameters = parameters
        self.images = images
        self.context = context
        self.convert = convert
        # The gradients that a neck would send: one fixed random direction for every output, in
        # the layout that the output has, as autograd would deliver them.
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            outs = self.forward()
        self.gradients = [
            torch.empty_like(out).copy_(torch.randn(out.shape, generator=generator)) for out in outs
        ]

    def forward(self) -> Sequence[Tensor]:
        """The maps of the images."""
        with self.context():
            return self.module(self.convert(self.images))

    def __call__(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None
        torch.autograd.backward(self.forward(), self.gradients)

    def outputs(self) -> list[Tensor]:
        """Gradients of one step, in the order of the parameters' names."""
        self()
        return gradients_of(self.parameters)

    def exact_outputs(self) -> list[Tensor]:
        """The same in double precision: in single, a ReLU near zero flips by rounding alone.

        Image by image, since all at once would need many times the memory of the step. With
        frozen BatchNorm the images do not depend on each other, so their gradients add up.
        """
        exact = deepcopy(self.module).double()
        for i in range(len(self.images)):
            outs = exact(self.images[i : i + 1].double())
            torch.autograd.backward(outs, [g[i : i + 1].double() for g in self.gradients])
        return gradients_of(learned(exact))


def learned(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that get a gradient, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def gradients_of(parameters: dict[str, nn.Parameter]) -> list[Tensor]:
    """Gradients in fp32 on the CPU, in the order of the names.

    A parameter may have none: it lies outside of what is trained, as a peer's frozen stem does.
    """
    grads = {name: parameter.grad for name, parameter in parameters.items()}
    return [g.detach().float().cpu() for _, g in sorted(grads.items()) if g is not None]


class _Storages(TorchDispatchMode):
    """Notes every storage that an operator makes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[StorageWeakRef, int]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self.found.append((StorageWeakRef(storage), storage.nbytes()))
        return out


def saved_bytes(forward: Callable[[], Sequence[Tensor]]) -> int:
    """Bytes that live because of the graph of a forward pass.

    Whatever keeps them: storages that were made during ``forward`` and that are still there when
    only the graph behind its outputs is held. Each counts once; what lived before does not count.
    """
    with _Storages() as storages:
        graph = [out.grad_fn for out in forward()]  # the outputs themselves are let go
    gc.collect()
    alive = {ref.cdata: size for ref, size in storages.found if not ref.expired()}
    del graph
    return sum(alive.values())
