"""Manifests read as they were written, whatever they hold."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from mtp_bench.datasets import manifest
from mtp_bench.datasets.samples import Instance, Objects, objects
from mtp_bench.datasets.tiling import Window
from mtp_bench.errors import UserError

VALUES = [0.1, -3.0, 1e-9, 123456.789, 2 / 3, 7.0, 8.0, 9.0]


@pytest.mark.parametrize("numbers", [4, 8])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_sample_reads_as_it_was_written(tmp_path: Path, numbers: int, count: int) -> None:
    root, folder = tmp_path / "root", tmp_path
    sample = manifest.Sample(
        images=(root / "ä/b c.png", folder / "d.png"),
        scene="a/b",
        size=(5, 6),
        window=Window(1, 2, 3, 0.5),
        objects=objects([(VALUES[:numbers], 3, 2, line) for line in range(count)], numbers),
        mask=folder / "m.png",
        instances=folder / "i.json",
        target=0,
    )
    line = manifest.line_of(sample, folder, root)
    (folder / "train.jsonl").write_bytes(2 * line)
    for read in manifest.read(folder, "train", root):
        for field in fields(sample):
            told, back = getattr(sample, field.name), getattr(read, field.name)
            assert field.name == "objects" or told == back
        assert read.objects is not None
        assert sample.objects is not None
        for field in fields(Objects):
            one, two = (getattr(each.objects, field.name) for each in (sample, read))
            assert (one.dtype, one.shape, one.tobytes()) == (two.dtype, two.shape, two.tobytes())


def test_what_a_sample_has_not_stays_none(tmp_path: Path) -> None:
    line = manifest.line_of(manifest.Sample((tmp_path / "a",), "a"), tmp_path, tmp_path)
    (tmp_path / "all.jsonl").write_bytes(line)
    (read,) = manifest.read(tmp_path, "all", tmp_path)
    assert {getattr(read, field.name) for field in fields(read)[2:]} == {None}


@pytest.mark.parametrize(
    "line",
    [
        '{"scene": "a", "images": [":../x"]}',
        '{"scene": "a", "images": ["a/../../x"]}',
        '{"images": ["x"]}',
        "{",
    ],
)
def test_a_damaged_manifest_is_the_users_error(tmp_path: Path, line: str) -> None:
    (tmp_path / "train.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match="damaged"):
        manifest.read(tmp_path, "train", tmp_path)
    with pytest.raises(UserError, match=r"no split 'val' .*train"):
        manifest.read(tmp_path, "val", tmp_path)


def test_instances_are_plain_json(tmp_path: Path) -> None:
    rle = {"size": [np.int64(3), 4], "counts": b"04hello"}
    text = manifest.instances_text((Instance(2, (0.0, 1.0, 2.0, 3.5), rle),))
    (tmp_path / "i.json").write_text(text)
    (back,) = manifest.read_instances(tmp_path / "i.json")
    assert back == Instance(2, (0.0, 1.0, 2.0, 3.5), {"size": [3, 4], "counts": "04hello"})
