"""Which cases a choice of values names, and how they are grouped."""

import pytest

from casvit_dense.benchmark import machine
from casvit_dense.benchmark.cases import (
    BenchmarkCase,
    groups,
    parse_size,
    parse_spec,
    product,
    supported,
)
from casvit_dense.errors import UserError


def test_product_puts_the_reference_first_in_every_group() -> None:
    cases = product(
        model=["casvit-s", "casvit-xs"],
        form=["fused", "reference"],
        backend=["openvino", "eager"],
        dtype=["bf16", "fp32"],
    )
    found = groups(cases)
    assert [first.model for first in found] == ["casvit-s", "casvit-xs"]
    for first, members in found.items():
        assert members[0] == first == first.group
        assert len(members) == len(set(members)) == 8


def test_fused_in_training_is_two_forms() -> None:
    found = product(mode=["train"], form=["reference", "fused"])
    assert [case.form for case in found] == ["reference", "fused-memory", "fused-time"]


def test_only_the_reference_is_counted() -> None:
    found = product(mode=["count"], form=["reference", "fused"], backend=["eager", "compile"])
    assert found == [BenchmarkCase(mode="count")]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"mode": "train", "backend": "onnxruntime"}, "does not train"),
        ({"mode": "train", "part": "model", "model": "a.py"}, "on the backbone"),
        ({"mode": "train", "form": "fused"}, "fused-memory or fused-time"),
        ({"form": "fused-time"}, "for training"),
        ({"backend": "openvino", "dtype": "bf16"}, "fp32"),
        ({"backend": "openvino", "device": "cuda"}, "CPU"),
        ({"backend": "onnxruntime", "memory_format": "channels_last"}, "layout"),
        ({"backend": "cudagraphs"}, "GPU"),
        ({"part": "model"}, "give a config"),
        ({"mode": "train", "form": "fused-memory", "backend": "compile"}, "in eager mode"),
        (
            {"model": "a.py", "part": "model", "device": "cuda", "backend": "cudagraphs"},
            "overwrite each other's outputs",
        ),
    ],
)
def test_what_cannot_exist_says_why(fields: dict, reason: str) -> None:
    case = BenchmarkCase(**fields)
    assert reason in str(case.unsupported_reason())
    left, notes = supported([BenchmarkCase(), case])
    assert left == [BenchmarkCase()]
    assert len(notes) == 1 and reason in notes[0]
    with pytest.raises(UserError, match="nothing to measure"):
        supported([case])


def test_what_exists_has_no_obstacle() -> None:
    cases = [
        BenchmarkCase(),
        BenchmarkCase(mode="train", form="fused-time", backend="compile"),
        BenchmarkCase(device="cuda", backend="cudagraphs", dtype="bf16", form="fused"),
        BenchmarkCase(model="a/b.py", part="model", backend="openvino"),
    ]
    assert [case.unsupported_reason() for case in cases] == [None] * 4
    assert cases[3].name == "b"


def test_sizes() -> None:
    assert parse_size("512") == (512, 512)
    assert parse_size("800x1280") == (800, 1280)
    for text in ("", "big", "1x2x3", "800x", "31", "9000", "-512", "51.2"):
        with pytest.raises(UserError, match="size"):
            parse_size(text)


def test_specs() -> None:
    base = BenchmarkCase(model="casvit-m", batch=4, form="fused")
    found = parse_spec("form=reference, backend=openvino", base)
    assert found == BenchmarkCase(model="casvit-m", batch=4, backend="openvino")
    for text in ("form", "form=", "form=quick", "colour=red", ""):
        with pytest.raises(UserError):
            parse_spec(text, base)


@pytest.mark.parametrize(
    ("flags", "dtype", "reason"),
    [
        ({"avx2"}, "fp32", None),
        ({"avx2"}, "bf16", "this CPU does not compute in bf16: it has none of amx_bf16, "),
        ({"avx2"}, "autocast", "does not compute in bf16 \\(torch's autocast\\)"),
        ({"avx2", "avx512_bf16"}, "bf16", None),
        ({"avx512_bf16"}, "fp16", "does not compute in fp16"),
        ({"asimdhp"}, "fp16", None),
        (set(), "bf16", None),  # the system does not tell
    ],
)
def test_a_precision_that_the_machine_lacks_is_refused(
    flags: set[str], dtype: str, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_cpu_flags", lambda: flags)
    case = BenchmarkCase(dtype=dtype)
    if reason is None:
        assert case.unsupported_reason() is None
        return
    with pytest.raises(UserError, match=f"nothing to measure: .*{reason}"):
        supported([case])
