"""Files that hold no weights are refused by kind, and no message is torch's."""

import argparse
import gzip
import io
import json
import pathlib
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from timesformer.cli.main import main
from timesformer.errors import WeightsError
from timesformer.weights.formats.released import save_released
from timesformer.weights.formats.transformers import save_transformers
from timesformer.weights.load import load
from timesformer.weights.model_folder import save
from tiny import random_model, square_config, tiny_config

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 343261234\n"
PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><head><title> Google Drive -\n Virus scan warning</title></head></html>"
SAFETENSORS_HEAD = (80).to_bytes(8, "little") + b'{"a":{"dtype":"F32"'


def tar_of(data: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pth"), io.BytesIO(data))
    return target.getvalue()


def zip_of(*names: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return target.getvalue()


def numpy_of(save_as: Callable, content: object) -> bytes:
    target = io.BytesIO()
    save_as(target, content)
    return target.getvalue()


KINDS = {
    "empty": (b"", "is empty: the download or copy did not finish"),
    "zeros": (bytes(5000), "starts with zeros only: the download or copy did not finish"),
    "page": (PAGE, r"is a web page \('Google Drive - Virus scan warning'\), not weights: .* download the file itself"),
    "page without a title": (b"<html><body>Sign in</body></html>", "is a web page, not weights"),
    "storage": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is XML, not weights"),
    "pointer": (LFS, "is a Git LFS pointer to 343261234 bytes of weights, not the weights: run `git lfs pull`"),
    "annex": (b"/annex/objects/MD5E-s343--d41d.pth\n", "is a git-annex pointer, not the weights: run `git annex get`"),
    "json": (b'{"model_type": "timesformer"}', "is JSON, not weights: pass the model folder"),
    "text": ("Entrée interdite\n".encode(), "is a text file that starts with 'Entrée interdite', not weights"),
    "windows text": ("no weights".encode("utf-16"), "is a text file that starts with 'no weights'"),
    "tar": (tar_of(b"x" * 99), "is a tar archive: unpack it"),
    "gzip": (gzip.compress(b"x" * 99), "is a gzip file: unpack it"),
    "zip": (zip_of("a/config.json", "b", "c", "d"), r"is a zip archive of a/config\.json, b, c and 1 more: unpack it"),
    "empty zip": (zip_of(), "is truncated or damaged: a zip archive without its end"),
    "npy": (numpy_of(np.save, np.zeros(3)), r"is a NumPy array \(\.npy\)"),
    "npz": (numpy_of(np.savez, np.zeros(3)), r"is a NumPy archive \(\.npz\), the format of Google's ViT weights"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file, as written by Keras and TensorFlow"),
    "keras": (zip_of("config.json", "model.weights.h5"), "is a Keras model: convert it"),
    "gguf": (b"GGUF\x03\0\0\0" + bytes(99), r"is a GGUF file of llama\.cpp"),
    "video": (b"\0\0\0\x20ftypisom" + bytes(99), "is a video or an image: pass a weights file"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "is an image: pass a weights file"),
    "cut header": (SAFETENSORS_HEAD, "is truncated: it has 27 of 88 bytes; download or copy it again"),
    "text of before pickles": (pickle.dumps({"a": 1}, protocol=0), "is a text file that starts with"),
}


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "weights"])
@pytest.mark.parametrize("kind", KINDS)
def test_file_without_weights_is_described(tmp_path: Path, kind: str, name: str):
    content, told = KINDS[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{name}: cannot be read as weights: it {told}"):
        load(tmp_path / name)


@pytest.mark.parametrize("name", ["model.ckpt.data-00000-of-00001", "model.ckpt.index"])
def test_tensorflow_checkpoint_is_recognized_by_its_suffix(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"\0\1\2" * 99)
    with pytest.raises(
        WeightsError, match="it is a part of a TensorFlow checkpoint: get the weights in PyTorch format"
    ):
        load(tmp_path / name)


def test_onnx_model_is_recognized_by_its_suffix(tmp_path: Path):
    (tmp_path / "m.ONNX").write_bytes(b"\x08\x0a\x12\x07pytorch\x1a\x05")
    with pytest.raises(WeightsError, match="is an ONNX model: pass the model folder that it was exported from"):
        load(tmp_path / "m.ONNX")


def test_torchscript_and_exported_programs_are_refused_by_kind(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates what people still have
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 3), torch.zeros(1, 2)), str(tmp_path / "script.pt"))
    with pytest.raises(WeightsError, match=r"it is a TorchScript program \(torch\.jit\.save\), not weights; save the"):
        load(tmp_path / "script.pt")
    torch.export.save(torch.export.export(torch.nn.Linear(2, 3), (torch.zeros(1, 2),)), tmp_path / "program.pt2")
    with pytest.raises(WeightsError, match=r"is a program of torch\.export, which could run any code"):
        load(tmp_path / "program.pt2")


def test_folder_instead_of_a_file_is_refused(tmp_path: Path):
    folder = save(random_model(tiny_config()), tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    with pytest.raises(WeightsError, match=r"model\.safetensors: cannot be read as weights: it is a folder"):
        load(folder)


# --- Suffixes and cut files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["VIT.SAFETENSORS", "vit.bin", "vit.pth", "vit"])
def test_safetensors_are_read_whatever_their_suffix(tmp_path: Path, name: str):
    released = save_released(random_model(square_config()), tmp_path / "released.pyth")
    stored = torch.load(released, weights_only=True)["model_state"]
    save_file(stored, tmp_path / name)
    torch.testing.assert_close(
        load(tmp_path / name, num_heads=3).state_dict(), load(released).state_dict(), rtol=0, atol=0
    )


@pytest.mark.parametrize("name", ["RELEASED.PYTH", "released.safetensors", "checkpoint.pth.tar"])
def test_pickles_of_torch_are_read_whatever_their_suffix(tmp_path: Path, name: str):
    model = random_model(square_config())
    path = save_released(model, tmp_path / name)
    torch.testing.assert_close(load(path).state_dict(), model.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.999])
