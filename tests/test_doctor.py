"""Estimates follow from the configuration, and problems name the command that mends them."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sensei import doctor
from sensei.core.config import SIZES, AgentConfig
from sensei.fields import with_dotted
from sensei.presets import preset
from sensei.run import machine
from sensei.types import ActionSpec, EnvSpec, ObsSpec

ROOT = Path(__file__).parents[1]
MEASURED = sorted((ROOT / "results" / "bench").glob("train_step-*.json"))


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_an_update_costs_what_was_measured(path: Path) -> None:
    found = json.loads(path.read_text())
    agent = AgentConfig(size=SIZES[path.stem.split("-")[1]])
    assert doctor.update_gflop(agent) == pytest.approx(found["gflop"], rel=0.1), "update COSTS"
    assert _is_predicted(found["peak_memory_gb"], agent)


def test_utilisation_lies_between_the_loop_of_quick_and_larger_updates() -> None:
    loop = json.loads((ROOT / "results" / "bench" / "loop.json").read_text())["quick"]
    steps = {path.stem: json.loads(path.read_text()) for path in MEASURED}
    gflops = loop["updates_per_second"] * doctor.update_gflop(preset().agent)
    in_loop = gflops / steps["train_step-xs"]["matmul_peak_gflops"]
    alone = min(step["utilisation"] for step in steps.values())
    assert in_loop < doctor.UTILISATION < alone


def test_a_slower_machine_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = []
    for gflops in (400.0, 100.0):
        monkeypatch.setattr(machine, "matrix_gflops", lambda gflops=gflops: gflops)
        hours.append(doctor.estimate(preset()).hours)
    assert 1.0 < hours[1] / hours[0] < 4.0  # environments and starting take as long on both


@pytest.mark.parametrize(
    ("dial", "at"), [("batch", 4), ("batch", 32), ("length", 128), ("size", "s"), ("size", "m")]
)
def test_memory_grows_as_was_measured(dial: str, at: int | str) -> None:
    points = json.loads((ROOT / "results" / "bench" / "growth.json").read_text())["training"][dial]
    measured = next(point["peak_memory_gb"] for point in points if point["at"] == at)
    # Sizes are measured with four sequences.
    tried = {"size": SIZES[str(at)], "batch": 4} if dial == "size" else {dial: at}
    assert _is_predicted(measured, dataclasses.replace(AgentConfig(), **tried))


@pytest.mark.parametrize(("size", "peak_gb"), [("xs", 0.95), ("s", 1.43)])
def test_memory_of_smaller_batches_is_what_was_measured(size: str, peak_gb: float) -> None:
    # Peaks of processes that made updates which another one had compiled, by hand.
    agent = AgentConfig(size=SIZES[size], batch=8, length=32)
    assert doctor.update_gb(agent, held=1) == pytest.approx(peak_gb, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["xs", "s"])
def test_peak_memory_is_what_is_predicted(size: str, tmp_path: Path) -> None:
    # A batch other than the one the figures were taken from.
    program, out = ROOT / "benchmarks" / "train_step.py", tmp_path / "step.json"
    words = ["--size", size, "--batch", "8", "--imagine-every", "4", "--steps", "1"]
    subprocess.run([sys.executable, program, *words, "--json", out], check=True)
    agent = AgentConfig(size=SIZES[size], batch=8, imagine_every=4)
    assert _is_predicted(json.loads(out.read_text())["peak_memory_gb"], agent)


def _is_predicted(peak_gb: float, agent: AgentConfig) -> bool:
    """Whether it is near what is predicted for one of the times that results may be held."""
    predicted = (doctor.update_gb(agent, held) for held in range(1, doctor.HELD + 1))
    return any(gb == pytest.approx(peak_gb, rel=0.05) for gb in predicted)


def test_environments_are_as_fast_as_was_measured() -> None:
    found = json.loads((ROOT / "results" / "bench" / "environments.json").read_text())
    measured = {n: speeds["2_processes"] for n, speeds in found["steps_per_second"].items()}
    expected = doctor.ENV_STEPS_PER_SECOND
    assert {name: measured[name] for name in expected} == pytest.approx(expected, rel=0.2)


def test_larger_networks_take_more_memory() -> None:
    needed = [doctor.estimate(preset(size=size)).memory_gb for size in ("xs", "s", "m", "l")]
    assert needed == sorted(needed) and needed[0] < needed[-1]


def test_estimate_counts_every_stage() -> None:
    config = with_dotted(
        preset("crafter", "quick"),
        {
            "agent.length": 64,
            "collect.env_steps": 1000,
            "explore.env_steps": 3048,
            "explore.prefill": 1000,
            "explore.train_ratio": 64.0,
            "solve.env_steps": 2048,
            "solve.train_ratio": 32.0,
            "solve.offline_updates": 5,
            "annotate.pairs": 100,
            "annotator.orders": "both",
        },
    )
    found = doctor.estimate(config)
    assert found.env_steps == 1000 + 3048 + 2048
    # 2,048 learned steps × 64 ÷ 1,024, then 2,048 × 32 ÷ 1,024, then 5 offline.
    assert found.updates == 128 + 64 + 5
    assert found.queries == 200
    assert found.dollars is None

    twice = doctor.estimate(with_dotted(config, {"generations": 2}))
    assert (twice.updates, twice.queries) == (128 + 197, 400)
    assert twice.env_steps == found.env_steps + 3048


def test_methods_without_labels_ask_nothing() -> None:
    found = doctor.estimate(preset(method="p2e"))
    assert found.queries == 0
    assert found.env_steps == preset().explore.env_steps + preset().solve.env_steps


def test_plan2explore_collection_costs_updates() -> None:
    config = preset("keychest", "paper")
    random = with_dotted(config, {"collect.policy": "random"})
    assert doctor.estimate(config).updates > 1.4 * doctor.estimate(random).updates


def test_dollars_need_prices() -> None:
    config = with_dotted(
        preset(),
        {"annotate.pairs": 1000, "annotator.price_in": 1.0, "annotator.price_out": 10.0},
    )
    found = doctor.estimate(config)
    assert found.dollars == pytest.approx(1000 * (1200 * 1.0 + 12 * 10.0) / 1e6)
    assert "1.32 $" in str(found)


def test_members_and_a_second_annotator_are_asked_and_paid_too() -> None:
    prices = {"annotator.price_in": 1.0, "annotator.price_out": 10.0}
    asked = {
        "annotate.pairs": 1000,
        "annotator.kind": "mixed",
        "annotator.members": ("vlm@one=2", "vlm@other", "oracle"),
        "annotator.second": "vlm@judge",
        "annotator.second_share": 0.5,
    }
    found = doctor.estimate(with_dotted(preset(), asked | prices))
    assert found.queries == 3500
    assert found.dollars == pytest.approx(2500 * 1.32e-3)  # the oracle is free
    assert doctor.estimate(with_dotted(preset(), asked)).dollars is None  # unknown models


def test_a_second_annotator_beside_a_free_one_is_paid() -> None:
    asked = {"annotate.pairs": 1000, "annotator.kind": "oracle", "annotator.second": "vlm"}
    prices = {"annotator.price_in": 1.0, "annotator.price_out": 10.0}
    assert doctor.estimate(with_dotted(preset(), asked | prices)).dollars == pytest.approx(0.132)


def test_a_member_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    asked = {"annotator.kind": "mixed", "annotator.members": ("oracle", "vlm")}
    (problem,) = doctor.problems(with_dotted(preset("tiny"), asked))
    assert "sensei-rl[vlm]" in problem


def test_larger_networks_take_longer() -> None:
    hours = [doctor.estimate(preset(size=size)).hours for size in ("xs", "s", "m", "l")]
    assert hours == sorted(hours) and hours[0] < hours[-1]


def test_missing_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def without(name: str) -> object:
        return None if name in ("nle", "openai") else real(name)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    config = with_dotted(preset("keychest"), {"annotator.kind": "vlm"})
    first, second = doctor.problems(config)
    assert "sensei-rl[minihack]" in first and "sensei-rl[vlm]" in second
    assert doctor.problems(preset("tiny")) == []
    by_id = doctor.problems(preset("minihack:MiniHack-Room-5x5-v0"))
    assert len(by_id) == 1 and "sensei-rl[minihack]" in by_id[0]


def test_full_disk_and_small_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Usage:
        free = 0.0

    config = with_dotted(preset("tiny"), {"dir": str(tmp_path / "x")})
    with monkeypatch.context() as patch:
        patch.setattr(doctor.shutil, "disk_usage", lambda _: Usage)
        patch.setattr(doctor.machine, "memory_gb", lambda: 0.5)
        disk, memory = doctor.problems(config)
    assert "--explore.replay-gb" in disk and "larger machine" in memory


def test_environment_that_nobody_can_label() -> None:
    spec = EnvSpec(ObsSpec(None, ("x", "y")), ActionSpec((3,), 2))
    offered, missing = doctor.annotator_lines(spec, preset("gym:CartPole-v1"))
    assert offered == [] and len(missing) == 1 and "--annotator" in missing[0]


def test_kept_collected_episodes_are_counted() -> None:
    plain = preset("keychest", "quick", method="p2e")
    without = doctor.estimate(plain)
    fields = {"explore.keep_collected": True, "explore.offline_updates": 7}
    kept = doctor.estimate(with_dotted(plain, fields))
    assert kept.env_steps - without.env_steps == plain.collect.env_steps
    assert kept.updates - without.updates == pytest.approx(7, abs=1)  # each is rounded
    assert kept.queries == 0
