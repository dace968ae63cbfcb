"""Plans, their runs, and the command lines of the runs."""

import argparse
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from casvit_dense.cli.arguments import positive_number
from casvit_dense.cli.options import OverrideAction
from casvit_dense.cli.parser import build_parser
from casvit_dense.cli.reproduce import pair
from casvit_dense.config.read import read_config
from casvit_dense.config.resolve import resolve
from casvit_dense.engine.record import training_record
from casvit_dense.errors import UserError
from casvit_dense.reproduce import plan as planning
from casvit_dense.reproduce.plan import (
    PlannedModel,
    Run,
    Settings,
    choose,
    read_plan,
    runs_of,
    with_seeds,
    zoo_plan,
)
from casvit_dense.reproduce.recipe import batch_overrides, recipe_of
from casvit_dense.reproduce.steps import test_command as command_of_test
from casvit_dense.reproduce.steps import train_command

RECIPES = [
    f"{head}_casvit-{arch}_{rest}"
    for head, rest in (
        ("retinanet", "fpn_8xb4-1x_coco"),
        ("mask-rcnn", "fpn_8xb4-1x_coco"),
        ("fpn", "8xb4-40k_ade20k-512x512"),
    )
    for arch in ("xs", "s", "m", "t")
]


DEMO = Path(__file__).parents[2] / "configs/demo/retinanet_casvit-mini_fpn_shapes.py"


def test_the_plan_of_the_zoo_begins_with_the_twelve_recipes() -> None:
    plan = zoo_plan()
    assert [model.stem for model in plan.models][:12] == RECIPES
    assert all(model.config.is_file() for model in plan.models)
    assert plan.seeds == (0,)


@pytest.mark.parametrize(
    ("patterns", "places"),
    [
        (RECIPES, range(12)),
        (["fpn_*"], range(8, 12)),
        (["retinanet_casvit-t_*", RECIPES[8], RECIPES[0]], (0, 3, 8)),
    ],
)
def test_choosing_keeps_the_order(patterns: list[str], places: object) -> None:
    chosen = choose(zoo_plan(), patterns)
    assert [model.stem for model in chosen.models] == [RECIPES[i] for i in places]


def test_no_choice_is_the_whole_plan() -> None:
    assert choose(zoo_plan(), []) == zoo_plan()


def test_a_choice_that_fits_nothing_names_what_there_is() -> None:
    with pytest.raises(UserError, match="--only fpn matches no config") as caught:
        choose(zoo_plan(), ["fpn"])
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == RECIPES
    with pytest.raises(UserError, match=rf"did you mean\n  {RECIPES[0]}\n"):
        choose(zoo_plan(), [RECIPES[0].replace("casvit", "casivt")])


def test_every_model_comes_before_the_second_seed_of_any() -> None:
    plan = with_seeds(choose(zoo_plan(), ["fpn_*-xs_*", "fpn_*-s_*"]), 2)
    runs = runs_of(plan, Path("w"))
    xs, s = RECIPES[8:10]
    assert [(run.model.stem, run.seed) for run in runs] == [(xs, 0), (s, 0), (xs, 1), (s, 1)]
    assert [run.work_dir for run in runs] == [
        *(Path("w", xs), Path("w", s)),
        *(Path("w", xs, "seed-1"), Path("w", s, "seed-1")),
    ]
    assert runs_of(with_seeds(plan, 3), Path("w"))[:4] == runs, "what is there stays valid"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_plan_file_finds_its_files_and_reads_overrides_as_the_command_line_does(
    tmp_path: Path,
) -> None:
    write(tmp_path / "mine.py", "")
    plan = read_plan(
        write(
            tmp_path / "plan.yaml",
            """
            seeds: [3, 5]
            models:
              - config: mine.py
                data_root: data
                pretrained: weights.pth
                seeds: [7]
                cfg_options: {a.b: "(64, 32)", a.c: 1e-4, a.d: words, a.e: [1, {f: "None"}]}
              - config: fpn_casvit-mini_shapes
                from_scratch: true
            """,
        )
    )
    mine, published = plan.models
    assert (mine.data_root, mine.pretrained) == (tmp_path / "data", tmp_path / "weights.pth")
    assert mine.cfg_options == {
        **{"a.b": (64, 32), "a.c": 1e-4, "a.d": "words"},
        "a.e": [1, {"f": None}],
    }
    assert published.config.is_file() and published.stem == "fpn_casvit-mini_shapes"
    assert [run.seed for run in runs_of(plan, Path())] == [7, 3, 5]

    taken = argparse.ArgumentParser()
    taken.add_argument("--cfg-options", nargs="+", action=OverrideAction)
    words = [f"{key}={value!r}" for key, value in mine.cfg_options.items()]
    assert taken.parse_args(["--cfg-options", *words]).cfg_options == mine.cfg_options


