"""Image decoders, times of the loading steps, and annotations that workers share."""

import json
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import cv2
import mmcv
import numpy as np
import pytest
from mmcv.image import io as mmcv_io
from mmdet.datasets import CocoDataset

from casvit_dense.benchmark import loading
from casvit_dense.benchmark.loading import build_dataset, measure_loading, worker_memory
from casvit_dense.config.machine import check_decoder
from casvit_dense.config.read import register_scope
from casvit_dense.config.resolve import resolve
from casvit_dense.config.tree import dicts_in
from casvit_dense.engine.check_data import check_data
from casvit_dense.engine.runner import pack_index
from casvit_dense.errors import UserError
from casvit_dense.options import RunOptions

CONFIGS = Path(__file__).parents[2] / "configs"
MASKS = CONFIGS / "demo/mask-rcnn_casvit-mini_fpn_shapes.py"
MAPS = CONFIGS / "demo/fpn_casvit-mini_shapes.py"

linux = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").is_file(), reason="memory of processes: Linux only"
)


class CvDecoder:
    """Stands in for PyTurboJPEG's class."""

    def decode(self, content: bytes, pixel_format: object) -> np.ndarray:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def broken() -> None:
    raise RuntimeError("PyTurboJPEG 2.0 requires\nlibjpeg-turbo 3.0")


@pytest.fixture
def turbojpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """mmcv with a decoder of that name."""
    monkeypatch.setattr(mmcv_io, "jpeg", None)
    monkeypatch.setattr(mmcv_io, "TurboJPEG", CvDecoder)


@pytest.mark.parametrize("config", [MASKS, MAPS])
def test_decoder_reaches_every_pipeline(config: Path, turbojpeg: None) -> None:
    cfg = resolve(config, RunOptions(image_decoder="turbojpeg")).config
    for key in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loads = [s for s in dicts_in(cfg[key]) if s.get("type") == "LoadImageFromFile"]
        assert [step.imdecode_backend for step in loads] == ["turbojpeg"]
    assert mmcv_io.imread_backend == "cv2"  # of everything else


def test_decoder_is_ready_for_mmcv(turbojpeg: None) -> None:
    check_decoder(resolve(MASKS, RunOptions()).config, "turbojpeg")
    image = np.full((6, 8, 3), 128, np.uint8)
    content = cv2.imencode(".jpg", image)[1].tobytes()
    assert (mmcv.imfrombytes(content, backend="turbojpeg") == image).all()


@pytest.mark.parametrize("decoder", [None, broken])
def test_unusable_turbojpeg_is_explained(decoder: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmcv_io, "jpeg", None)
    monkeypatch.setattr(mmcv_io, "TurboJPEG", decoder)
    with pytest.raises(UserError, match='libturbojpeg0.*pip install "PyTurboJPEG<2"') as caught:
        resolve(MASKS, RunOptions(image_decoder="turbojpeg"))
    assert "\n" not in str(caught.value)
    assert mmcv_io.imread_backend == "cv2"


def test_other_wrong_decoders(turbojpeg: None, shapes: Path) -> None:
    with pytest.raises(UserError, match="unknown image decoder 'pillow'"):
        resolve(MASKS, RunOptions(image_decoder="pillow"))
    cfg = resolve(MASKS, RunOptions()).config
    cfg.env_cfg = dict(mp_cfg=dict(mp_start_method="spawn"))
    with pytest.raises(UserError, match="mp_start_method is 'spawn'"):
        check_decoder(cfg, "turbojpeg")
    options = RunOptions(image_decoder="turbojpeg", data_root=str(shapes / "coco"))
    cfg = resolve(MASKS, options).config
    register_scope(cfg)
    with pytest.raises(UserError, match=r"reads JPEG alone, and there is .*\.png"):
        check_data(cfg, ("train_dataloader",))


