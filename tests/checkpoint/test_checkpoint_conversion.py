"""Conversion: any format in, clean official names out, whole or not at all."""

import argparse
from pathlib import Path

import pytest
import safetensors.torch
import torch
from weight_files import (
    TINY,
    backbone_state,
    classifier_state,
    dense_state,
    port_names,
    save_official_classification,
    save_official_dense,
)

from casvit_dense import CASViT, load_pretrained
from casvit_dense.checkpoint import convert, read_checkpoint
from casvit_dense.checkpoint.reader import file_sha256
from casvit_dense.cli import convert as command
from casvit_dense.errors import UserError

SUFFIXES = (".pth", ".safetensors")


def assert_same(written: dict, expected: dict) -> None:
    assert set(written) == set(expected)
    assert all(torch.equal(written[name], expected[name]) for name in expected)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("laterals", "dropped"), [((0, 1, 2, 3), ()), ((1, 2, 3), ("norm0",))])
def test_dense_keeps_the_norms_its_neck_reads(laterals, dropped, suffix, tmp_path):
    state = dense_state(laterals)
    src = save_official_dense(tmp_path / "src.pth", state)
    report = convert(src, tmp_path / f"dst{suffix}")
    starts = tuple(f"backbone.{norm}." for norm in dropped)
    expected = {n: t for n, t in state.items() if not (starts and n.startswith(starts))}
    content = read_checkpoint(report.path)
    assert_same(content["state_dict"], expected)
    assert set(content) == {"state_dict", "meta"}
    assert content["meta"]["casvit_dense"]["source_sha256"] == file_sha256(src)
    assert tuple(content["meta"]["CLASSES"]) == ("person", "car")
    assert report.tensors == len(expected)
    assert report.sha256 == file_sha256(report.path)
    assert report.source.left_out["training state"] == ("optimizer",)


def test_stages_the_neck_does_not_reach_are_dropped(tmp_path):
    src = save_official_dense(tmp_path / "src.pth", dense_state((0, 1, 2)))
    state = read_checkpoint(convert(src, tmp_path / "dst.pth").path)["state_dict"]
    own = CASViT(TINY, out_indices=(0, 1, 2)).state_dict()
    assert {n.removeprefix("backbone.") for n in state if n.startswith("backbone.")} == set(own)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("port", [False, True])
def test_classification_comes_out_under_the_official_names(port, suffix, tmp_path):
    state = classifier_state()
    names = port_names(list(state)) if port else dict(zip(state, state, strict=True))
    wrapper = "state_dict" if port else "model"
    src = tmp_path / "src.pth"
    torch.save({wrapper: {names[n]: t for n, t in state.items()}}, src)
    dst = tmp_path / "folder" / f"dst{suffix}"
    convert(src, dst)
    assert_same(read_checkpoint(dst)["state_dict"], state)
    report = load_pretrained(CASViT(TINY), dst)
    assert report.format.startswith("casvit-dense classification")
    assert len(report.initialised) == 20


def test_converting_twice_changes_no_tensor(tmp_path):
    src = save_official_classification(tmp_path / "src.pth", model=classifier_state())
    convert(src, tmp_path / "once.safetensors")
    convert(tmp_path / "once.safetensors", tmp_path / "twice.pth")
    assert_same(read_checkpoint(tmp_path / "twice.pth")["state_dict"], classifier_state())


def test_a_bare_backbone_stays_one(tmp_path):
    torch.save(backbone_state(out_indices=(1, 2, 3)), tmp_path / "src.pth")
    convert(tmp_path / "src.pth", tmp_path / "dst.pth")
    load_pretrained(CASViT(TINY, out_indices=(1, 2, 3)), tmp_path / "dst.pth")


def test_averaged_weights_on_request(tmp_path):
    averaged = classifier_state(seed=2)
    tables = {"model": classifier_state(seed=1), "model_ema": averaged}
    src = save_official_classification(tmp_path / "src.pth", **tables)
    convert(src, tmp_path / "dst.pth", ema=True)
    assert_same(read_checkpoint(tmp_path / "dst.pth")["state_dict"], averaged)