def test_a_json_plan_is_a_plan(tmp_path: Path) -> None:
    plan = read_plan(
        write(tmp_path / "plan.json", '{"models": [{"config": "fpn_casvit-mini_shapes"}]}')
    )
    assert plan.seeds == (0,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: []", "models: is empty"),
        ("models: [{config: none.py}]", "no config file .*none.py, and none of that name"),
        (
            "models: [{config: fpn_casvit-mini_shapes, colour: red}]",
            "models, row 1, colour: is not a known key",
        ),
        ("models: [{conf: x}]", "models, row 1, config: is missing"),
        ("seeds: [0, 0]\nmodels: [{config: a}]", "seeds: a seed is there twice"),
        (
            "seeds: [-1]\nmodels: [{config: a}]",
            "seeds, row 1: must be greater than or equal to 0, not -1",
        ),
        ("models: [fpn_casvit-mini_shapes]", "models, row 1: must be keys with values, not 'fpn_"),
        ("[1", "cannot be read: while parsing"),
        ("", "plan .*: must be keys with values, not None"),
        (
            "models: [{config: fpn_casvit-mini_shapes}, {config: fpn_casvit-mini_shapes}]",
            "fpn_casvit-mini_shapes is there twice",
        ),
    ],
)
def test_a_wrong_plan_is_one_message(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_plan(write(tmp_path / "plan.yaml", text))
    assert "\n" not in str(error.value)


def test_a_plan_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="plan .*none.yaml cannot be read"):
        read_plan(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("gpus", "steps", "expected"),
    [
        (8, 1, {}),  # 8 x 4 = 32, the recipe
        (4, 1, {"train_dataloader.batch_size": 8}),
        (1, 1, {"train_dataloader.batch_size": 32}),
        (16, 1, {"train_dataloader.batch_size": 2}),
        (4, 2, {}),  # 4 x 4 x 2 = 32
        (2, 2, {"train_dataloader.batch_size": 8}),
        (3, 1, {"optim_wrapper.optimizer.lr": 2e-4 * 12 / 32}),  # 32 is no multiple of 3
    ],
)
def test_the_global_batch_is_kept_where_the_gpus_can_share_it(
    gpus: int, steps: int, expected: dict
) -> None:
    cfg = read_config(zoo_plan().models[8].config)
    cfg.optim_wrapper.accumulative_counts = steps
    assert batch_overrides(cfg, gpus) == pytest.approx(expected)


@pytest.fixture
def model(tmp_path: Path) -> PlannedModel:
    return PlannedModel(
        config=zoo_plan().models[8].config,
        cfg_options={"train_dataloader.num_workers": 0, "test_dataloader.batch_size": 2},
    )


