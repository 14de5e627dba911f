"""A dry run of annotate says what the labels will cost, and keeps those it bought."""

import numpy as np
import pytest

from sensei import cli
from sensei.data.images import encode_png
from sensei.data.label_store import LabelStore
from sensei.data.records import Frame
from sensei.testing.server import FakeVLM, brighter


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_a_dry_run_shows_the_price_and_keeps_the_labels(tmp_path, capsys):
    with LabelStore(tmp_path / "labels.sqlite") as store:
        store.add_frames(
            Frame("collect", 1, 0, i // 6, i, encode_png(np.full((8, 8, 3), i, np.uint8)))
            for i in range(120)
        )
    with FakeVLM(brighter, offers=("decisions",)) as server:
        words = ["annotate", "tiny", "--dir", str(tmp_path), "--dry-run", "--annotator", "vlm"]
        words += ["--annotator.base-url", server.base_url, "--annotate.pairs", "100"]
        words += ["--annotator.price-in", "1", "--annotator.price-out", "1"]
        for _ in range(2):
            assert cli.main(words) == 0
            said = capsys.readouterr().out
            assert "96 questions to go: 48,000 tokens, about $0.048" in said
            assert "wire decisions" in said and said.count("\n") == 1
        assert server.requests == 4
    with LabelStore(tmp_path / "labels.sqlite") as store:
        assert len(store.labels()) == 4


def test_without_frames_there_is_no_price(tmp_path, capsys):
    assert cli.main(["annotate", "tiny", "--dir", str(tmp_path), "--dry-run"]) == 1
    assert "run `sensei collect` first" in capsys.readouterr().err
