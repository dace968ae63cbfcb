"""Our classifiers by mmpretrain's own ``get_model``: ``import casvit_dense.mmpretrain`` adds them.

mmpretrain knows the models of its own index alone and looks for no others, so that one line has to
say that there are ours. Importing this adds their names to the index, and has mmpretrain load
their files as `casvit_dense.get_model` does: read safely, any known format, strictly. Its own way
skips, with a warning, whatever has another name. Of mmpretrain's own models nothing changes.
"""

import os
from functools import wraps
from typing import Any

import mmengine.runner
from mmengine.config import Config

from casvit_dense.classification.model import CASViTClassifier
from casvit_dense.classification.weights import PORT_WORDS, load_classifier
from casvit_dense.extras import require

_load_of_mmengine = mmengine.runner.load_checkpoint


@wraps(_load_of_mmengine)
def _load_checkpoint(
    model: Any, filename: str | os.PathLike[str], *args: Any, **options: Any
) -> dict[str, Any]:
    """Loads a file into one of our classifiers strictly, into any other model as mmengine does.

    Raises:
        UserError: the file cannot be read safely, or does not fit our classifier.
    """
    if not isinstance(model, CASViTClassifier):
        return _load_of_mmengine(model, filename, *args, **options)
    weights = load_classifier(model, filename)
    return {"state_dict": weights.state, "meta": dict(weights.meta)}


def _register() -> None:
    """Adds our names, and the loader wherever mmpretrain takes mmengine's."""
    hub: Any = require("mmpretrain.apis.model", "mmpretrain").ModelHub
    index: Any = require("modelindex.models.Model", "mmpretrain")
    for arch, word in PORT_WORDS.items():
        config = Config(dict(model=dict(type=f"mmengine.{CASViTClassifier.__name__}", arch=arch)))
        file = f"pretrained/casvit-{arch}_in1k.pth"  # of pretrained=True
        for name in (f"casvit-{arch}", f"casvit-{arch}_8xb256_in1k", f"casvit-{word}_8xb256_in1k"):
            hub._models_dict[name] = index.Model(name=name, config=config, weights=file)
    for module in (mmengine.runner, require("mmpretrain.apis.base", "mmpretrain")):
        module.load_checkpoint = _load_checkpoint


_register()