def test_turbojpeg_decodes_as_cv2_does(shapes: Path) -> None:
    try:
        check_decoder(resolve(MASKS, RunOptions()).config, "turbojpeg")
    except UserError as error:
        pytest.skip(str(error))
    for file in sorted((shapes / "coco/train2017").iterdir()):
        content = cv2.imencode(".jpg", cv2.imread(str(file)))[1].tobytes()
        pair = [mmcv.imfrombytes(content, backend=b).astype(int) for b in ("cv2", "turbojpeg")]
        assert np.abs(pair[0] - pair[1]).max() <= 2  # of 255: versions of the library may round


def test_every_step_is_timed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that the steps move on; of each image and step the fastest pass counts."""
    clock = [0.0]
    monkeypatch.setattr(loading.time, "perf_counter", lambda: clock[0])

    def step(name: str, seconds: list[float]) -> object:
        """Takes so long in each pass, and three times as long for the first image."""
        passes: dict[int, int] = {}

        def call(self: object, data: dict) -> dict:
            index = data["index"]
            number = passes[index] = passes.get(index, -1) + 1
            clock[0] += seconds[number] * (1 if index else 3)
            return data

        return type(name, (), {"__call__": call})()

    class Stub:
        def __init__(self, seconds: list[float]) -> None:
            self.pipeline = SimpleNamespace(transforms=[step("A", [0.0] * 2), step("B", seconds)])

        def __len__(self) -> int:
            return 10

        def get_data_info(self, index: int) -> dict:
            clock[0] += 100
            return {"index": index}

    datasets = {"slow": Stub([16.0, 8.0]), "fast": Stub([4.0, 5.0])}
    assert loading.time_steps(datasets, images=4, repeats=2) == {
        ("slow", "annotations"): [100] * 4,
        ("slow", "A"): [0] * 4,
        ("slow", "B"): [24, 8, 8, 8],
        ("fast", "annotations"): [100] * 4,
        ("fast", "A"): [0] * 4,
        ("fast", "B"): [12, 4, 4, 4],
    }


@pytest.mark.parametrize("config", [MASKS, MAPS])
def test_loading_is_measured_of_the_configs_own_pipeline(
    config: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(mmcv_io, "jpeg", None)
    monkeypatch.setattr(mmcv_io, "TurboJPEG", None)
    root = shapes / ("coco" if config == MASKS else "ade")
    rows = measure_loading(config, RunOptions(data_root=str(root)), images=5, repeats=1, workers=1)
    notes = [line for line in capsys.readouterr().out.splitlines() if "not measured" in line]
    assert len(notes) == 1 and notes[0].startswith("not measured: turbojpeg: ")
    assert "PyTurboJPEG" in notes[0]
    assert {row.decoder for row in rows} == {"cv2"} and not any(row.error for row in rows)
    steps = [row.step for row in rows]
    cfg = resolve(config, RunOptions()).config
    transforms = [step.type for step in cfg.train_dataloader.dataset.pipeline[1:]]
    assert steps == [
        *("annotations", "read", "decode"),
        *transforms,
        *("collate", "preprocess", "loader"),
    ]
    for row in rows[:-1]:
        assert 0 < row.ms_p10 <= row.ms <= row.ms_p90
        assert row.ms_p10 <= row.ms_mean
    loader = rows[-1]
    assert loader.images_per_second > 0
    if loader.rss_mib is not None:
        assert 1 < loader.private_mib < loader.rss_mib


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*/*casvit-xs*.py")), ids=lambda p: p.stem)
def test_recipes_pack_annotations(config: Path) -> None:
    """mmengine packs by default; no recipe says otherwise."""
    cfg = resolve(config, RunOptions()).config
    for key in ("train_dataloader", "val_dataloader"):
        assert all(part.get("serialize_data", True) for part in dicts_in(cfg[key]))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An annotation file of 2,000 images with ten polygons each, 8 MB when packed."""
    rng = np.random.default_rng(0)
    images = [
        {"id": i, "file_name": f"{i}.jpg", "height": 480, "width": 640} for i in range(1000, 3000)
    ]
    annotations = [
        {
            "id": i + 1,
            "image_id": 1000 + i // 10,
            "category_id": 1 + i % 3,
            "bbox": [10.0, 10.0, 50.5, 60.5],
            "area": 3000.0,
            "iscrowd": 0,
            "segmentation": [polygon],
        }
        for i, polygon in enumerate((480 * rng.random((20000, 40))).round(2).tolist())
    ]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate("abc")]
    file = tmp_path_factory.mktemp("many") / "instances.json"
    file.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return file


