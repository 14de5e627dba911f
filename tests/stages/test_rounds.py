"""Labels in rounds: what is asked next, when it is enough, and that a kill changes nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sensei.annotate.oracle import NoisyOracle
from sensei.data.label_store import LabelStore
from sensei.data.records import Frame
from sensei.fields import with_dotted
from sensei.presets import RunConfig, preset
from sensei.run import checkpoint
from sensei.run.workspace import Workspace
from sensei.stages import annotate, rounds
from sensei.stages.config import AnnotateConfig
from sensei.stages.distill import load_frames
from sensei.stages.pipeline import execute
from sensei.stages.rounds import ENSEMBLE, doubt_of, round_sizes
from sensei.stages.setups import blank_reward_model
from sensei.types import UsageError

FIELDS: dict[str, Any] = {
    "annotate.pairs": 480,
    "annotate.sampler": "uncertain",
    "annotate.rounds": 4,
    "annotator.kind": "noisy",
    "annotator.flip_rate": 0.05,
    "distill.members": 1,
    "distill.epochs": 3,
}

STOPPING = {"annotate.rounds": None, "annotate.sampler": "uniform", "annotate.stop_gain": 0.9}
"""Ends with the first round that has validation labels enough to tell."""


def collected(config: RunConfig, workspace: Workspace) -> dict[str, Any]:
    """Fill the store with frames that show their score, among noise."""
    seen = np.random.default_rng(0).normal(size=(600, 3)).astype(np.float32)
    with LabelStore(workspace.labels) as store:
        store.add_frames(
            Frame("collect", 1, 0, i // 10, i, b"", vector=tuple(v.tolist()), score=float(v[0]))
            for i, v in enumerate(seen)
        )
    return {}


def bodies(kind: str) -> Any:
    return collected if kind == "collect" else annotate.run


def asked(folder: Path, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    """Collect and annotate, or go on; return the summary and what the user was told."""
    config = with_dotted(preset("tiny", "smoke"), FIELDS | {"dir": str(folder)} | fields)
    said: list[str] = []
    workspace = Workspace(folder, say=said.append)
    execute(config, workspace, "collect", body=bodies)
    return execute(config, workspace, "annotate", body=bodies), said


def contents(folder: Path) -> list[tuple[Any, ...]]:
    with LabelStore(folder / "labels.sqlite") as store:
        labels, answers = store.labels(), store.answers()
        assert len(answers) == len(labels)  # each pair once
        return list(zip(labels.first.tolist(), labels.second.tolist(), labels.y, strict=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("rounds") / "run"
    return folder, asked(folder)[0]


def test_every_round_doubles_the_pairs() -> None:
    assert round_sizes(AnnotateConfig(pairs=1000)) == [1000]
    assert round_sizes(AnnotateConfig(pairs=1000, sampler="uncertain")) == [63, 125, 250, 500, 1000]
    assert round_sizes(AnnotateConfig(pairs=1000, stop_gain=0.01, rounds=2)) == [500, 1000]
    assert round_sizes(AnnotateConfig(pairs=3, sampler="uncertain")) == [1, 2, 3]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rounds": 3}, "annotate.rounds is 3, but nothing is decided"),
        ({"rounds": 1, "sampler": "uncertain"}, "annotate.rounds is 1: give 2 or more"),
        ({"rounds": 0, "stop_gain": 0.1}, "annotate.rounds is 0"),
        ({"stop_gain": 0.0}, "annotate.stop_gain is 0.0"),
    ],
)
def test_rounds_that_decide_nothing_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AnnotateConfig(**fields)


def test_all_pairs_are_asked_once_and_each_round_is_reported(
    whole: tuple[Path, dict[str, Any]],
) -> None:
    folder, summary = whole
    assert len(contents(folder)) == summary["run"]["asked"] == 480
    assert [entry["pairs"] for entry in summary["rounds"]] == [60, 120, 240]
    assert summary["rounds"][0]["gain"] is None and summary["rounds"][2]["gain"] is not None
    assert summary["rounds"][2]["decided"] == 36  # 15 % of 240
    assert summary["stopped_early"] == ""


def test_later_rounds_ask_what_r_psi_doubts(whole: tuple[Path, dict[str, Any]]) -> None:
    """R_ψ after 240 pairs chose the training pairs of the last round, but not its validation."""
    config = with_dotted(preset("tiny", "smoke"), FIELDS | ENSEMBLE)
    with LabelStore(whole[0] / "labels.sqlite") as store:
        data = load_frames(store)
    model = checkpoint.load(
        whole[0] / "annotate" / "round-240.safetensors", blank_reward_model(config, data.spec)
    )[0]
    labels = data.labels.select(data.labels.pair > 240)
    doubt = doubt_of(model, data.obs, data.ids)(data.ids[labels.first], data.ids[labels.second])
    assert doubt[labels.split == "train"].min() > np.median(doubt[labels.split == "val"])


def test_after_kill_9_in_a_round_the_run_is_the_same(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    script = f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from sensei.annotate.oracle import NoisyOracle
        import test_rounds

        class Dying(NoisyOracle):
            asked = 0
            async def compare(self, first, second):
                Dying.asked += 1
                if Dying.asked == 200:  # in the third round
                    os.kill(os.getpid(), signal.SIGKILL)
                return await super().compare(first, second)

        import sensei.annotate.build as build
        build.NoisyOracle = Dying
        test_rounds.asked(Path({str(tmp_path / "run")!r}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with LabelStore(tmp_path / "run" / "labels.sqlite") as store:
        kept = len(store.answers())
        assert 120 <= kept < 200 and store.count_pairs() == 240
    summary, _ = asked(tmp_path / "run")
    assert summary["run"]["asked"] == 480 - kept
    assert contents(tmp_path / "run") == contents(whole[0])
    assert summary["rounds"] == whole[1]["rounds"]


def test_a_stop_before_a_round_is_recorded_changes_nothing(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def interrupted(path: Path, value: Any) -> None:
        calls.append(len(value["rounds"]))
        if calls == [1, 2]:
            raise KeyboardInterrupt
        write_json(path, value)

    write_json = rounds.write_json
    monkeypatch.setattr(rounds, "write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        asked(tmp_path)
    summary, _ = asked(tmp_path)
    assert contents(tmp_path) == contents(whole[0])
    assert summary["rounds"] == whole[1]["rounds"]


def test_it_stops_when_a_doubling_gains_too_little(tmp_path: Path) -> None:
    """Nothing gains 90 points; of 700 pairs 105 validate, the first time that these are enough."""
    fields = STOPPING | {"annotate.pairs": 2800}
    summary, said = asked(tmp_path, **fields)
    assert len(contents(tmp_path)) == summary["run"]["asked"] == 700
    assert "less than annotate.stop_gain 0.9: 2,100 of 2,800 pairs are saved" in said[-2]
    assert summary["stopped_early"] in said[-2]
    assert asked(tmp_path, **fields)[1][-1].startswith("annotate: done")
    # With another rule the stage goes on where it stopped.
    summary, said = asked(tmp_path, **fields | {"annotate.stop_gain": 0.8})
    assert summary["run"]["asked"] == 0 and len(contents(tmp_path)) == 700
    summary, _ = asked(tmp_path, **fields | {"annotate.stop_gain": None})
    assert len(contents(tmp_path)) == 2800


def test_few_labels_never_stop_it(tmp_path: Path) -> None:
    assert asked(tmp_path, **STOPPING)[0]["run"]["asked"] == 480  # 36 validation labels at most


@pytest.mark.parametrize("fields", [{"annotate.pairs": 6}, {"annotator.unknown_rate": 0.97}])
def test_rounds_with_next_to_nothing_in_them(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Without validation pairs, and at first without any label, there is still a next round."""
    summary, _ = asked(tmp_path, **fields)
    assert summary["run"]["asked"] == fields.get("annotate.pairs", 480)
    assert summary["run"]["labelled"] > 0


