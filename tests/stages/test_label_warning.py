"""Distill says what is wrong with labels before it learns from them."""

import itertools

import numpy as np
import pytest

from sensei.annotate.annotator import AnnotatorConfig
from sensei.annotate.oracle import NoisyOracle, Oracle
from sensei.annotate.run import annotate
from sensei.data.images import encode_png
from sensei.data.label_store import LabelStore
from sensei.data.records import Frame, Pair
from sensei.run.workspace import Workspace
from sensei.stages import distill


@pytest.mark.parametrize("useless", [True, False])
def test_labels_without_information_are_warned_about(tmp_path, monkeypatch, useless):
    annotator = NoisyOracle(position_bias=1.0) if useless else Oracle()
    picture, said = encode_png(np.zeros((4, 4, 3), np.uint8)), []
    monkeypatch.setattr(distill, "annotators", lambda workspace: [annotator.name])
    with LabelStore(tmp_path / "labels.sqlite") as store:
        store.add_frames(Frame("collect", 0, 0, 0, i, picture, score=float(i)) for i in range(40))
        ids = store.frame_table().id.tolist()
        store.add_pairs(Pair(a, b) for a, b in itertools.pairwise(ids))
        annotate(store, annotator, AnnotatorConfig(orders="both"))
        distill._warn(store, Workspace(tmp_path, said.append))
    if not useless:
        assert said == []
        return
    (line,) = said
    assert line.startswith(f"distill: warning, about the labels of {annotator.name}: ")
    assert "These labels carry no information: the first image is chosen in 100%" in line
