"""Weight files that want to harm who reads them, or are broken: one function makes each.

`REFUSED` are files that nothing may read. `STATES` hold good weights, and something in ``meta`` or
in the training's state that only those refuse who use it. Exported files: `poisoned_exports`.
"""

import codecs
import io
import json
import os
import re
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from opcodes import Built, New, Reduced, save_opcodes
from torch import Tensor

#: Writes a file from the content of a good checkpoint; a payload would make the marker.
Maker = Callable[[Path, dict[str, Any], Path], None]

HUGE = 10**12

#: The format before torch 1.6.
save_old = partial(torch.save, _use_new_zipfile_serialization=False)


def changed(
    change: Callable[[dict[str, Any]], object], save: Callable[..., object] = torch.save
) -> Maker:
    def make(path: Path, content: dict[str, Any], marker: Path) -> None:
        change(content)
        save(content, path)

    return make


def in_state(value: Callable[[], Tensor], save: Callable[..., object] = torch.save) -> Maker:
    """One tensor of the weights is replaced."""
    return changed(lambda c: c["state_dict"].update({next(iter(c["state_dict"])): value()}), save)


def in_meta(value: object) -> Maker:
    return changed(lambda c: c["meta"].update(x=value), save_opcodes)


def payload(*place: str, save: Callable[..., object] = torch.save) -> Maker:
    """Something that makes the marker when it is unpickled."""

    def make(path: Path, content: dict[str, Any], marker: Path) -> None:
        table = content
        for key in place:
            table = table.setdefault(key, {})
        table["x"] = Reduced(os.mkdir, str(marker))
        save(content, path)

    return make


def written(data: bytes) -> Maker:
    return lambda path, content, marker: path.write_bytes(data) and None


def cut(share: float) -> Maker:
    def make(path: Path, content: dict[str, Any], marker: Path) -> None:
        torch.save(content, path)
        os.truncate(path, int(path.stat().st_size * share))

    return make


def rezipped(change: Callable[[str, bytes], bytes], **options: Any) -> Maker:
    """The archive of torch with other entries."""

    def make(path: Path, content: dict[str, Any], marker: Path) -> None:
        torch.save(content, path)
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", **options) as archive:
            for name, data in entries.items():
                archive.writestr(name, change(name, data))

    return make


def overlapping(path: Path, content: dict[str, Any], marker: Path) -> None:
    """Many entries of the directory share the bytes of one."""
    torch.save(content, path)
    with zipfile.ZipFile(path, "a") as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        archive.filelist += [largest] * 10_000
        archive.writestr("end", b"")


def longer(name: str, data: bytes) -> bytes:
    """The pickle says that the first storage has 2^31 numbers."""
    if not name.endswith("data.pkl"):
        return data
    place = re.search(rb"X\x03\0\0\0cpu(q.|r....)", data, re.DOTALL)  # where it lies
    assert place is not None
    start = place.end()
    stop = data.index(b"t", start)  # between them: how many, as BININT1 or BININT2
    return data[:start] + b"J\xff\xff\xff\x7f" + data[stop:]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def itself() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["x"] = value
    return value


def laughs(levels: int = 12) -> list[Any]:
    """Ten times itself at each level: short in the file, 10^12 values for who counts them."""
    value: list[Any] = ["ha"]
    for _ in range(levels):
        value = [value] * 10
    return value


def encoded_again(times: int) -> object:
    """Text that a codec doubles again and again."""
    value: object = "x"
    for _ in range(times):
        value = Reduced(codecs.encode, value, "hex")
    return value


def with_attribute(path: Path, content: dict[str, Any], marker: Path) -> None:
    state = Built(OrderedDict(content["state_dict"]), {"items": 5})
    save_opcodes({**content, "state_dict": state}, path)


def safetensors(header: object, data: bytes = bytes(16), length: int | None = None) -> Maker:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = struct.pack("<Q", len(text) if length is None else length)
    return written(size + text + data)