def test_max_pairs_counts_over_all_rounds(tmp_path: Path) -> None:
    assert asked(tmp_path, **{"annotator.max_pairs": 100})[0]["run"]["asked"] == 100
    with LabelStore(tmp_path / "labels.sqlite") as store:
        assert len(store.answers()) == 100
    summary, _ = asked(tmp_path, **{"annotator.max_pairs": None})
    assert summary["run"]["asked"] == 380
    assert NoisyOracle(flip_rate=0.05).name == summary["annotator"]


def test_another_annotator_is_asked_about_no_more_than_it_is_wanted_for(tmp_path: Path) -> None:
    """Its questions may cost what the first one's did not, and 480 pairs are drawn already."""
    uniform = {"annotate.sampler": "uniform", "annotate.rounds": None}
    asked(tmp_path, **uniform)
    config = with_dotted(preset("tiny", "smoke"), FIELDS | {"dir": str(tmp_path)} | uniform)
    dear = {"annotate.pairs": 70, "annotator.flip_rate": 0.0, "annotator.second": "noisy@9"}
    said: list[str] = []
    workspace = Workspace(tmp_path, say=said.append)
    config = with_dotted(config, dear | {"annotator.second_share": 0.5})
    summary = execute(config, workspace, "annotate", body=bodies, force=True)
    assert summary["run"]["asked"] == 70 and "labels 70 pairs" in " ".join(said)
    with LabelStore(workspace.labels) as store:
        first = store.labels(summary["annotator"])
        assert len(first) == 70 and first.y.shape == (70,)
        assert sorted(np.unique(store.answers().annotator, return_counts=True)[1]) == [35, 70, 480]
        ids = [(pair.first, pair.second) for pair in store.pairs()]
        assert list(zip(first.first.tolist(), first.second.tolist(), strict=True)) == ids[:70]
