"""Craftax and Navix as they are installed, and the words where they are not."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sensei.envs import EnvConfig, crafter_facts, make_env
from sensei.envs.craftax import _leading_blocks, _text, with_textures
from sensei.envs.pool import EnvPool
from sensei.types import SenseiError, UsageError


@pytest.mark.parametrize(
    ("name", "module", "words"),
    [
        ("craftax", "craftax.craftax_env", r"sensei-rl\[jaxenvs\]"),
        ("craftax-classic", "craftax.craftax_classic.constants", r"sensei-rl\[jaxenvs\]"),
        ("navix", "navix", "pip install navix"),
    ],
)
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, "craftax.craftax_env", None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SenseiError, match=words):
        make_env(name)


def test_a_broken_cache_of_textures_is_made_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CRAFTAX_RELOAD_TEXTURES", raising=False)

    def load() -> str:
        print("Loading textures")
        if "CRAFTAX_RELOAD_TEXTURES" not in os.environ:
            raise EOFError
        return "textures"

    assert with_textures(load) == "textures"
    assert "CRAFTAX_RELOAD_TEXTURES" not in os.environ
    assert capsys.readouterr().out == ""


def test_text_tells_what_is_carried() -> None:
    inventory = SimpleNamespace(wood=np.int32(3), stone_pickaxe=1, potions=np.zeros(6), iron=0)
    vitals = {f"player_{name}": 9 for name in ("health", "food", "drink", "energy")}
    assert _text(SimpleNamespace(inventory=inventory, **vitals)) == (
        "Condition: health 9, food 9, drink 9, energy 9\nInventory: 3 wood, 1 stone pickaxe"
    )


def test_every_level_has_its_blocks() -> None:
    names = ("TREE", "CRAFTING_TABLE", "STONE", "COAL", "IRON", "FURNACE", "DIAMOND")
    kinds = {name: SimpleNamespace(value=5 + number) for number, name in enumerate(names)}
    codes = _leading_blocks(kinds)
    assert codes.shape == (len(crafter_facts.LEVELS) + 1, 2)
    assert codes[2].tolist() == [7, 8] and codes[0].tolist() == [5, -1] and (codes[-1] == -1).all()


def rounds(name: str, steps: int, **options: Any) -> tuple[EnvPool, list[dict[str, np.ndarray]]]:
    with EnvPool(EnvConfig(name, 4, 0, options=options), seed=0) as pool:
        rng = np.random.default_rng(0)
        choices = pool.spec.action.discrete[0]
        played = []
        for _ in range(steps):
            moves = np.eye(choices, dtype=np.float32)[rng.integers(choices, size=4)]
            rows, labels = pool.step(moves, np.ones(4, np.bool_))
            played.append(rows)
        assert all(label is not None and label.image.shape[-1] == 3 for label in labels)
    return pool, played


@pytest.mark.slow  # minutes of compiling
@pytest.mark.parametrize(("name", "choices"), [("craftax-classic", 17), ("craftax", 43)])
def test_craftax_plays(name: str, choices: int) -> None:
    pytest.importorskip("craftax")
    pool, played = rounds(name, 60, max_episode_steps=25)
    assert pool.spec.action.discrete == (choices,) and pool.spec.has_text and pool.spec.has_oracle
    happened = np.sum([rows["events"].sum(0) for rows in played], 0)
    assert happened[pool.spec.events.index("collect_sapling")] >= 0 and happened.sum() > 0
    assert any((rows["is_last"] & ~rows["is_terminal"]).any() for rows in played)
    assert len({rows["image"].tobytes() for rows in played}) > 40


@pytest.mark.slow  # minutes of compiling
def test_navix_plays() -> None:
    pytest.importorskip("navix")
    with pytest.raises(UsageError, match="near: Navix-Empty-5x5-v0"):
        make_env("navix", level="Navix-Empty-5x5")
    pool, played = rounds("navix", 200, level="Navix-Empty-5x5-v0")
    assert pool.spec.events == ("picked_up", "door_opened", "success")
    ends = [rows for rows in played if rows["is_terminal"].any()]
    assert ends
    for rows in played:
        np.testing.assert_array_equal(rows["reward"] > 0, rows["is_terminal"])
        np.testing.assert_array_equal(rows["score"] == 3, rows["is_terminal"])
