"""Label sets that others made, as a run: its frames collected, its pairs annotated."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sensei.annotate.quality import quality
from sensei.annotate.run import AnnotateSummary
from sensei.arguments import Dials, resolve
from sensei.data.images import encode_png
from sensei.data.label_store import LabelStore
from sensei.data.motif import CHOICES, MotifFolder, read_motif
from sensei.data.records import Answer, Frame, Pair, Query
from sensei.envs.pictures import resize
from sensei.fields import with_dotted
from sensei.presets import NO_ENVIRONMENT, RunConfig
from sensei.run.progress import Progress
from sensei.run.workspace import Workspace
from sensei.stages.pipeline import execute
from sensei.types import UsageError

CHUNK = 1_000
"""Pairs stored in one transaction."""


def run_config(words: Sequence[str]) -> tuple[Dials, RunConfig]:
    """Read the words after the folder, as every stage does; without an environment it is none.

    Raises:
        UsageError: a word is wrong, or ``--dir`` is missing.
    """
    dials, config = resolve("import", words)
    if not any(word.split("=")[0] == "--dir" for word in words):
        raise UsageError("import needs a folder for the run: give --dir RUN")
    named = (dials.preset, dials.env, dials.config)
    if Workspace(config.dir).exists() or any(name is not None for name in named):
        return dials, config
    return resolve("import", [*words, "--env", NO_ENVIRONMENT])


def describe(folder: Path | str) -> str:
    """Say what a label folder holds; raises as ``import_motif`` does."""
    found = read_motif(Path(folder))
    pairs, _, height, width, _ = found.images.shape
    return (
        f"{folder}: {pairs:,} pairs of {height}×{width} pictures with {found.vector.shape[2]} "
        f"numbers each; preferences: {', '.join(found.preferences)}"
    )


def import_motif(
    config: RunConfig,
    folder: Path | str,
    preference: str | None = None,
    *,
    force: bool = False,
    command: Sequence[str] = (),
) -> str:
    """Make the run ``config.dir`` of a published label folder, and say what is in it.

    The run's collect and annotate stages are then done, and ``sensei distill`` comes next. Every
    preference file is stored as an annotator of its name; R_ψ is trained on one of them.

    Args:
        config: of the run; pictures are brought to ``env.image_size``.
        folder: what ``sensei.data.motif`` describes.
        preference: the preference file to train on; None = the only one.
        force: replace what the run has.
        command: the command line, for the manifest.

    Raises:
        UsageError: the folder is incomplete, a preference has to be chosen, or the run holds
            something else.
        SenseiError: a file in the folder is not what the layout says.
    """
    source = read_motif(Path(folder))
    name, pairs = source.chosen(preference), len(source.images)
    counts = {"collect.env_steps": 0, "collect.label_frames": 2 * pairs, "annotate.pairs": pairs}
    config = with_dotted(config, counts)
    workspace, print_ = Workspace(config.dir), fingerprint(source, name)
    _check_same(workspace, print_, force)
    bodies = {
        "collect": lambda config, workspace: _store_frames(config, workspace, source, print_),
        "annotate": lambda _, workspace: _store_labels(workspace, source, name),
    }
    for kind in bodies:
        execute(config, workspace, kind, force=force, command=command, body=bodies.__getitem__)
    return f"{pairs:,} pairs in {config.dir}; R_ψ comes next: sensei distill --dir {config.dir}"


def fingerprint(source: MotifFolder, name: str) -> str:
    """Return a hash of the labels, the pictures' shape and whose labels are trained on."""
    known = [name, list(source.images.shape), *source.preferences]
    digest = hashlib.sha256(json.dumps(known).encode())
    for said in source.preferences.values():
        digest.update(said.tobytes())
    return digest.hexdigest()


def _check_same(workspace: Workspace, print_: str, force: bool) -> None:
    """Refuse to mix two label sets; the settings of two may be equal by chance."""
    record = workspace.record("collect")
    if record is None or force or record.summary.get("fingerprint", print_) == print_:
        return
    raise UsageError(
        f"--dir {workspace.root} holds another imported label set, or --preference was another: "
        "use --dir OTHER, or --force to replace it"
    )


def _store_frames(
    config: RunConfig, workspace: Workspace, source: MotifFolder, print_: str
) -> dict[str, Any]:
    """Store both frames of every pair, and nothing that an interrupted import has left."""
    pairs = len(source.images)
    with LabelStore(workspace.labels) as store, Progress("import", pairs, "pairs") as progress:
        store.truncate_frames(workspace.key, 0)
        for start in range(0, pairs, CHUNK):
            rows = range(start, min(start + CHUNK, pairs))
            store.add_frames(_frames(source, rows, config.env.image_size, workspace.key))
            progress.update(rows.stop)
    return {"imported": True, "label_frames": 2 * pairs, "fingerprint": print_}


def _frames(source: MotifFolder, rows: range, size: int, stage: str) -> Iterator[Frame]:
    """Make a pair's two frames an episode of their own: whose episodes they were is not told."""
    for pair, side in itertools.product(rows, (0, 1)):
        image = np.ascontiguousarray(source.images[pair, side])
        yield Frame(
            stage=stage,
            generation=1,
            env=0,
            episode=pair,
            step=2 * pair + side,
            picture=encode_png(image),
            obs=encode_png(resize(image, size)),
            vector=tuple(source.vector[pair, side].tolist()),
        )


def _store_labels(workspace: Workspace, source: MotifFolder, name: str) -> Mapping[str, Any]:
    """Store the pairs and what everyone said of them; what is there already stays."""
    with LabelStore(workspace.labels) as store:
        frames = store.frame_table("collect")
        frame = frames.id[np.argsort(frames.step)].reshape(-1, 2).tolist()
        store.add_pairs(Pair(*ids, generation=1, sampler="imported") for ids in frame)
        pair_of = {pair.first: pair.id for pair in store.pairs()}
        queries = [Query(pair_of[first], first, second) for first, second in frame]
        for who, said in source.preferences.items():
            answers = [Answer.of(CHOICES[choice]) for choice in said]
            store.record_many(who, "", zip(queries, answers, strict=True))
        return {
            "annotator": name,
            "run": dataclasses.asdict(_summary(name, source.preferences[name])),
            "quality": dataclasses.asdict(quality(store)),
        }


def _summary(name: str, said: np.ndarray) -> AnnotateSummary:
    unknown = int(np.sum(said == CHOICES.index("unknown")))
    return AnnotateSummary(
        annotator=name,
        asked=0,
        labelled=len(said) - unknown,
        unknown=unknown,
        failed=0,
        pending=0,
        tokens=0,
        money=0.0,
        requests=0,
        unaccounted=0,
        wire="",
        seconds=0.0,
        stopped="",
    )
