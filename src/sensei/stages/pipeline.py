"""The stages of a run as a list: what each reads, and what its result depends on.

The command line and ``sensei.run`` both execute this list; one stage alone is a part of it.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sensei.core.config import AgentConfig
from sensei.fields import to_plain, with_dotted
from sensei.presets import RunConfig, check_picture, preset
from sensei.run.stage_record import Stale, flatten, stage_key
from sensei.run.workspace import Workspace
from sensei.types import UsageError

Body = Callable[[RunConfig, Workspace], Mapping[str, Any]]
"""A stage's ``run``: works in ``workspace.here`` and returns its JSON-able summary."""

KINDS = ("collect", "annotate", "distill", "explore", "solve", "evaluate", "report")

_SECTIONS: dict[str, tuple[str, ...]] = {
    "collect": ("seed", "env", "agent", "collect"),
    "annotate": ("seed", "annotate", "annotator"),
    "distill": ("seed", "distill"),
    "explore": ("seed", "env", "agent", "explore"),
    "solve": ("seed", "env", "agent", "solve"),
    "evaluate": ("seed", "env", "evaluate"),
    "report": ("report",),
}
"""The parts of the configuration on which each kind of stage depends."""

_ONLINE = ("distill", "annotator")
"""On what exploration depends besides, where it asks questions itself."""

_SOLVED_BY_PPO = ("seed", "env", "ppo", "solve")

_FREE = frozenset(
    {
        "env.processes",
        "solve.more_tasks",
        "env.timeout_s",
        "explore.save_every",
        "solve.save_every",
        "annotator.concurrency",
        "annotator.base_url",
        "annotator.api_key_env",
        "annotator.timeout_s",
        "annotator.retries",
        "annotator.price_in",
        "annotator.price_out",
        "annotator.strip",
    }
)
"""Fields that change how the work is done, not what comes out, or that ``_step`` looks after."""

_TAKES_FRAMES = ("collect", "explore")

_COLLECT_AS_EXPLORE = ("explore.train_ratio", "explore.prefill")
"""What Plan2Explore trains by while it collects."""

_STALE = {
    "annotate": Stale.CONTINUE,
    "distill": Stale.REDO,
    "evaluate": Stale.REDO,
    "report": Stale.REDO,
}


@dataclasses.dataclass(frozen=True)
class Step:
    """One stage in the list."""

    key: str
    kind: str
    inputs: tuple[str, ...]
    settings: dict[str, Any]
    stale: Stale


def plan(config: RunConfig) -> list[Step]:
    """List the stages of a run in order.

    Methods without R_ψ begin at explore, PPO at solve. With generations, annotate → distill →
    explore come again as ``annotate-2`` and so on, and solve reads the last explore.
    """
    check_picture(config)
    steps = [] if config.explore.method == "ppo" else _exploration(config)
    explored = tuple(step.key for step in steps[-1:])
    for task in config.solve.tasks:
        alone, solve = _for_task(config, task), stage_key("solve", task=task)
        steps.append(_step(alone, "solve", solve, explored))
        steps.append(_step(alone, "evaluate", stage_key("evaluate", task=task), (solve,)))
    steps.append(_step(config, "report", "report", tuple(step.key for step in steps)))
    return steps


def until(steps: Sequence[Step], kind: str) -> list[Step]:
    """Cut the list after the last stage of a kind; ``report`` is the whole list.

    Raises:
        UsageError: there is no stage of this kind.
    """
    last = max((i for i, step in enumerate(steps) if step.kind == kind), default=None)
    if last is None:
        kinds = ", ".join(dict.fromkeys(step.kind for step in steps))
        raise UsageError(f"--until is {kind!r}: this run has the stages {kinds}")
    return list(steps[: last + 1])


def select(config: RunConfig, kind: str, workspace: Workspace) -> list[Step]:
    """Return the steps of one kind: those of every generation that are due.

    ``report`` reads whatever is finished. A generation is due when the one before is finished.

    Raises:
        UsageError: the method has no such stage.
    """
    steps = [step for step in plan(config) if step.kind == kind]
    if not steps:
        raise UsageError(
            f"method {config.explore.method!r} has no stage {kind}: give another --method"
        )
    if kind == "report":
        (step,) = steps
        done = tuple(name for name in step.inputs if workspace.finished(name))
        return [dataclasses.replace(step, inputs=done)]
    due = [step for step in steps if all(workspace.finished(name) for name in step.inputs)]
    return due or steps[:1]


def chosen(config: RunConfig, workspace: Workspace, kind: str, last: str) -> list[Step]:
    """Return the steps that a command executes: all up to ``last`` for ``run``, else one kind's."""
    return until(plan(config), last) if kind == "run" else select(config, kind, workspace)


def execute(
    config: RunConfig,
    workspace: Workspace,
    kind: str = "run",
    *,
    last: str = "report",
    force: bool = False,
    command: Sequence[str] = (),
    body: Callable[[str], Body] | None = None,
) -> dict[str, Any]:
    """Run one kind of stage, or all of them, and return the last summary.

    Args:
        config: the run.
        workspace: its folder; locked while this works.
        kind: one of ``KINDS``, or ``run`` for the whole list.
        last: the kind at which the whole list ends.
        force: redo what is finished.
        command: the command line, for the manifest.
        body: kind → the function that does the work; by default that of ``sensei.stages``.
    """
    prepare_process()
    with workspace.locked():
        steps = chosen(config, workspace, kind, last)
        # Every stage that has begun is compared, not only those asked for: solving on another
        # environment than was explored is a mistake too.
        settings = {step.key: step.settings for step in plan(config)}
        forced = [step.key for step in steps] if force else []
        workspace.adopt(to_plain(config), settings, forced=forced, command=command)
        summary: dict[str, Any] = {}
        for step in steps:
            summary = _run_step(config, workspace, step, force, (body or stage_body)(step.kind))
        return summary


