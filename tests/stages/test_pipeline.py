"""The list of stages, run with bodies that only take notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sensei.fields import with_dotted
from sensei.presets import RunConfig, preset
from sensei.run.workspace import Workspace
from sensei.stages import pipeline
from sensei.stages.pipeline import Body, execute, plan, select
from sensei.types import Stopped, UsageError


class Notes:
    """Bodies that write down their key; one of them may stop at first."""

    def __init__(self, stop_at: str = "") -> None:
        self.keys: list[str] = []
        self.stop_at = stop_at

    def __call__(self, kind: str) -> Body:
        def run(config: RunConfig, workspace: Workspace) -> Mapping[str, Any]:
            assert workspace.key.startswith(kind)
            self.keys.append(workspace.key)
            if kind == self.stop_at:
                self.stop_at = ""
                raise Stopped("saved at step 3")
            return {"ran": kind}

        return run


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., list[str]]:
    """Run a command in one folder; return the keys of the stages that worked."""

    def run(kind: str = "run", notes: Notes | None = None, **options: Any) -> list[str]:
        notes = notes or Notes()
        fields = options.pop("fields", {})
        config = with_dotted(options.pop("config", preset("tiny", "smoke")), fields)
        workspace = Workspace(tmp_path / "x", say=lambda _: None)
        execute(config, workspace, kind, body=notes, **options)
        return notes.keys

    return run


WHOLE = ["collect", "annotate", "distill", "explore", "solve/task", "evaluate/task", "report"]


def keys(config: RunConfig) -> list[str]:
    return [step.key for step in plan(config)]


@pytest.mark.parametrize(("field", "value"), [("squares", 2), ("saliency_scale", 3.0)])
def test_some_fields_count_only_where_they_are_not_the_usual_ones(field: str, value: Any) -> None:
    """So explorations go on that began before they could be chosen."""
    usual, name = preset("tiny", "smoke"), f"agent.{field}"
    for config, expected in ((usual, None), (with_dotted(usual, {name: value}), value)):
        settings = {step.key: step.settings for step in plan(config)}
        assert settings["explore"].get(name) == expected
        assert settings["solve/task"].get(name) == expected


def test_plan_of_each_method() -> None:
    assert keys(preset()) == WHOLE
    for method in ("p2e", "dreamer", "random"):
        assert keys(preset(method=method)) == WHOLE[3:]
    for method in ("vlm", "fixed"):
        assert keys(preset(method=method)) == WHOLE


def test_collected_episodes_may_be_kept_by_every_method() -> None:
    for method in ("sensei", "p2e"):
        steps = plan(with_dotted(preset(method=method), {"explore.keep_collected": True}))
        inputs = {step.key: step.inputs for step in steps}
        assert next(iter(inputs)) == "collect"
        assert inputs["explore"][-1] == "collect"


def test_many_tasks_are_solved_from_one_exploration(start: Callable) -> None:
    fields = {"solve.task": "a", "solve.more_tasks": ["b"]}
    steps = {step.key: step for step in plan(with_dotted(preset(), fields))}
    both = ["solve/a", "evaluate/a", "solve/b", "evaluate/b"]
    assert list(steps) == [*WHOLE[:4], *both, "report"]
    assert steps["solve/a"].inputs == steps["solve/b"].inputs == ("explore",)
    assert steps["solve/b"].settings["solve.task"] == "b"
    assert start(fields={"solve.task": "a"}) == [*WHOLE[:4], *both[:2], "report"]
    # Another task later is no change of the first one.
    assert start("solve", fields=fields) == ["solve/b"]
    assert start("evaluate", fields=fields) == ["evaluate/b"]


def test_each_task_sees_its_own_name(tmp_path: Path) -> None:
    seen = []

    def body(kind: str) -> Body:
        def run(config: RunConfig, workspace: Workspace) -> Mapping[str, Any]:
            seen.append((kind, config.solve.task))
            return {}

        return run

    config = with_dotted(preset("tiny", "smoke", method="p2e"), {"solve.more_tasks": ["b"]})
    execute(config, Workspace(tmp_path / "x", say=lambda _: None), body=body)
    assert seen[1:5] == [(k, t) for t in ("task", "b") for k in ("solve", "evaluate")]


def test_the_run_may_end_early(start: Callable) -> None:
    assert start(last="distill") == WHOLE[:3]
    assert start(last="evaluate") == WHOLE[3:6]
    with pytest.raises(UsageError, match="--until is 'distill': this run has the stages explore"):
        start(config=preset("tiny", "smoke", method="p2e"), last="distill")


def test_generations_repeat_labels_and_exploration() -> None:
    steps = {step.key: step for step in plan(with_dotted(preset(), {"generations": 3}))}
    assert list(steps)[3:10] == [
        "explore", "annotate-2", "distill-2", "explore-2", "annotate-3", "distill-3", "explore-3",
    ]  # fmt: skip
    assert steps["annotate-2"].inputs == ("explore",)
    assert steps["explore-2"].inputs == ("distill-2", "explore")
    assert steps["solve/task"].inputs == ("explore-3",)


@pytest.mark.parametrize(
    ("method", "share", "kept"), [("sensei", 0.5, 0.5), ("sensei", 0.0, None), ("p2e", 0.5, None)]
)
def test_rises_count_only_where_they_are_drawn(
    method: str, share: float, kept: float | None
) -> None:
    config = with_dotted(preset("tiny", method=method), {"explore.rise_share": share})
    explore = next(step for step in plan(config) if step.kind == "explore")
    assert explore.settings.get("explore.rise_share") == kept


@pytest.mark.parametrize(
    ("kind", "method", "epsilon", "repeat"),
    [
        ("explore", "sensei", 0.3, 2),
        ("explore", "sensei", 0.0, None),
        ("explore", "random", 0.3, None),
        ("solve", "random", 0.3, 2),
        ("solve", "sensei", 0.0, None),
        ("solve", "ppo", 0.3, None),
    ],
)
def test_interludes_count_only_where_they_happen(
    kind: str, method: str, epsilon: float, repeat: int | None
) -> None:
    config = with_dotted(preset("tiny", method=method), {f"{kind}.epsilon": epsilon})
    settings = next(step.settings for step in plan(config) if step.kind == kind)
    assert settings.get(f"{kind}.epsilon") == (epsilon if repeat else None)
    assert settings.get(f"{kind}.epsilon_repeat") == repeat


@pytest.mark.parametrize(("policy", "kept"), [("explorer", "explorer"), ("fresh", None)])
def test_solve_says_nothing_of_a_policy_that_is_fresh(policy: str, kept: str | None) -> None:
    config = with_dotted(preset("tiny"), {"solve.policy": policy})
    solve = next(step for step in plan(config) if step.kind == "solve")
    assert solve.settings.get("solve.policy") == kept


@pytest.mark.parametrize(("method", "kept"), [("sensei", {"solve"}), ("ppo", set())])
def test_only_solve_says_what_entropy_the_task_has(method: str, kept: set[str]) -> None:
    config = with_dotted(preset("tiny", method=method), {"solve.entropy": 3e-4})
    assert {step.kind for step in plan(config) if "solve.entropy" in step.settings} == kept
    assert not any("solve.entropy" in step.settings for step in plan(preset("tiny")))


@pytest.mark.parametrize("field", ["solve.potential", "solve.own_weight"])
def test_only_solve_says_what_is_given_for_the_task(field: str) -> None:
    config = with_dotted(preset("tiny"), {field: 2.0})
    assert {s.kind for s in plan(config) if field in s.settings} == {"solve"}
    assert not any(field in step.settings for step in plan(preset("tiny")))


def test_own_steps_have_no_weight_beside_nothing() -> None:
    config = with_dotted(preset("tiny"), {"solve.own_weight": 2.0, "solve.keep_replay": False})
    assert not any("solve.own_weight" in step.settings for step in plan(config))


def test_settings_hold_what_matters_and_nothing_else() -> None:
    settings = {step.kind: step.settings for step in plan(preset())}
    assert "env.processes" not in settings["explore"]
    assert "explore.save_every" not in settings["explore"]
    assert {"seed", "env.name", "agent.size.deter", "explore.method"} <= settings["explore"].keys()
    assert "agent.size.deter" not in settings["collect"]  # random actions need no networks
    assert "annotator.base_url" not in settings["annotate"]
    assert "annotator.strip" not in settings["explore"] | settings["annotate"]
    by_p2e = {step.kind: step.settings for step in plan(preset(budget="paper"))}
    assert {"agent.size.deter", "explore.train_ratio"} <= by_p2e["collect"].keys()


def test_the_same_command_again_does_nothing(start: Callable[..., list[str]]) -> None:
    assert start() == WHOLE
    assert start() == []
    assert start("explore") == []
    assert start(force=True) == WHOLE


def test_a_stopped_run_continues_where_it_was(start: Callable[..., list[str]]) -> None:
    notes = Notes(stop_at="explore")
    with pytest.raises(Stopped, match="step 3"):
        start(notes=notes)
    assert notes.keys == WHOLE[:4]
    assert start() == WHOLE[3:]


def test_one_stage_at_a_time(start: Callable[..., list[str]]) -> None:
    with pytest.raises(UsageError, match="run sensei collect"):
        start("annotate")
    for kind in ("collect", "annotate", "distill", "explore", "solve", "evaluate"):
        assert len(start(kind)) == 1
    assert start("report") == ["report"]
    assert start() == ["report"] or start() == []


def test_later_generations_by_stage(start: Callable[..., list[str]]) -> None:
    fields = {"generations": 2}
    for kind in ("collect", "annotate", "distill", "explore"):
        assert start(kind, fields=fields) == [kind]
    for kind in ("annotate", "distill", "explore"):
        assert start(kind, fields=fields) == [f"{kind}-2"]


def test_another_task_on_the_same_exploration(start: Callable[..., list[str]]) -> None:
    start()
    assert start(fields={"solve.task": "open"}) == ["solve/open", "evaluate/open", "report"]


def test_what_may_change_in_a_begun_run(start: Callable[..., list[str]]) -> None:
    start("collect")
    start("collect", fields={"env.processes": 1, "explore.env_steps": 99, "agent.batch": 2})
    assert start("collect", fields={"collect.env_steps": 10**6}) == ["collect"]
    with pytest.raises(UsageError, match=r"env\.name was 'tiny'"):
        start("collect", config=preset("keyroom", "smoke"))
    with pytest.raises(UsageError, match=r"seed was 0 .* now 1"):
        start("solve", fields={"seed": 1})
    assert start("collect", config=preset("keyroom", "smoke"), force=True) == ["collect"]


def test_more_labels_make_the_reward_again_but_not_the_exploration(
    start: Callable[..., list[str]],
) -> None:
    start()
    more = {"annotate.pairs": 10_000}
    assert start("annotate", fields=more) == ["annotate"]
    assert start("distill", fields=more) == ["distill"]
    with pytest.raises(UsageError, match=r"another distill: --force"):
        start(fields=more)
    assert start("explore", fields=more, force=True) == ["explore"]


def test_more_frames_may_be_labelled_too(start: Callable[..., list[str]]) -> None:
    start("collect")
    start("annotate")
    more = {"collect.env_steps": 10**6}
    start("collect", fields=more)
    assert start("annotate", fields=more) == ["annotate"]


def test_select_names_the_first_missing_stage(tmp_path: Path) -> None:
    config = with_dotted(preset(), {"generations": 2})
    assert [step.key for step in select(config, "explore", Workspace(tmp_path))] == ["explore"]


def test_run_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sensei

    notes = Notes()
    monkeypatch.setattr(pipeline, "stage_body", notes)
    place = tmp_path / "x"
    workspace = sensei.run("tiny", budget="smoke", dir=str(place), fields={"seed": 4})
    assert notes.keys == WHOLE
    assert workspace.root == place and workspace.config()["seed"] == 4
    assert sensei.run(with_dotted(preset("tiny", "smoke"), {"seed": 4, "dir": str(place)}))
    assert notes.keys == WHOLE


def test_bodies_are_the_stages() -> None:
    assert pipeline.KINDS == ("collect", "annotate", "distill", "explore", "solve", "evaluate",
                              "report")  # fmt: skip


def test_strips_are_a_matter_of_the_stages_that_take_frames():
    config = with_dotted(preset(), {"annotator.strip": 4})
    settings = {step.kind: step.settings for step in plan(config)}
    having = {kind for kind, own in settings.items() if own.get("annotator.strip") == 4}
    assert having == {"collect", "explore"}