def test_truncated_file_is_reported(tmp_path: Path, fraction: float):
    path = save_released(random_model(square_config()), tmp_path / "released.pyth")
    path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])
    with pytest.raises(WeightsError, match="it is truncated or damaged: a zip archive without its end"):
        load(path)
    save_file({"a": torch.zeros(500)}, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(WeightsError, match=rf"it is truncated: it has [\d,]+ of {len(whole):,} bytes"):
        load(tmp_path / "a.safetensors")


def test_truncated_file_of_torch_before_1_6_is_reported(tmp_path: Path):
    torch.save({"a": torch.zeros(50)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "old.pth").read_bytes()
    (tmp_path / "old.pth").write_bytes(whole[:-40])
    with pytest.raises(
        WeightsError, match=r"old\.pth: cannot be read as weights: truncated or damaged \([\d,]+ bytes\)"
    ):
        load(tmp_path / "old.pth")


# --- Pickles that hold more than values -----------------------------------------------------------------------------


class Measure:
    """An object that a training script stores with its weights."""


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(2, 3)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            lambda: {"model": {"a": torch.zeros(1)}, "best": Measure()},
            r"it holds objects of [a-z.]*test_file_kinds\.Measure,",
        ),
        (lambda: {"best": np.float64(0.5)}, r"it holds objects of numpy\._core\.multiarray\.scalar, numpy\.dtype"),
        (lambda: {"out": pathlib.PurePosixPath("runs")}, r"it holds objects of pathlib\.(_local\.)?PurePosixPath,"),
        (
            Net,
            r"it holds a whole model of class [a-z.]*test_file_kinds\.Net, which cannot be read without running code",
        ),
        (lambda: {"model": torch.nn.Linear(2, 3)}, r"a whole model of class torch\.nn\.modules\.linear\.Linear"),
    ],
    ids=["object", "numpy", "path", "model", "torch's own"],
)
def test_class_in_a_pickle_is_named_with_the_cure(
    tmp_path: Path, content: Callable, told: str, legacy: bool, protocol: int
):
    path = tmp_path / "x.pth"
    torch.save(content(), path, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    with pytest.raises(WeightsError, match=rf"not a file of plain tensors, refused: .*{told}") as refused:
        load(path)
    assert "torch.save(model.state_dict(), 'weights.pth')" in str(refused.value)


def test_pickle_not_written_by_torch_is_refused(tmp_path: Path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a": torch.zeros(2)}))
    with pytest.raises(WeightsError, match=r"x\.pkl: .* a pickle that torch\.save did not write"):
        load(tmp_path / "x.pkl")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"blobs": {"a": np.zeros(2)}}))
    with pytest.raises(WeightsError, match=r"it holds objects of numpy\._core\.multiarray\.\w+"):
        load(tmp_path / "x.pkl")


def test_no_message_repeats_the_advice_of_torch(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    torch.save({"best": Measure(), "args": argparse.Namespace()}, tmp_path / "x.pth")
    with pytest.raises(SystemExit) as stop:
        main(["info", str(tmp_path / "x.pth")])
    err = capsys.readouterr().err
    assert stop.value.code == 1
    assert len(err.splitlines()) == 1
    assert "Measure" in err
    assert "weights_only" not in err


# --- Files that need their folder -----------------------------------------------------------------------------------


def test_error_for_a_file_of_a_model_folder_names_the_folder(tmp_path: Path):
    folder = save(random_model(tiny_config()), tmp_path / "model")
    with pytest.raises(WeightsError, match=rf"holds weights under this library's names, .*; pass its folder: {folder}"):
        load(folder / "model.safetensors")
    theirs = save_transformers(random_model(square_config()), tmp_path / "theirs")
    with pytest.raises(WeightsError, match=rf"under transformers' names, .*; pass its folder: {theirs}"):
        load(theirs / "model.safetensors")


def test_error_for_a_checkpoint_of_a_run_names_the_run(tmp_path: Path):
    model = random_model(tiny_config())
    state = {"state_dict": {f"model.{name}": tensor for name, tensor in model.state_dict().items()}}
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    torch.save(state, path)
    with pytest.raises(WeightsError, match="; pass the folder it came from, which has a config"):
        load(path)
    (tmp_path / "run" / "config.toml").write_text("")
    with pytest.raises(WeightsError, match=rf"pass its run folder: {tmp_path / 'run'}$"):
        load(path)


def test_error_for_a_timm_folder_names_its_weights_file(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_small_patch16_224", "num_classes": 0}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        WeightsError, match=rf"does not describe a TimeSformer; pass its weights file: {tmp_path / 'model.safetensors'}"
    ):
        load(tmp_path)


def test_error_for_a_folder_of_checkpoints_names_its_files(tmp_path: Path):
    for name in ("checkpoint_2.pth", "checkpoint_10.pth", "log.txt", "best.SAFETENSORS"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"has a config.json; pass a file in it: best\.SAFETENSORS, check"):
        load(tmp_path)