@pytest.mark.parametrize("launcher", ["none", "torchrun", "slurm"])
def test_command_lines(model: PlannedModel, launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRUN_ARGS", "--partition gpu")
    monkeypatch.setenv("GPUS_PER_NODE", "2")
    settings = Settings(
        launcher=launcher,
        gpus=1 if launcher == "none" else 4,
        data_roots={"ade20k": "/data/ade", "coco": "/data/coco"},
        pretrained=Path("files"),
    )
    run = Run(model, 3, Path("w/x/seed-3"))
    known = recipe_of(model, settings)
    train = train_command(run, known, settings)
    test = command_of_test(run, known, settings, Path("w/x/iter_4.pth"))

    if launcher == "torchrun":
        assert train[1:4] == ["-m", "casvit_dense.training.launch", "4"]
    if launcher == "slurm":
        assert train[0] == "srun" and {"--ntasks=4", "--ntasks-per-node=2"} <= {*train}
        assert train[-2:] == ["--launcher", "slurm"]
    for name, command in (("train", train), ("test", test)):  # the program must understand it
        build_parser().parse_args(command[command.index(name) :])
    words = train[train.index("train") :]
    assert words[:2] == ["train", str(model.config)]
    flags = dict(zip(words[2::2], words[3::2], strict=False))
    assert flags["--resume"] == "auto" and flags["--seed"] == "3"
    assert flags["--work-dir"] == "w/x/seed-3" and flags["--data-root"] == "/data/ade"
    assert flags["--pretrained"] == "files/casvit-xs_in1k.pth"
    size = {1: 32, 4: 8}[settings.gpus]
    assert f"train_dataloader.batch_size={size}" in train
    # The row must be that of the recipe: what only training needs is not in its config.
    assert not any(word.startswith("train_dataloader.batch_size") for word in test)
    assert "test_dataloader.batch_size=2" in test and "w/x/iter_4.pth" in test
    assert test[test.index("--ledger") + 1] == "work_dirs/results.jsonl"


def test_hashes_do_not_depend_on_the_gpus(model: PlannedModel) -> None:
    plain = model.model_copy(update={"cfg_options": {}})
    known = {gpus: recipe_of(plain, Settings(gpus=gpus)) for gpus in (1, 3, 8)}
    assert known[1].trained.recipe == known[8].trained.recipe == known[8].evaluated.recipe
    assert known[1].evaluated.config == known[8].evaluated.config
    assert known[3].trained.recipe != known[8].trained.recipe, "the learning rate is another"
    scratch = plain.model_copy(update={"from_scratch": True})
    found = recipe_of(scratch, Settings(gpus=8))
    assert found.trained.recipe != known[8].trained.recipe
    assert found.evaluated.config == known[8].evaluated.config
    assert found.weights == "" and known[8].weights == "pretrained/casvit-xs_in1k.pth"


@pytest.mark.parametrize("changes", [{}, {"pretrained": "w.pth"}, {"from_scratch": True}])
def test_a_checkpoint_records_the_recipe_that_the_plan_expects(changes: dict[str, Any]) -> None:
    """The demo's config names no weight file: with one, its backbone has an initialiser."""
    model = PlannedModel(config=DEMO, **changes)
    known = recipe_of(model, Settings())
    runner = SimpleNamespace(
        max_iters=6, seed=0, train_dataloader=SimpleNamespace(dataset=range(10))
    )
    record = training_record(resolve(model.config, known.options), known.options, runner)
    assert record["recipe_sha256"] == known.trained.recipe
    assert (known.trained.recipe != known.evaluated.recipe) == ("pretrained" in changes)


def test_settings_that_contradict_each_other() -> None:
    with pytest.raises(UserError, match="--gpus 2 needs --launcher"):
        Settings(gpus=2).check()
    with pytest.raises(UserError, match="--data-root lvis=…: the data sets are coco, ade20k"):
        Settings(data_roots={"lvis": "x"}).check()


@pytest.mark.parametrize(("found", "fits"), [(0, True), (2, False), (4, True), (8, True)])
def test_fewer_gpus_than_asked_for_are_refused(
    found: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning.torch.cuda, "device_count", lambda: found)
    settings = Settings(launcher="torchrun", gpus=4)
    replace(settings, launcher="slurm").check_gpus()  # other machines will do the work
    if fits:
        settings.check_gpus()
    else:
        with pytest.raises(UserError, match="torch sees 2 here; give --gpus 2"):
            settings.check_gpus()


def test_pairs_of_the_command_line() -> None:
    assert pair(positive_number)("a=0.5") == ("a", 0.5)
    assert pair(str)("coco=/x=y") == ("coco", "/x=y")
    for text in ("a", "=1", "a="):
        with pytest.raises(argparse.ArgumentTypeError, match="expected NAME=VALUE"):
            pair(str)(text)
    for text in ("0", "-1", "inf", "nan", "x"):
        with pytest.raises(argparse.ArgumentTypeError, match="give a finite number above 0"):
            positive_number(text)
