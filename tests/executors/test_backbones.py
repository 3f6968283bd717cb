"""Our own backbones in real jobs: from nothing, from a released file, and with unfit pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from mtp_bench.backbones import torchvision_shim
from tests.executors.test_run import Place, place

torchvision_shim.apply()

from timm.models import VisionTransformer  # noqa: E402

__all__ = ["place"]


def mae_file(path: Path) -> None:
    shape: dict[str, Any] = {"embed_dim": 128, "depth": 4, "num_heads": 4}
    state = VisionTransformer(img_size=224, num_classes=0, **shape).state_dict()
    torch.save({"model": state, "args": argparse.Namespace(mask_ratio=0.75)}, path)


def test_they_train_from_nothing_and_from_a_released_file(place: Place) -> None:
    mae_file(place.folder / "mae.pth")
    place.change(
        "  timm/test_vit: [scratch]\n", "  internimage_pico: [scratch]\n  vit_t_rvsa: [mae]\n"
    )
    with place.suite.open("a") as suite:
        suite.write("weights: {vit_t_rvsa: {mae: mae.pth}}\n")
    code, _, err = place.run("--weights", str(place.folder))
    assert code == 0, err
    pico, rvsa = place.records()
    assert pico["provenance"]["weights"] is None
    assert rvsa["provenance"]["weights"]["source"] == "mae.pth"
    assert rvsa["provenance"]["weights"]["matched_share"] == 1.0
    assert all(r["metrics"]["accuracy"]["value"] > 15 for r in (pico, rvsa))  # of 10 classes


def test_pictures_unlike_those_of_the_weights_are_refused_before_any_job(place: Place) -> None:
    place.change("timm/test_vit: [scratch]", "timm/tf_efficientnet_lite0: [imp]")
    with place.suite.open("a") as suite:
        suite.write("overrides: [{set: {mean: [124, 116, 104], std: [58, 57, 57]}}]\n")
    code, _, err = place.run()
    assert code == 2
    assert "its weights expect pictures of mean (127.5, 127.5, 127.5)" in err
    assert "own_statistics: true" in err
    assert not (place.folder / "runs").exists()
