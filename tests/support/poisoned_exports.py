"""Exported files that want to harm who reads them, or are broken: one function makes each."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

#: Writes a file beside which others may lie, from a good ONNX file.
Maker = Callable[[Path, Path], object]

DEEP = "[" * 10**5


def described(**texts: str | None) -> Maker:
    """Texts of the description are replaced; None: removed."""

    def make(path: Path, good: Path) -> None:
        model = onnx.load(str(good))
        kept = {entry.key: entry.value for entry in model.metadata_props} | texts
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {k: v for k, v in kept.items() if v is not None})
        onnx.save(model, str(path))

    return make


def of_config(change: Callable[[dict[str, Any]], object]) -> Maker:
    """The config in the description is changed."""

    def make(path: Path, good: Path) -> None:
        texts = {entry.key: entry.value for entry in onnx.load(str(good)).metadata_props}
        model = json.loads(texts["model"])
        change(model["config"])
        described(model=json.dumps(model))(path, good)

    return make


def cut(path: Path, good: Path) -> None:
    shutil.copy(good, path)
    os.truncate(path, path.stat().st_size // 2)


def external(path: Path, good: Path) -> None:
    """The first weights lie, as the file has it, in one of the system's."""
    model = onnx.load(str(good))
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../../../../../../etc/passwd")
    onnx.save(model, str(path))


def huge(path: Path, good: Path) -> None:
    """A constant of four terabytes."""
    model = onnx.load(str(good))
    shape = onnx.helper.make_tensor("huge_shape", onnx.TensorProto.INT64, [1], [10**12])
    model.graph.initializer.append(shape)
    nodes = [
        onnx.helper.make_node("ConstantOfShape", ["huge_shape"], ["huge"]),
        onnx.helper.make_node("ReduceSum", ["huge"], ["sum"]),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    model.graph.output.append(onnx.helper.make_tensor_value_info("sum", 1, None))
    onnx.save(model, str(path))


def entities(path: Path, good: Path) -> None:
    """Ten times each other at each level."""
    names = "abcdefghij"
    levels = "".join(
        f'<!ENTITY {name} "{f"&{names[i - 1]};" * 10 if i else "ha"}">'
        for i, name in enumerate(names)
    )
    path.write_text(f'<?xml version="1.0"?><!DOCTYPE net [{levels}]><net name="&j;"/>')
    path.with_suffix(".bin").write_bytes(b"")


def archive(content: bytes) -> Maker:
    def make(path: Path, good: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("x/extra/casvit_dense.json", content)

    return make


def written(data: bytes) -> Maker:
    return lambda path, good: path.write_bytes(data)


#: By suffix and name.
EXPORTS: dict[tuple[str, str], Maker] = {
    (".onnx", "empty"): written(b""),
    (".onnx", "text"): written(b"Not found\n"),
    (".onnx", "half"): cut,
    (".onnx", "folder"): lambda path, good: path.mkdir(),
    (".onnx", "pipe"): lambda path, good: os.mkfifo(path),
    (".onnx", "without a description"): described(config=None),
    (".onnx", "description no JSON"): described(classes="{"),
    (".onnx", "description nested deeply"): described(classes=DEEP),
    (".onnx", "description of other types"): described(input_shape='"x"'),
    (".onnx", "pads to nothing"): described(pad_divisor="0"),
    (".onnx", "classes of another model"): described(classes='["x"]', category_ids="[1]"),
    (".onnx", "config a path"): described(config='"../../x"'),
    (".onnx", "model a list"): described(model="[]"),
    (".onnx", "config that runs"): of_config(lambda c: c["model"].update(type="os.system")),
    (".onnx", "imports a number"): of_config(lambda c: c.update(custom_imports={"imports": 5})),
    (".onnx", "weights of the system"): external,
    (".onnx", "constant of terabytes"): huge,
    (".xml", "empty"): written(b""),
    (".xml", "alone"): written(b"<net/>"),
    (".xml", "entities"): entities,
    (".pt2", "text"): written(b"Not found\n"),
    (".pt2", "archive without a description"): archive(b"{}"),
    (".pt2", "description nested deeply"): archive(DEEP.encode()),
    (".pt2", "description of gigabytes"): archive(bytes(4 * 10**8)),
}