def tensor(shape: list[int], start: int, stop: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def pipe(path: Path, content: dict[str, Any], marker: Path) -> None:
    os.mkfifo(path)


def tar(path: Path, content: dict[str, Any], marker: Path) -> None:
    """The oldest format of torch, with a path that leads out of its folder."""
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "../" * 9 + str(marker)):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())


ONE = {"x": tensor([4], 0, 16)}

REFUSED: dict[str, Maker] = {
    # code
    "payload in the weights": payload("state_dict"),
    "payload in meta": payload("meta"),
    "payload in the optimizer": payload("optimizer", "state"),
    "payload in an old file": payload("meta", save=save_old),
    "chain of getattr": in_meta(Reduced(getattr, np.ndarray, "__init__")),
    "type of numpy": in_meta(Reduced(np.dtype, "O")),
    # tensors
    "a trillion numbers of one": in_state(lambda: torch.zeros(1).expand(HUGE)),
    "a trillion numbers of one in an old file": in_state(
        lambda: torch.zeros(1).expand(HUGE), save_old
    ),
    "a trillion numbers in the optimizer": changed(
        lambda c: c["optimizer"]["state"][0].update(exp_avg=torch.zeros(1, 1).expand(HUGE, 8))
    ),
    "all weights of the same bytes": changed(
        lambda c: (
            c["state_dict"].update({f"x{i}": torch.zeros(10_000) for i in range(2)})
            or c["state_dict"].update({f"y{i}": c["state_dict"]["x0"] for i in range(10_000)})
        )
    ),
    "meta tensor": in_state(lambda: torch.empty(HUGE, device="meta")),
    "meta tensor in meta": changed(lambda c: c["meta"].update(x=torch.empty(3, device="meta"))),
    "sparse tensor": in_state(lambda: torch.eye(3).to_sparse()),
    "huge sparse tensor": in_state(
        lambda: torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.long), [1.0], (10**9, 10**9))
    ),
    "compressed sparse tensor": in_state(lambda: torch.eye(3).to_sparse_csr()),
    "quantized tensor": in_state(
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    ),
    "tensor quantized by channel": in_state(
        lambda: torch.quantize_per_channel(
            torch.ones(3, 3), torch.ones(3), torch.zeros(3), 0, torch.qint8
        )
    ),
    "nested tensor": in_state(lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])),
    "complex tensor": in_state(lambda: torch.ones(3, dtype=torch.complex64)),
    "float8 tensor": in_state(lambda: torch.ones(3).to(torch.float8_e4m3fn)),
    "tensor by its class": in_meta(Reduced(torch.FloatTensor, 10**5, 10**5)),
    "tensor without initialiser": in_meta(New(Tensor, 10**5, 10**5)),
    "storage longer than its bytes": rezipped(longer),
    "a storage of a terabyte in an old file": lambda path, content, marker: huge_storage(path),
    # tables
    "nested too deeply": changed(lambda c: c["meta"].update(x=nested(200))),
    "holds itself": changed(lambda c: c["meta"].update(x=itself())),
    "a billion laughs": changed(lambda c: c["meta"].update(x=laughs())),
    "codec": in_meta(encoded_again(40)),
    "array of bytes": in_meta(Reduced(bytearray, 10**11)),
    "table with a method replaced": with_attribute,
    "keys that clear the screen": changed(lambda c: c["meta"].update({"\x1b[2J\n": 1})),
    "text that is no Unicode": changed(lambda c: c["meta"].update(x="\udcff")),
    "a number of 600 digits": changed(lambda c: c["meta"].update(iter=10**600)),
    "a list at the top": lambda path, content, marker: torch.save([1], path),
    # files
    "empty": written(b""),
    "text": written(b"Not found\n"),
    "web page": written(b"<html>quota exceeded</html>"),
    "picture": written(b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
    "zeros": written(bytes(4096)),
    "half": cut(0.5),
    "all but the end": cut(0.99),
    "archive without a pickle": lambda path, content, marker: zipfile.ZipFile(path, "w").writestr(
        "x", "y"
    ),
    "compressed archive": rezipped(
        lambda name, data: data + bytes(10**7) * ("data/0" in name),
        compression=zipfile.ZIP_DEFLATED,
    ),
    "overlapping entries": overlapping,
    "TorchScript": lambda path, content, marker: torch.jit.script(torch.nn.Identity()).save(
        str(path)
    ),
    "tar": tar,
    "folder": lambda path, content, marker: path.mkdir(),
    "pipe": pipe,
    "link to nothing": lambda path, content, marker: path.symlink_to("nothing"),
    "link to itself": lambda path, content, marker: path.symlink_to(path.name),
    "link to a device": lambda path, content, marker: path.symlink_to("/dev/zero"),
    # safetensors
    "header beyond the end": safetensors(ONE, length=10**6),
    "header of 2^63 bytes": safetensors(ONE, length=2**63),
    "header that is no JSON": safetensors(b"{" * 64),
    "header nested deeply": safetensors(b'{"x":' + b"[" * 10**5 + b"]" * 10**5 + b"}"),
    "metadata nested": safetensors({"__metadata__": {"meta": {"a": {}}}, **ONE}),
    "metadata a text": safetensors({"__metadata__": "meta", **ONE}),
    "meta nested deeply": safetensors({"__metadata__": {"meta": "[" * 10**5}, **ONE}),
    "meta no JSON": safetensors({"__metadata__": {"meta": "{"}, **ONE}),
    "offsets that overlap": safetensors({"x": tensor([4], 0, 16), "y": tensor([4], 0, 16)}),
    "offsets beyond the end": safetensors({"x": tensor([HUGE], 0, 4 * HUGE)}),
    "offsets backwards": safetensors({"x": tensor([4], 16, 0)}),
    "shape without bytes": safetensors({"x": tensor([HUGE], 0, 16)}),
    "shape of 2^80 numbers": safetensors({"x": tensor([2**40, 2**40], 0, 16)}),
    "shape below zero": safetensors({"x": tensor([-4], 0, 16)}),
    "type that is none": safetensors({"x": tensor([4], 0, 16, "F12")}),
    "float8 in safetensors": safetensors({"x": tensor([16], 0, 16, "F8_E4M3")}),
}