def read(file: Path, packed: bool = True) -> CocoDataset:
    dataset = CocoDataset(
        ann_file=str(file),
        data_prefix={"img": ""},
        metainfo={"classes": ("a", "b", "c")},
        pipeline=[],
        serialize_data=packed,
    )
    pack_index(dataset)
    return dataset


@pytest.fixture(scope="module")
def packed(many: Path) -> CocoDataset:
    return read(many)


def copied_by_a_worker(dataset: CocoDataset) -> float:
    """MiB that a forked process comes to hold for itself by reading every annotation."""
    receive, send = os.pipe()
    worker = os.fork()
    if worker == 0:
        try:
            before = worker_memory(os.getpid())[1]
            for index in range(len(dataset)):
                dataset.get_data_info(index)
            grown = worker_memory(os.getpid())[1] - before
            os.write(send, str(grown).encode())
        finally:
            os._exit(0)
    os.waitpid(worker, 0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        return float(pipe.read())


@linux
def test_workers_share_packed_annotations(many: Path, packed: CocoDataset) -> None:
    plain = read(many, packed=False)
    assert packed.data_bytes.dtype == np.uint8 and not packed.data_list
    size = packed.data_bytes.nbytes / 2**20
    assert size > 6
    assert copied_by_a_worker(plain) > size
    assert copied_by_a_worker(packed) < size / 3


def test_spawned_workers_get_the_bytes_and_little_else(packed: CocoDataset) -> None:
    assert len(pickle.dumps(packed)) < 1.05 * packed.data_bytes.nbytes
    again = pickle.loads(pickle.dumps(packed))
    assert again.get_data_info(7) == packed.get_data_info(7)


def test_index_by_category_holds_no_python_numbers(packed: CocoDataset) -> None:
    lists = {category: ids.tolist() for category, ids in packed.cat_img_map.items()}
    inner = SimpleNamespace(cat_img_map=lists)
    pack_index(SimpleNamespace(datasets=[SimpleNamespace(dataset=inner)]))
    for images in (packed.cat_img_map, inner.cat_img_map):
        assert all(isinstance(ids, np.ndarray) and ids.dtype != object for ids in images.values())
        # annotation i is of image 1000 + i // 10 and of category 1 + i % 3
        assert images[2].tolist() == [1000 + i // 10 for i in range(1, 20000, 3)]


def test_training_packs_what_it_reads(shapes: Path, tmp_path: Path) -> None:
    from casvit_dense.engine.runner import build_runner

    options = RunOptions(
        data_root=str(shapes / "coco"),
        work_dir=tmp_path / "packing",
        cfg_options={"visualizer.name": "packing", "experiment_name": "packing"},
    )
    cfg = resolve(MASKS, options).config
    register_scope(cfg)
    runner = build_runner(cfg, ("train_loop", "val_loop"))
    for loader in (runner.train_dataloader, runner.val_dataloader):
        dataset = loader.dataset
        assert dataset.data_bytes.dtype == np.uint8 and not dataset.data_list
        assert all(isinstance(ids, np.ndarray) for ids in dataset.cat_img_map.values())


def test_wrapped_data_sets_are_not_measured(shapes: Path) -> None:
    cfg = resolve(MASKS, RunOptions(data_root=str(shapes / "coco"))).config
    register_scope(cfg)
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type="RepeatDataset", times=2, dataset=inner)
    with pytest.raises(UserError, match="not of wrappers"):
        build_dataset(cfg)
