"""Plans: what a suite expands to, and ids that depend on the experiment and on nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtp_bench.errors import UserError
from mtp_bench.suite.identity import job_id, seed_for, training_digest, upgrade
from mtp_bench.suite.load import load_suite
from mtp_bench.suite.missing import find_missing
from mtp_bench.suite.plan import Plan, make_plan, select
from mtp_bench.suite.schema import JobSpec, Roots

SUITES = Path(__file__).parents[2] / "suites"

SUITE = """\
name: small
protocol: demo
data: miniature
seeds: 2
backbones:
  timm/resnet18: [scratch, imp]
datasets: [EuroSAT, RESISC45]
"""


def plan_of(text: str, folder: Path) -> Plan:
    path = folder / "suite.yaml"
    path.write_text(text)
    return make_plan(load_suite(path))


def roots(folder: Path) -> Roots:
    return Roots(
        runs=str(folder / "runs"),
        results=str(folder / "results"),
        data=str(folder / "data"),
        weights=str(folder / "weights"),
        cache=str(folder / "cache"),
    )


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_suite_plans(path: Path) -> None:
    plan = make_plan(load_suite(path))
    assert plan.jobs
    assert plan.suite.name == path.stem


def test_full_is_the_grid_of_the_paper(tmp_path: Path) -> None:
    plan = make_plan(load_suite(SUITES / "full.yaml"))
    assert len(plan.jobs) == 84
    assert {job.spec.kind for job in plan.jobs} == {"finetune"}
    missing = find_missing(plan, roots(tmp_path))
    data = [m for m in missing if m.kind == "data"]
    weights = [m for m in missing if m.kind == "weights"]
    assert (len(data), len(weights)) == (14, 6)
    assert {len(m.jobs) for m in data} == {6}
    assert {len(m.jobs) for m in weights} == {14}
    lacking = {job for m in missing if m.kind == "code" for job in m.jobs}
    assert lacking == {job.id for job in plan.jobs if job.lacks}


def test_paper_settings_of_eurosat_are_those_of_the_release() -> None:
    plan = make_plan(load_suite(SUITES / "full.yaml"))
    chosen = select(plan, ["dataset=EuroSAT", "recipe=mae+mtp", "backbone=vit_l_rvsa"])
    settings = chosen.jobs[0].spec.settings
    assert (settings.lr, settings.layer_decay, settings.drop_path) == (6e-5, 0.9, 0.3)
    assert settings.length.epochs == 100
    assert settings.warmup is not None
    assert settings.warmup.epochs == 5
    assert (settings.batch_size, settings.schedule_step) == (64, "epoch")
    intern = select(plan, ["dataset=RESISC45", "backbone=internimage_xl", "recipe=imp"])
    settings = intern.jobs[0].spec.settings
    assert (settings.lr, settings.layer_decay, settings.drop_path) == (2e-5, None, 0.2)
    assert settings.length.epochs == 200


def test_plans_are_deterministic_and_free_of_duplicates(tmp_path: Path) -> None:
    first, second = plan_of(SUITE, tmp_path), plan_of(SUITE, tmp_path)
    assert [job.id for job in first.jobs] == [job.id for job in second.jobs]
    assert len({job.id for job in first.jobs}) == len(first.jobs) == 8


def test_ids_ignore_files_titles_and_order(tmp_path: Path) -> None:
    before = {job.id for job in plan_of(SUITE, tmp_path).jobs}
    (tmp_path / "data" / "EuroSAT").mkdir(parents=True)
    text = SUITE.replace("name: small", "name: other\ntitle: another question")
    text = text.replace("[EuroSAT, RESISC45]", "[RESISC45, EuroSAT]")
    assert {job.id for job in plan_of(text, tmp_path).jobs} == before


@pytest.mark.parametrize(
    "change",
    [
        ("data: miniature", "data: subset"),
        ("seeds: 2", "seeds: 2\noverrides: [{set: {lr: 2e-3}}]"),
        ("seeds: 2", "seeds: 2\noverrides: [{set: {test: {image_size: 96}}}]"),
        ("seeds: 2", "seeds: 2\nweights: {timm/resnet18: {imp: a.pth}}"),
    ],
    ids=["data", "training", "test", "weights"],
)
def test_ids_differ_where_the_experiment_does(change: tuple[str, str], tmp_path: Path) -> None:
    before = {job.id for job in plan_of(SUITE, tmp_path).jobs if job.spec.recipe == "imp"}
    after = {
        job.id for job in plan_of(SUITE.replace(*change), tmp_path).jobs if job.spec.recipe == "imp"
    }
    assert not before & after


def test_another_test_setting_is_the_same_training(tmp_path: Path) -> None:
    change = ("seeds: 2", "seeds: 2\noverrides: [{set: {test: {image_size: 96}}}]")
    before = plan_of(SUITE, tmp_path).jobs
    after = plan_of(SUITE.replace(*change), tmp_path).jobs
    for one, other in zip(before, after, strict=True):
        assert one.id != other.id
        assert training_digest(one.spec) == training_digest(other.spec)


def test_a_stored_spec_has_the_id_of_its_job(tmp_path: Path) -> None:
    job = plan_of(SUITE, tmp_path).jobs[0]
    stored = job.spec.model_dump(mode="json")
    assert job_id(JobSpec.model_validate_json(job.spec.model_dump_json())) == job.id
    assert upgrade(stored) == stored


def test_seeds_are_of_dataset_and_repetition() -> None:
    assert seed_for("EuroSAT", 0) == seed_for("EuroSAT", 0)
    known = {seed_for(d, r, p) for d in ("EuroSAT", "DIOR") for r in (0, 1) for p in ("", "head")}
    assert len(known) == 8
    assert all(0 <= seed < 2**31 for seed in known)


def test_later_overrides_win(tmp_path: Path) -> None:
    rules = "overrides:\n  - set: {lr: 1e-2}\n  - where: {dataset: EuroSAT}\n    set: {lr: 1e-4}\n"
    rates = {
        job.spec.dataset: job.spec.settings.lr for job in plan_of(SUITE + rules, tmp_path).jobs
    }
    assert rates == {"EuroSAT": 1e-4, "RESISC45": 1e-2}


def test_run_stages_become_shared_pretrain_jobs(tmp_path: Path) -> None:
    text = SUITE.replace("[scratch, imp]", "[imp, imp+mtp]") + "pretrain_seeds: 2\n"
    plan = plan_of(text, tmp_path)
    pretrain = [job for job in plan.jobs if job.spec.kind == "pretrain"]
    chained = [job for job in plan.jobs if job.spec.recipe == "imp+mtp" and job not in pretrain]
    plain = [job for job in plan.jobs if job.spec.recipe == "imp"]
    assert (len(pretrain), len(chained), len(plain)) == (2, 8, 4)
    assert {need for job in chained for need in job.needs} == {job.id for job in pretrain}
    assert not any(job.lacks for job in plan.jobs)
    assert [job.spec.kind for job in plan.jobs[:2]] == ["pretrain", "pretrain"]


def test_a_variant_of_a_stage_is_a_recipe_with_settings_of_its_own(tmp_path: Path) -> None:
    text = SUITE.replace("[scratch, imp]", "[imp+mtp, imp+one_head]")
    text += "recipes: {one_head: {stage: mtp, set: {mtp: {heads: [rotated]}, lr: 2e-4}}}\n"
    text += "overrides: [{where: {stage: mtp}, set: {mtp: {held_out: 7}, batch_size: 12}}]\n"
    plan = plan_of(text, tmp_path)
    jobs = {job.spec.recipe: job.spec for job in plan.jobs if job.spec.kind == "pretrain"}
    assert jobs.keys() == {"imp+mtp", "imp+one_head"}
    assert {spec.stage for spec in jobs.values()} == {"mtp"}
    found = [(spec.settings.mtp, spec.settings) for spec in jobs.values()]
    assert all(mtp is not None and mtp.held_out == 7 for mtp, _ in found)
    assert [len(mtp.heads) for mtp, _ in found if mtp] == [3, 1]
    assert [settings.lr for _, settings in found] == [1e-3, 2e-4]
    assert {settings.batch_size for _, settings in found} == {12}
    fine = {job.spec.settings.batch_size for job in plan.jobs if job.spec.kind == "finetune"}
    assert fine == {8}


def test_what_a_suite_leaves_out_is_not_planned(tmp_path: Path) -> None:
    text = SUITE.replace("imp]", "imp+mtp]") + "leave_out: [{dataset: RESISC45}]\n"
    plan = plan_of(text, tmp_path)
    assert {job.spec.dataset for job in plan.jobs} == {"EuroSAT", "SAMRS"}
    assert not plan.skipped


def test_only_plain_transformers_are_masked(tmp_path: Path) -> None:
    names = {
        "timm/vit_base_patch16_224": True,
        "timm/deit3_small_patch16_224": True,
        "timm/vit_base_r50_s16_224": False,
        "timm/vit_relpos_base_patch16_224": False,
        "timm/swin_tiny_patch4_window7_224": False,
        "timm/vitamin_small_224": False,
        "vit_s_rvsa": True,
        "internimage_t": False,
    }
    lines = "".join(f"  {name}: [mae]\n" for name in names)
    text = SUITE.replace("  timm/resnet18: [scratch, imp]\n", lines)
    plan = plan_of(text, tmp_path)
    masked = {job.spec.backbone for job in plan.jobs if job.spec.kind == "pretrain"}
    assert masked == {name for name, plain in names.items() if plain}


def test_full_pretrain_runs_the_published_stage_once_a_backbone(tmp_path: Path) -> None:
    """mtp_protocol.md of the release: 448 px but for ViT-B, no warm-up, no decay that acted."""
    plan = make_plan(load_suite(SUITES / "full_pretrain.yaml"))
    stages = [job for job in plan.jobs if job.spec.kind == "pretrain"]
    assert (len(stages), len(plan.jobs)) == (3, 87)
    found = {}
    for job in stages:
        p = job.spec.settings
        assert (p.length.iterations, p.batch_size, p.warmup, p.clip_norm) == (80_000, 96, None, 5)
        assert (p.schedule, p.weight_decay, p.precision) == ("cosine", 0.05, "fp32")
        assert p.decoder is not None
        assert p.decoder.channels == 256
        found[job.spec.backbone] = (p.image_size, p.lr, p.layer_decay, p.drop_path)
        users = [other for other in plan.jobs if job.id in other.needs]
        assert len(users) == 14
    assert found == {
        "vit_b_rvsa": (224, 6e-5, None, 0.1),
        "vit_l_rvsa": (448, 6e-5, None, 0.1),
        "internimage_xl": (448, 2e-5, 0.94, 0.2),
    }
    wanted = {m.name for m in find_missing(plan, roots(tmp_path)) if m.kind == "data"}
    assert "SAMRS" in wanted


def test_mae_is_as_published(tmp_path: Path) -> None:
    text = SUITE.replace("demo", "paper").replace("miniature", "release")
    text = text.replace(
        "  timm/resnet18: [scratch, imp]", "  vit_b_rvsa: [mae]\n  vit_l_rvsa: [mae]"
    )
    jobs = [job for job in plan_of(text, tmp_path).jobs if job.spec.kind == "pretrain"]
    assert len(jobs) == 2
    for job in jobs:
        p = job.spec.settings
        assert p.mae is not None
        assert (p.batch_size, p.length.epochs, p.betas) == (2048, 1600, (0.9, 0.95))
        assert p.learning_rate == pytest.approx(1.2e-3)  # 1.5e-4 x 2048 / 256
        sizes = (p.mae.mask, p.mae.decoder_width, p.mae.decoder_depth, p.mae.decoder_heads)
        assert sizes == (0.75, 512, 8, 16)
        assert p.mae.normalise_patches == (job.spec.backbone == "vit_l_rvsa")


def test_the_ablation_has_a_pretraining_for_each_choice() -> None:
    plan = make_plan(load_suite(SUITES / "ablation_tasks.yaml"))
    stages = [job.spec.settings.mtp for job in plan.jobs if job.spec.kind == "pretrain"]
    assert len({(mtp.heads, mtp.subsets) for mtp in stages if mtp}) == len(stages) == 10


def test_a_file_stands_for_the_longest_chain_that_it_is_named_for(tmp_path: Path) -> None:
    text = SUITE.replace("[scratch, imp]", "[imp+mtp]")
    text += "weights: {timm/resnet18: {imp: a.pth, imp+mtp: b.pth}}\n"
    plan = plan_of(text, tmp_path)
    assert {job.spec.kind for job in plan.jobs} == {"finetune"}
    (stage,) = plan.jobs[0].spec.stages
    assert stage.weights is not None
    assert (stage.name, stage.weights.file) == ("imp+mtp", "b.pth")


def test_own_checkpoints_are_recipes(tmp_path: Path) -> None:
    text = SUITE.replace("[scratch, imp]", "[mine, ours]")
    text += "recipes:\n  mine: {weights: {file: ssl.safetensors}}\n  ours: {chain: mine+mtp}\n"
    plan = plan_of(text, tmp_path)
    pretrain = [job for job in plan.jobs if job.spec.kind == "pretrain"]
    assert len(pretrain) == 1
    assert pretrain[0].spec.stages[0].weights is not None
    names = [m.name for m in find_missing(plan, roots(tmp_path)) if m.kind == "weights"]
    assert names == ["ssl.safetensors"]


def test_what_cannot_be_is_skipped_with_the_reason(tmp_path: Path) -> None:
    text = SUITE.replace("timm/resnet18: [scratch, imp]", "internimage_xl: [scratch, mae]")
    rules = "overrides: [{set: {lr: 1e-4}}]\n"
    plan = plan_of(text + rules, tmp_path)
    assert {job.spec.recipe for job in plan.jobs} == {"scratch"}
    assert {skip.recipe for skip in plan.skipped} == {"mae"}
    assert {skip.reason for skip in plan.skipped} == {
        "mae masks tokens: it needs a plain vision transformer"
    }


def test_missing_things_vanish_as_they_appear(tmp_path: Path) -> None:
    text = SUITE.replace("miniature", "release") + "weights: {timm/resnet18: {imp: a.pth}}\n"
    plan = plan_of(text, tmp_path)
    kinds = [(m.kind, m.name) for m in find_missing(plan, roots(tmp_path))]
    assert kinds == [("data", "EuroSAT"), ("data", "RESISC45"), ("weights", "a.pth")]
    (tmp_path / "data" / "eurosat").mkdir(parents=True)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.pth").touch()
    left = [(m.kind, m.name) for m in find_missing(plan, roots(tmp_path))]
    assert left == [("data", "RESISC45")]


def test_only_means_either_for_one_key_and_both_for_two(tmp_path: Path) -> None:
    plan = plan_of(SUITE, tmp_path)
    assert len(select(plan, ["dataset=EuroSAT"]).jobs) == 4
    assert len(select(plan, ["dataset=EuroSAT", "dataset=RESISC45"]).jobs) == 8
    assert len(select(plan, ["dataset=EuroSAT", "recipe=imp", "seed=1"]).jobs) == 1


def test_only_keeps_what_a_job_needs(tmp_path: Path) -> None:
    plan = plan_of(SUITE.replace("imp]", "imp+mtp]"), tmp_path)
    kinds = [job.spec.kind for job in select(plan, ["recipe=imp+mtp", "seed=0"]).jobs]
    assert kinds == ["pretrain", "finetune", "finetune"]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (
            "recipe",
            "--only recipe: write KEY=VALUE with a key of: task, dataset, backbone, recipe, seed",
        ),
        (
            "colour=red",
            "--only colour=red: write KEY=VALUE with a key of: "
            "task, dataset, backbone, recipe, seed",
        ),
        ("dataset=EuroSta", "--only dataset=EuroSta: no job has it: did you mean 'EuroSAT'?"),
    ],
)
def test_only_says_what_is_wrong(condition: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        select(plan_of(SUITE, tmp_path), [condition])
    assert caught.value.lines == (message,)


# Image, batch, augmentation, detector, epochs, milestones, epochs between validations.
DETECTION = {
    "DIOR": (800, 4, "flip", "faster_rcnn", 12, (8, 11), 3),
    "xView": (416, 4, "flip", "retinanet", 12, (8, 11), 3),
    "DIOR-R": (800, 4, "flips", "oriented_rcnn", 12, (8, 11), 3),
    "FAIR1M-2.0": (800, 4, "flips_rotate", "oriented_rcnn", 12, (8, 11), 12),
    "DOTA-v1.0": (1024, 4, "flips_rotate", "oriented_rcnn", 12, (8, 11), 3),
    "DOTA-v2.0": (1024, 4, "flips", "oriented_rcnn", 40, (24, 32, 38), 8),
}


@pytest.mark.parametrize("dataset", DETECTION)
def test_paper_settings_of_detection_are_those_of_the_release(dataset: str) -> None:
    jobs = [
        j for j in make_plan(load_suite(SUITES / "full.yaml")).jobs if j.spec.dataset == dataset
    ]
    assert len(jobs) == 6
    for job in jobs:
        p = job.spec.settings
        assert p.detector is not None
        found = (p.image_size, p.batch_size, p.augmentation, p.detector.kind, p.length.epochs)
        assert (*found, p.milestones, p.validate_every.epochs) == DETECTION[dataset]
        assert (p.lr, p.betas, p.weight_decay, p.clip_norm) == (1e-4, (0.9, 0.999), 0.05, None)
        assert (p.schedule, p.warmup_start, p.precision) == ("step", 1e-6, "fp32")
        assert p.warmup is not None
        assert p.warmup.iterations == 500
        vit = job.spec.backbone.startswith("vit")
        assert (p.layer_decay, p.drop_path) == ((0.9, 0.3) if vit else (None, 0.2))
        assert p.checkpointing == (dataset != "xView")
        assert (p.detector.channels, p.detector.fc_channels, p.detector.rois) == (256, 1024, 512)
        assert p.train_on_val
        assert p.test.image_size == p.image_size
        assert p.right_angles == (("storage-tank", "roundabout") if dataset == "DOTA-v1.0" else ())


def test_a_setting_at_its_default_is_no_part_of_the_id(tmp_path: Path) -> None:
    """So that a field that a later version adds repeats no job."""
    plain, said = (
        plan_of(f"{SUITE}overrides: [{{set: {{{words}}}}}]\n", tmp_path).jobs
        for words in ("lr: 1e-3", "lr: 1e-3, checkpointing: false, train_fraction: 1.0")
    )
    assert [job.id for job in plain] == [job.id for job in said]
    other = plan_of(f"{SUITE}overrides: [{{set: {{checkpointing: true}}}}]\n", tmp_path).jobs
    assert {job.id for job in other}.isdisjoint(job.id for job in plain)


# Image, batch, augmentation, length, validations, test, decoder, lr of ViT.
MAPS = {
    "SpaceNet-v1": (384, 8, "scale_crop", {"iterations": 80000}, {"iterations": 20000}, 384, 256),
    "LoveDA": (512, 8, "scale_crop", {"iterations": 80000}, {"iterations": 20000}, 512, 384),
    "OSCD": (224, 32, "pairs", {"epochs": 100}, {"epochs": 20}, 224, None),
    "WHU-CD": (256, 32, "pairs", {"epochs": 200}, {"epochs": 40}, 256, None),
    "LEVIR-CD": (256, 32, "pairs", {"epochs": 150}, {"epochs": 30}, 256, None),
    "SVCD": (256, 32, "pairs", {"epochs": 200}, {"epochs": 40}, 256, None),
}


@pytest.mark.parametrize("dataset", MAPS)
def test_paper_settings_of_label_maps_are_those_of_the_release(dataset: str) -> None:
    jobs = select(make_plan(load_suite(SUITES / "full.yaml")), [f"dataset={dataset}"]).jobs
    assert len(jobs) == 6
    for job in jobs:
        p = job.spec.settings
        length, often = (s.model_dump(exclude_none=True) for s in (p.length, p.validate_every))
        found = (p.image_size, p.batch_size, p.augmentation, length, often, p.test.image_size)
        assert (*found, p.test.stride) == MAPS[dataset]
        vit = job.spec.backbone.startswith("vit")
        assert (p.lr, p.layer_decay, p.drop_path) == (
            (6e-5, 0.9, 0.3) if vit else (2e-5, None, 0.2)
        )
        assert (p.schedule, p.warmup_start, p.clip_norm, p.weight_decay) == (
            "cosine",
            1e-6,
            None,
            0.05,
        )
        assert p.warmup is not None
        segments = job.spec.task == "segmentation"
        warm = {"iterations": 1500} if segments else {"epochs": 5}
        assert p.warmup.model_dump(exclude_none=True) == warm
        assert p.schedule_step == ("iteration" if segments else "epoch")
        assert p.decoder is not None
        assert (p.decoder.kind, p.decoder.channels, p.decoder.dropout) == (
            "upernet" if segments else "unet",
            512,
            0.1,
        )