def huge_storage(path: Path) -> None:
    """The old format, in which a storage says how long it is before its bytes come."""
    save_old({"x": torch.zeros(5)}, path)
    data = path.read_bytes()
    assert data.count(b"K\x05N") == 1  # BININT1, which becomes LONG1 of six bytes
    path.write_bytes(data.replace(b"K\x05N", b"\x8a\x06" + HUGE.to_bytes(6, "little") + b"N"))


def in_config(change: Callable[[dict[str, Any]], object]) -> Maker:
    """Changes the config that the file keeps."""
    return changed(lambda c: change(c["meta"]["model"]["config"]))


def in_hub(key: str, value: object) -> Maker:
    return changed(lambda c: c["message_hub"]["runtime_info"].update({key: value}))


def config_that_runs(path: Path, content: dict[str, Any], marker: Path) -> None:
    content["meta"]["config"] = f"__import__('os').mkdir({str(marker)!r})"
    torch.save(content, path)


def first(table: dict[Any, Any]) -> Any:
    return table[next(iter(table))]


STATES: dict[str, Maker] = {
    "config that is run": config_that_runs,
    "no meta": changed(lambda c: c.pop("meta")),
    "meta a text": changed(lambda c: c.update(meta="x")),
    "meta a list": changed(lambda c: c.update(meta=[])),
    "epoch True": changed(lambda c: c["meta"].update(epoch=True)),
    "iteration a text": changed(lambda c: c["meta"].update(iter="x")),
    "iteration -5": changed(lambda c: c["meta"].update(iter=-5)),
    "iteration beyond all": changed(lambda c: c["meta"].update(iter=2**62)),
    "seed a text": changed(lambda c: c["meta"].update(seed="x")),
    "record of the training a text": changed(lambda c: c["meta"].update(training="x")),
    "record of the training of numbers": changed(
        lambda c: c["meta"]["training"].update(dict.fromkeys(c["meta"]["training"], -1))
    ),
    "record of the backbone a text": changed(lambda c: c["meta"].update(backbone_cfg="x")),
    "classes a number": changed(lambda c: c["meta"].update(dataset_meta={"classes": 5})),
    "classes of numbers": changed(lambda c: c["meta"]["model"].update(classes=[1, 2, 3, 4])),
    "no optimizer": changed(lambda c: c.pop("optimizer")),
    "optimizer a text": changed(lambda c: c.update(optimizer="x")),
    "moment of another shape": changed(
        lambda c: first(c["optimizer"]["state"]).update(exp_avg=torch.zeros(3, 5))
    ),
    "moment a text": changed(lambda c: first(c["optimizer"]["state"]).update(exp_avg="x")),
    "groups without parameters": changed(lambda c: c["optimizer"].update(param_groups=[{}])),
    "no schedules": changed(lambda c: c.pop("param_schedulers")),
    "schedule of methods": changed(lambda c: c["param_schedulers"][0].update(step=1)),
    "no message hub": changed(lambda c: c.pop("message_hub")),
    "message hub a text": changed(lambda c: c.update(message_hub="x")),
    "histories of numbers": changed(lambda c: c["message_hub"].update(log_scalars={"x": 1})),
    "best score a text": in_hub("best_score", "x"),
    "last checkpoint a number": in_hub("last_ckpt", 5),
    "kept checkpoints of paths": in_hub("keep_ckpt_ids", ["/../../x"] * 9),
    "weight that is NaN": changed(lambda c: first(c["state_dict"]).fill_(torch.nan)),
    "weight a text": changed(lambda c: c["state_dict"].update(x="y")),
    "weight without a name": changed(lambda c: c["state_dict"].update({5: torch.ones(1)})),
    "no weights": changed(lambda c: c.update(state_dict={})),
    "weights a list": changed(lambda c: c.update(state_dict=[])),
    "weight of another shape": in_state(lambda: torch.zeros(2, 2)),
    "kept model a text": changed(lambda c: c["meta"].update(model="x")),
    "kept config a text": changed(lambda c: c["meta"]["model"].update(config="x")),
    "kept name a path": changed(lambda c: c["meta"]["model"].update(name="../../x")),
    "kept config that runs": in_config(lambda c: c["model"].update(type="os.system")),
    "kept config of other modules": in_config(
        lambda c: c.update(custom_imports={"imports": ["antigravity"]})
    ),
    "kept imports a number": in_config(lambda c: c.update(custom_imports={"imports": 5})),
    "kept config without a model": in_config(lambda c: c.pop("model")),
    "kept model a number": in_config(lambda c: c.update(model=5)),
    "kept scope a list": in_config(lambda c: c.update(default_scope=[])),
    "kept loader a number": in_config(lambda c: c.update(test_dataloader=5)),
    "kept data set a text": in_config(lambda c: c["test_dataloader"].update(dataset="x")),
    "kept tuple a number": in_config(lambda c: c.update(model={"__tuple__": 5})),
    "kept model of a terabyte": in_config(
        lambda c: c["model"]["backbone"].update(arch={"depths": [1] * 4, "dims": [500_000] * 4})
    ),
    "kept depth of a billion": in_config(
        lambda c: c["model"]["backbone"].update(arch={"depths": [10**9] * 4, "dims": [8] * 4})
    ),
    "kept channels below zero": in_config(lambda c: c["model"]["decode_head"].update(channels=-8)),
    "kept path of data a program": in_config(
        lambda c: c["test_dataloader"]["dataset"].update(ann_file="x.pkl")
    ),
}
