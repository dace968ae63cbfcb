"""Image classifiers: a backbone, global average pooling, and one or two linear heads.

Reference code: https://github.com/Tianfang-Zhang/CAS-ViT, commit 041d2d6, MIT licence
(``classification/model/rcvit.py``). Rewritten around the dense backbone; the final norm is the
output norm of its last stage.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from casvit_dense.casvit import CASViT
from casvit_dense.checkpoint.formats import read_weights
from casvit_dense.checkpoint.loading import LoadReport, load_strictly
from casvit_dense.classification.files import heads_in, read_classifier, size_for
from casvit_dense.classification.pixels import normalised, read_rgb


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A backbone's last feature map, averaged over its pixels, and linear heads.

    Args:
        backbone: config of a backbone, or a module; its last map is read.
        num_classes: outputs of each head.
        in_channels: of the last map; None: as the backbone's ``out_channels`` say.
        heads: 1, or 2 as in the published files, where the second one learned from a teacher. The
            released training script builds one.
        label_smoothing: share of the target that is spread over all classes.
        data_preprocessor: see mmengine.
        init_cfg: see mmengine.

    Attributes:
        image_size: side of the squares that `transform` cuts, in pixels; 224, or as a loaded file
            says.
    """

    image_size = 224

    def __init__(
        self,
        backbone: Any,
        num_classes: int = 1000,
        in_channels: int | None = None,
        heads: int = 1,
        label_smoothing: float = 0.0,
        data_preprocessor: Mapping[str, Any] | None = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        built: Any = backbone if isinstance(backbone, nn.Module) else MODELS.build(dict(backbone))
        self.backbone = built
        features = built.out_channels[-1] if in_channels is None else in_channels
        self.num_classes, self.label_smoothing = num_classes, label_smoothing
        self.head = nn.Linear(features, num_classes)
        self.dist_head: nn.Linear | None = None
        self.set_heads(heads)

    def set_heads(self, count: int) -> None:
        """Gives it one head or two."""
        self.dist_head = nn.Linear(self.head.in_features, self.num_classes) if count == 2 else None

    def load_file(self, path: str | os.PathLike[str], ema: bool = False) -> LoadReport:
        """Loads a classification file of any known format, strictly, with as many heads as it has.

        Raises:
            UserError: it cannot be read safely, holds no classifier or does not fit.
        """
        if isinstance(self.backbone, CASViT):
            weights = read_classifier(path, ema)
            self.set_heads(heads_in(weights))
            self.image_size = size_for(weights)
        else:
            weights = read_weights(path, ema, casvit=False)
        return load_strictly(self, weights, leave_out=lambda name: None)

    def transform(self, image: Image.Image | str | os.PathLike[str]) -> Tensor:
        """An image as the model takes it, by the official protocol of ImageNet.

        Below 384 pixels the centre of the image whose short side is 8/7 of ``image_size``, from 384
        on the whole image warped to the square; bicubic, in RGB, normalised.

        Args:
            image: PIL image of any mode, or an image file, which is turned as its EXIF data say.

        Returns:
            ``(3, image_size, image_size)``, float32; ``model(x[None])`` classifies it.

        Raises:
            UserError: the file is no image, or cannot be read.
        """
        given = image.convert("RGB") if isinstance(image, Image.Image) else read_rgb(image, True)
        return normalised(given, self.image_size)

    def extract_feat(self, x: Tensor) -> Tensor:
        """Images ``(N, 3, H, W)`` to the features ``(N, C)`` that the heads read."""
        return self.backbone(x)[-1].mean((2, 3))

    def logits(self, x: Tensor) -> list[Tensor]:
        """Images ``(N, 3, H, W)`` to the logits ``(N, num_classes)`` of each head."""
        features = self.extract_feat(x)
        heads = [self.head, *([] if self.dist_head is None else [self.dist_head])]
        return [head(features) for head in heads]

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[BaseDataElement] | None = None,
        mode: str = "tensor",
    ) -> Any:
        """As mmengine's models: logits, losses, or samples with predictions.

        Args:
            inputs: images ``(N, 3, H, W)``, normalised.
            data_samples: with ``gt_label``.
            mode: ``'tensor'``: logits ``(N, num_classes)``, the mean of two heads, or both of them
                in training; ``'loss'``: cross-entropy and the training batch's accuracy;
                ``'predict'``: the samples with ``scores`` ``(num_classes,)``.
        """
        logits = self.logits(inputs)
        if mode == "tensor":
            return tuple(logits) if self.training and len(logits) == 2 else mean_of(logits)
        assert data_samples is not None
        if mode == "predict":
            for sample, scores in zip(data_samples, mean_of(logits).softmax(1), strict=True):
                sample.scores = scores
            return data_samples
        labels = torch.tensor([sample.gt_label for sample in data_samples], device=inputs.device)
        losses = [F.cross_entropy(x, labels, label_smoothing=self.label_smoothing) for x in logits]
        right = (mean_of(logits).argmax(1) == labels).float().mean()
        return {"loss_ce": mean_of(losses), "accuracy": 100 * right}


def mean_of(values: Sequence[Tensor]) -> Tensor:
    """The mean of one or two tensors; a single one as it is."""
    return values[0] if len(values) == 1 else (values[0] + values[1]) / 2


@MODELS.register_module()
class CASViTClassifier(ImageClassifier):
    """CAS-ViT as an ImageNet classifier.

    Args:
        arch: variant, as for ``CASViT``.
        num_classes: outputs of each head.
        drop_path_rate: stochastic depth, as for ``CASViT``.
        heads: 1 or 2.
        data_preprocessor: see mmengine.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Sequence[int]] = "xs",
        num_classes: int = 1000,
        drop_path_rate: float = 0.0,
        heads: int = 2,
        data_preprocessor: Mapping[str, Any] | None = None,
    ) -> None:
        backbone = CASViT(arch, out_indices=(3,), drop_path_rate=drop_path_rate, norm_eval=False)
        super().__init__(backbone, num_classes, heads=heads, data_preprocessor=data_preprocessor)
