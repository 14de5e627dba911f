"""Which runs a study needs, and which stages they share."""

from __future__ import annotations

import dataclasses

from sensei.study.config import StudyConfig, named
from sensei.study.plan import members, with_shared

BASE = StudyConfig(dir="s", budget="smoke", envs=("tiny",), methods=("sensei", "p2e"), seeds=(0, 1))


def test_the_first_seed_of_everything_comes_first() -> None:
    runs = members(dataclasses.replace(BASE, envs=("tiny", "keychest")))
    assert [(run.env, run.group, run.seed) for run in runs] == [
        (env, group, seed)
        for seed in (0, 1)
        for env in ("tiny", "keychest")
        for group in ("sensei", "p2e")
    ]
    assert runs[0].job.config.dir == "s/runs/tiny-sensei-seed0"
    assert [run.job.config.seed for run in runs] == [run.seed for run in runs]


def test_methods_with_the_same_labels_share_them() -> None:
    jobs = with_shared(members(dataclasses.replace(BASE, methods=("sensei", "vlm", "p2e"))))
    shared = [job for job in jobs if job.name.startswith("shared/")]
    assert [job.until for job in shared] == ["distill", "distill"]  # one a seed
    parents = {job.name: job.parent for job in jobs}
    assert parents["runs/tiny-sensei-seed0"] == parents["runs/tiny-vlm-seed0"] == shared[0].name
    assert parents["runs/tiny-sensei-seed1"] == shared[1].name
    assert parents["runs/tiny-p2e-seed0"] == ""


def test_a_run_alone_shares_nothing() -> None:
    assert all(not job.parent for job in with_shared(members(BASE)))


def test_other_labels_share_only_the_episodes() -> None:
    conditions = ("default", "annotate.pairs=7")
    study = dataclasses.replace(BASE, seeds=(0,), methods=("sensei", "vlm"), conditions=conditions)
    jobs = with_shared(members(study))
    episodes, *labels = [job for job in jobs if job.name.startswith("shared/")]
    assert episodes.until == "collect" and [job.until for job in labels] == ["distill"] * 2
    assert {job.parent for job in labels} == {episodes.name}
    assert {job.parent for job in jobs if "/tiny" in job.name and "runs" in job.name} == {
        job.name for job in labels
    }
    names = [job.name for job in jobs]
    assert all(not job.parent or names.index(job.parent) < names.index(job.name) for job in jobs)


def test_a_method_that_a_condition_does_not_touch_runs_once() -> None:
    runs = members(
        dataclasses.replace(BASE, seeds=(0,), conditions=("default", "annotate.pairs=7"))
    )
    assert [run.group for run in runs] == ["sensei", "p2e", "sensei pairs=7"]


def test_two_generations_explore_as_long_as_one_and_share_its_first_labels() -> None:
    study = dataclasses.replace(named("generations", "smoke"), words=("--explore.env-steps", "900"))
    one, more, two = (run.job.config for run in members(study))
    assert two.generations * two.explore.env_steps == one.explore.env_steps == 900
    assert more.annotate.pairs == two.generations * two.annotate.pairs
    parents = {job.name: job.parent for job in with_shared(members(study))}
    assert parents["runs/tiny-sensei-seed0"] == parents["runs/tiny-sensei-two-seed0"] != ""


def test_words_hold_for_every_run_and_a_core_needs_one_process() -> None:
    runs = members(dataclasses.replace(BASE, words=("--explore.env-steps", "77")))
    assert {run.job.config.explore.env_steps for run in runs} == {77}
    assert {run.job.config.env.processes for run in runs} == {1}


def test_a_preset_gives_each_method_its_own_values() -> None:
    study = StudyConfig(budget="quick", methods=("sensei", "p2e"), seeds=(0,))
    sensei, p2e = (run.job.config for run in members(study))
    assert (sensei.explore.rise_share, p2e.explore.rise_share) == (0.5, 0.0)
    assert sensei.explore.keep_collected and not p2e.explore.keep_collected


def test_runs_that_solve_one_exploration_differently_share_it() -> None:
    """Also where the method has no labels; and the first seed's runs come before the next seed."""
    conditions = ("default", "explorer:solve.policy=explorer")
    jobs = with_shared(members(dataclasses.replace(BASE, conditions=conditions)))
    names = [job.name for job in jobs]
    assert names.index("runs/tiny-p2e-explorer-seed0") < 6
    shared = {job.name: job for job in jobs if job.name.startswith("shared/")}
    assert [job.until for job in shared.values()] == ["explore"] * 4
    assert [len(job.steps) for job in shared.values()] == [4, 1, 4, 1]
    for method in BASE.methods:
        fresh, explorer = (
            next(j for j in jobs if j.name == f"runs/tiny-{group}-seed1")
            for group in (method, f"{method}-explorer")
        )
        assert fresh.parent == explorer.parent and fresh.parent in shared
        assert [step.kind for step in explorer.own_steps] == ["solve", "evaluate"]


def test_what_learned_no_policy_begins_its_tasks_untrained() -> None:
    study = dataclasses.replace(BASE, seeds=(0,), methods=("sensei", "random", "ppo"))
    explorer = dataclasses.replace(study, words=("--solve.policy", "explorer"))
    assert [run.job.config.solve.policy for run in members(explorer)] == [
        "explorer", "fresh", "fresh",
    ]  # fmt: skip
    conditions = ("default", "explorer:solve.policy=explorer")
    runs = members(dataclasses.replace(study, conditions=conditions))
    assert [run.group for run in runs] == ["sensei", "random", "ppo", "sensei explorer"]


def test_what_ends_with_exploration_does_not_share_it() -> None:
    conditions = ("default", "explorer:solve.policy=explorer")
    study = dataclasses.replace(BASE, conditions=conditions, until="explore")
    assert [run.group for run in members(study)] == ["sensei", "p2e"] * 2
