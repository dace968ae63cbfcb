"""Configs inherit from the installed package, in place and from a wheel in another environment."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hub import get_config, get_model

ROOT = Path(__file__).parents[2]
STEMS = [
    "retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco",
    "mask_rcnn/mask-rcnn_casvit-t_fpn_8xb4-1x_coco",
    "sem_fpn/fpn_casvit-s_8xb4-40k_ade20k-512x512",
    "peers/fpn_swin-t_8xb4-40k_ade20k-512x512",
    "demo/retinanet_casvit-mini_fpn_shapes",  # in no metafile
]


@pytest.mark.parametrize("stem", STEMS)
def test_inheriting_changes_nothing(stem: str, tmp_path: Path) -> None:
    """Registries of a package ``casvit_dense`` would be looked for, if its name became a scope."""
    derived = tmp_path / "derived.py"
    derived.write_text(f'_base_ = "casvit_dense::{stem}.py"\n')
    base = Config.fromfile(ROOT / "configs" / f"{stem}.py")
    assert Config.fromfile(derived).to_dict() == base.to_dict()
    assert get_config(f"casvit_dense::{stem}.py").to_dict() == base.to_dict()


def test_other_packages_keep_their_scope(tmp_path: Path) -> None:
    derived = tmp_path / "derived.py"
    derived.write_text('_base_ = "mmdet::_base_/models/retinanet_r50_fpn.py"\n')
    assert Config.fromfile(derived).model["_scope_"] == "mmdet"


@pytest.mark.parametrize("stem", [STEMS[0], STEMS[2]])
def test_the_hub_builds_models(stem: str) -> None:
    model = get_model(f"casvit_dense::{stem}.py")
    framework = {"retinanet": "mmdet", "sem_fpn": "mmseg"}[stem.split("/")[0]]
    assert type(model).__module__.startswith(f"{framework}.models.")
    assert type(model.backbone).__name__ == "CASViT"


SCRIPT = """
import sys
from pathlib import Path

import casvit_dense
from casvit_dense.benchmark.cases import suite
from mmengine.config import Config
from mmengine.hub import get_model

package = Path(casvit_dense.__file__).parent
assert package.is_relative_to(sys.prefix), package
cfg = Config.fromfile("derived.py")
assert cfg.train_cfg.max_epochs == 1 and cfg.model.bbox_head.num_classes == 7
model = get_model("casvit_dense::retinanet/retinanet_casvit-xs_fpn_8xb4-1x_coco.py")
counts = [Path(case.model) for case in suite("cpu") if case.mode == "count"]
assert all(path.is_relative_to(package / ".mim") and path.is_file() for path in counts)
print(len(counts), f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = pytest.importorskip("hatchling.build")
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return folder / build.build_wheel(str(folder))


def pip(*args: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *args], check=True
    )


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment with the wheel, and all that this one has but the package itself."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip("--python", str(python), "install", "--no-deps", str(wheel))
    (packages,) = folder.glob("lib/python*/site-packages")
    # Files *.pth in the folders named here, an editable install's among them, have no effect.
    others = [path for path in sys.path if path.endswith("-packages")]
    (packages / "others.pth").write_text("\n".join(others) + "\n")
    return python


def test_the_wheel_carries_configs_and_metafiles(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    carried = {name for name in names if name.startswith("casvit_dense/.mim/")}
    here = [path for path in (ROOT / "configs").rglob("*") if path.suffix in (".py", ".yml")]
    assert carried == {
        f"casvit_dense/.mim/{path.relative_to(ROOT)}" for path in [*here, ROOT / "model-index.yml"]
    }


@pytest.mark.slow
def test_a_wheel_in_another_environment(python: Path, tmp_path: Path) -> None:
    (tmp_path / "derived.py").write_text(
        f'_base_ = "casvit_dense::{STEMS[0]}.py"\n'
        "train_cfg = dict(max_epochs=1)\n"
        "model = dict(bbox_head=dict(num_classes=7))\n"
    )

    # The environment's own package, not the one that PYTHONPATH may name.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # 12 recipes and 39 of peers; docs/results.md has the parameters.
    assert run(str(python), "-c", SCRIPT).splitlines()[-1] == "51 12.19 M"
    assert "benchmark" in run(str(python.with_name("casvit-dense")), "--help")