def prepare_process() -> None:
    """Set up what makes every stage faster; only now, because it brings JAX."""
    from sensei.run.compilation import keep_compiled_programs
    from sensei.run.memory import keep_freed_memory

    keep_freed_memory()
    keep_compiled_programs()


def stage_body(kind: str) -> Body:
    """Import a stage's ``run``; only now, because it may bring JAX."""
    return importlib.import_module(f"sensei.stages.{kind}").run


def run(
    name: str | RunConfig = "keychest",
    budget: str = "quick",
    *,
    size: str | None = None,
    method: str = "sensei",
    dir: str | None = None,
    force: bool = False,
    fields: Mapping[str, Any] | None = None,
) -> Workspace:
    """Run the whole pipeline, or continue it, and return its folder.

    Args:
        name: a preset, ``gym:ID``, ``module:callable``, or a whole configuration.
        budget: smoke, quick, day or paper.
        size: of the networks; the budget's own when None.
        method: of exploration.
        dir: folder of the run; ``runs/`` and the names above when None.
        force: redo what is finished.
        fields: any field by dotted name, e.g. ``{"explore.env_steps": 10_000, "seed": 1}``.
    """
    config = preset(name, budget, size, method) if isinstance(name, str) else name
    config = with_dotted(config, dict(fields or {}) | ({"dir": dir} if dir else {}))
    workspace = Workspace(config.dir)
    execute(config, workspace, force=force)
    return workspace


def _exploration(config: RunConfig) -> list[Step]:
    keeps = config.explore.keep_collected
    if not config.uses_reward:
        collected = ("collect",) if keeps else ()
        explore = _step(config, "explore", "explore", collected)
        return [*(_step(config, key, key, ()) for key in collected), explore]
    steps = [_step(config, "collect", "collect", ())]
    for generation in range(1, config.generations + 1):
        frames = steps[-1].key
        annotate, distill, explore = (
            stage_key(kind, generation) for kind in ("annotate", "distill", "explore")
        )
        # A later generation goes on from the agent and the replay of the one before.
        before = (frames,) if generation > 1 or keeps else ()
        steps.append(_step(config, "annotate", annotate, (frames,)))
        steps.append(_step(config, "distill", distill, (annotate,)))
        steps.append(_step(config, "explore", explore, (distill, *before)))
    return steps


def _step(config: RunConfig, kind: str, key: str, inputs: tuple[str, ...]) -> Step:
    plain = to_plain(config)
    flat = flatten(plain)
    ppo = kind == "solve" and config.explore.method == "ppo"
    sections = _SOLVED_BY_PPO if ppo else _SECTIONS[kind]
    if kind == "explore" and config.explore.online_every:
        sections += _ONLINE
    off = _off(config)
    settings = {
        name: value
        for name, value in flat.items()
        if name not in _FREE and name.split(".")[0] in sections and not name.startswith(off)
    }
    if kind == "collect" and config.collect.policy == "random":
        settings = {k: v for k, v in settings.items() if not k.startswith("agent.")}
    elif kind == "collect":
        settings |= {name: flat[name] for name in _COLLECT_AS_EXPLORE}
    if kind in _TAKES_FRAMES and config.annotator.strip:
        settings["annotator.strip"] = config.annotator.strip
    if ppo:
        settings["explore.method"] = "ppo"
    return Step(key, kind, inputs, settings, _STALE.get(kind, Stale.REFUSE))


def _off(config: RunConfig) -> tuple[str, ...]:
    """Names, or what they begin with, of what is off. Not a word of it in the records, so that
    stages go on that began before there was such a thing."""
    agent, explore, solve = config.agent, config.explore, config.solve
    ppo = explore.method == "ppo"
    off = {
        f"agent.{name}": getattr(agent, name) == getattr(AgentConfig, name)
        for name in ("squares", "precision", "saliency_scale")
    } | {
        "explore.online_": not explore.online_every,
        "explore.rise_share": not explore.rise_share or not config.uses_reward,
        "explore.epsilon": not explore.epsilon or explore.method == "random",
        "solve.epsilon": not solve.epsilon or ppo,
        "solve.entropy": solve.entropy is None or ppo,
        "solve.own_weight": solve.own_weight == 1.0 or not solve.keep_replay or ppo,
        "solve.potential": not solve.potential,
        "solve.policy": solve.policy == "fresh",
    }
    return tuple(name for name, is_off in off.items() if is_off)


def _for_task(config: RunConfig, task: str) -> RunConfig:
    """The configuration as a stage of one task sees it."""
    others = tuple(other for other in config.solve.tasks if other != task)
    solve = dataclasses.replace(config.solve, task=task, more_tasks=others)
    return dataclasses.replace(config, solve=solve)


def _run_step(
    config: RunConfig, workspace: Workspace, step: Step, force: bool, body: Body
) -> dict[str, Any]:
    task = step.key.partition("/")[2]
    own = _for_task(config, task) if task else config
    return workspace.stage(
        step.key,
        step.inputs,
        step.settings,
        lambda: body(own, workspace),
        force=force,
        stale=step.stale,
    )
