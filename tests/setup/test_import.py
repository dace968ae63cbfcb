"""What ``import casvit_dense`` does in a fresh process, before or after mmengine's import."""

import subprocess
import sys

import pytest

REGISTERED = """
from mmengine.registry import MODELS, WEIGHT_INITIALIZERS
assert type(MODELS.build(dict(type="CASViT", arch="xs"))).__module__ == "casvit_dense.casvit"
assert "FoldedCASViT" in MODELS and "CASViTWeights" in WEIGHT_INITIALIZERS
from mmengine.config.utils import MODULE2PACKAGE
assert "casvit_dense" in MODULE2PACKAGE
# mmengine keeps its own loader, which finds the resources of a package.
import mmengine
from importlib import resources
assert (resources.files("mmengine") / "__init__.py").is_file()
assert type(mmengine.__spec__.loader).__name__ == "SourceFileLoader"
from casvit_dense import *  # names that load on first use
CASViT("xs")
"""
OTHERS = ("mmcv", "mmdet", "mmseg", "safetensors")  # torch and mmengine are enough


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_alone_loads_nothing_heavy() -> None:
    run(
        "import sys, casvit_dense\n"
        "assert 'CASViT' in dir(casvit_dense)\n"
        "assert not {'torch', 'mmengine', 'numpy'} & set(sys.modules)"
    )


@pytest.mark.parametrize(
    "imports",
    [
        f"import sys; sys.modules.update(dict.fromkeys({OTHERS})); import casvit_dense",
        pytest.param("import mmengine; import casvit_dense", marks=pytest.mark.slow),
        pytest.param("from casvit_dense import load_pretrained", marks=pytest.mark.slow),
        pytest.param("import casvit_dense.casvit", marks=pytest.mark.slow),
        pytest.param("import casvit_dense.engine", marks=pytest.mark.slow),
    ],
)
def test_registry_and_hub_know_the_package(imports: str) -> None:
    run(imports + REGISTERED)


def test_unknown_names_are_attribute_errors() -> None:
    import casvit_dense

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = casvit_dense.nothing