def test_a_slice_of_a_larger_tensor_is_written_alone(tmp_path):
    state = backbone_state()
    state["norm0.bias"] = torch.rand(1_000_000)[:8]
    torch.save(state, tmp_path / "src.pth")
    convert(tmp_path / "src.pth", tmp_path / "dst.pth")
    assert (tmp_path / "dst.pth").stat().st_size < 1_000_000


def test_torch_reads_the_result_without_an_allow_list(tmp_path):
    src = save_official_classification(tmp_path / "src.pth", model=classifier_state())
    convert(src, tmp_path / "dst.pth")
    loaded = torch.load(tmp_path / "dst.pth", weights_only=True)
    assert_same(loaded["state_dict"], classifier_state())


def test_safetensors_reads_the_result(tmp_path):
    src = save_official_classification(tmp_path / "src.pth", model=classifier_state())
    convert(src, tmp_path / "dst.safetensors")
    assert_same(safetensors.torch.load_file(tmp_path / "dst.safetensors"), classifier_state())


@pytest.mark.parametrize("start", ["network.0.0.mlp.fc1.bias", "network.6.0.norm1.w", "head."])
def test_incomplete_classifiers_are_refused(start, tmp_path):
    state = {n: t for n, t in classifier_state().items() if not n.startswith(start)}
    src = save_official_classification(tmp_path / "src.pth", model=state)
    with pytest.raises(UserError, match=r"missing|stages|head\.weight"):
        convert(src, tmp_path / "dst.pth")
    assert not (tmp_path / "dst.pth").exists()


@pytest.mark.parametrize("start", ["backbone.network.6.0.norm1.w", "backbone.norm6."])
def test_incomplete_dense_files_are_refused(start, tmp_path):
    state = {n: t for n, t in dense_state().items() if not n.startswith(start)}
    src = save_official_dense(tmp_path / "src.pth", state)
    with pytest.raises(UserError, match=r"missing \(5\)|stages"):
        convert(src, tmp_path / "dst.pth")


def test_a_neck_that_fits_no_stage_is_refused(tmp_path):
    state = dense_state()
    state["neck.lateral_convs.1.conv.weight"] = torch.ones(6, 13, 1, 1)
    src = save_official_dense(tmp_path / "src.pth", state)
    with pytest.raises(UserError, match=r"neck reads maps of \[8, 13, 16, 24\] channels"):
        convert(src, tmp_path / "dst.pth")


def test_other_networks_are_refused(tmp_path):
    torch.save({"state_dict": {"conv1.weight": torch.ones(1)}}, tmp_path / "src.pth")
    with pytest.raises(UserError, match="no complete CAS-ViT stages"):
        convert(tmp_path / "src.pth", tmp_path / "dst.pth")


def test_the_target_is_checked_first(tmp_path):
    with pytest.raises(UserError, match="unknown suffix"):
        convert("absent.pth", tmp_path / "dst.bin")
    (tmp_path / "dst.pth").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        convert("absent.pth", tmp_path / "dst.pth")


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(step, tmp_path, monkeypatch):
    src = save_official_classification(tmp_path / "src.pth", model=classifier_state())
    dst = tmp_path / "dst.pth"
    dst.write_text("old")

    def fill_the_disk(path: Path, content: object) -> None:
        with path.open("wb") as stream:
            stream.write(b"half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, step, fill_the_disk)
    with pytest.raises(UserError, match="cannot be written: no space left"):
        convert(src, dst, force=True)
    assert dst.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dst.pth", "src.pth"]


def test_a_target_under_a_file_is_named(tmp_path):
    src = save_official_classification(tmp_path / "src.pth", model=classifier_state())
    with pytest.raises(UserError, match="cannot be written"):
        convert(src, src / "dst.pth")


def test_the_command_says_what_it_did(tmp_path, capsys):
    src = save_official_classification(tmp_path / "src.pth", model=classifier_state())
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args([str(src), str(tmp_path / "dst.pth")]))
    out = capsys.readouterr().out
    assert "official classification" in out
    assert f"wrote {tmp_path / 'dst.pth'}" in out


def test_the_source_is_never_overwritten(tmp_path):
    src = save_official_classification(tmp_path / "official.pth", model=classifier_state())
    content = src.read_bytes()
    with pytest.raises(UserError, match="is the source itself"):
        convert(src, src, force=True)
    assert src.read_bytes() == content
