"""Crafter: exact under a seed, achievements counted, death and time limit told apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("crafter")

from sensei.envs import crafter as module
from sensei.envs import crafter_facts, wrap_env
from sensei.envs.crafter import Crafter
from sensei.types import SenseiError

MAKE_TABLE, MAKE_PICKAXE, NOOP, DO = 8, 11, 0, 5


@pytest.fixture(scope="module")
def env() -> Iterator[Crafter]:
    made = Crafter()
    yield made
    made.close()


def play(env: Crafter, seed: int, steps: int, label_every: int = 0) -> list[Any]:
    """Walk at random and return everything that was seen, as bytes."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    seen = [observation["image"].tobytes(), repr(info)]
    for number in range(steps):
        # No sleep and no waiting: the player lives long enough to meet the creatures.
        observation, *rest = env.step(int(rng.integers(1, 6)))
        seen += [observation["image"].tobytes(), repr(rest), env.oracle_score()]
        if label_every and number % label_every == 0:
            env.render_label()
        if rest[1]:
            break
    return seen


def give(env: Crafter, **items: int) -> None:
    env.game._player.inventory.update(items)


def surround(env: Crafter, material: str) -> None:
    """Make the whole surroundings of ``material``, without creatures."""
    world, player = env.game._world, env.game._player
    x, y = player.pos
    for thing in world.objects:
        if thing is not player:
            world.remove(thing)
    world._mat_map[x - 8 : x + 9, y - 8 : y + 9] = world._mat_ids[material]
    world[player.pos] = "grass"


def test_the_first_picture_and_the_steps_are_the_packages_own(env: Crafter) -> None:
    import crafter

    theirs = crafter.Env(seed=7)
    observation, _ = env.reset(seed=7)
    np.testing.assert_array_equal(observation["image"], theirs.reset())
    for action in (1, 1, 3, 3, 5, 4):
        observation, reward, *_ = env.step(action)
        picture, expected, _, _ = theirs.step(action)
        np.testing.assert_array_equal(observation["image"], picture)
        assert reward == expected


def test_same_seed_same_bytes_whenever_labels_are_drawn(env: Crafter) -> None:
    # 180 steps reach into the night, whose noise comes from the creatures' own random numbers.
    other = Crafter()
    play(other, seed=1, steps=3)
    assert play(env, 5, 180) == play(other, 5, 180, label_every=2)
    assert play(env, 6, 3) != play(env, 5, 3)


def test_which_creature_leaves_does_not_depend_on_addresses(env: Crafter) -> None:
    env.reset(seed=0)
    chunk, objs = next(
        (chunk, objs) for chunk, objs in env.game._world.chunks.items() if len(objs) > 2
    )
    orders = []
    for given in (list(objs), list(objs)[::-1]):
        seen: list[Any] = []
        env.game._balance_object = lambda chunk, objs, *rest, seen=seen: seen.append(list(objs))
        env.game._balance_chunk(chunk, given)
        orders.append(seen)
    del env.game._balance_object
    assert orders[0] == orders[1] and len(orders[0]) == 3


def test_unseeded_resets_go_on_to_new_worlds(env: Crafter) -> None:
    env.reset(seed=3)
    first = [env.reset()[0]["image"].tobytes() for _ in range(2)]
    env.reset(seed=3)
    assert first == [env.reset()[0]["image"].tobytes() for _ in range(2)]
    assert first[0] != first[1]


def test_achievements_are_events_and_rewards(env: Crafter) -> None:
    _, info = env.reset(seed=0)
    assert len(env.achievements) == 22 and set(info["rewards"]) == set(env.achievements)
    assert not any(info["events"].values())
    surround(env, "grass")
    give(env, wood=9)
    _, reward, _, _, info = env.step(MAKE_TABLE)
    happened = {name: count for name, count in info["events"].items() if count}
    assert happened == {"place_table": 1, "unlocked": 1} and reward == 1.0
    assert {k for k, v in info["rewards"].items() if v} == {"place_table"}
    _, reward, _, _, info = env.step(MAKE_PICKAXE)
    assert info["events"]["make_wood_pickaxe"] == 1 and reward == 1.0
    _, reward, _, _, info = env.step(MAKE_PICKAXE)
    # A second one counts and earns as a task of its own, but unlocks nothing.
    assert info["rewards"]["make_wood_pickaxe"] == 1.0
    assert info["events"]["unlocked"] == 0 and reward == 0.0


def test_death_terminates(env: Crafter) -> None:
    env.reset(seed=0)
    surround(env, "lava")
    _, reward, terminated, truncated, info = env.step(1)
    assert (terminated, truncated, info["events"]["died"]) == (True, False, 1)
    assert reward == pytest.approx(-0.9)


def test_the_time_limit_truncates_and_death_at_it_terminates() -> None:
    env = Crafter(max_episode_steps=2)
    for lava, expected in ((False, (False, True)), (True, (True, False))):
        env.reset(seed=0)
        assert env.step(NOOP)[2:4] == (False, False)
        surround(env, "lava" if lava else "grass")
        assert env.step(1)[2:4] == expected


def test_oracle_grades_the_inventory_and_what_leads_on(env: Crafter) -> None:
    env.reset(seed=0)
    scores = []
    for around, items in (
        ("grass", {}),
        ("tree", {}),
        ("grass", {"wood": 2}),
        ("table", {"wood": 2}),
        ("grass", {"wood_pickaxe": 1}),
        ("stone", {"stone": 1}),
        ("iron", {"stone_pickaxe": 1}),
        ("furnace", {"iron": 1}),
        ("diamond", {"iron_pickaxe": 1}),
        ("diamond", {"diamond": 1}),
    ):
        surround(env, around)
        give(env, **items)
        env.step(NOOP)
        scores.append(env.oracle_score())
    assert scores == [0, 0.5, 1, 1.5, 2, 3, 4.5, 5.5, 6.5, 7]


def test_level_works_on_arrays_too() -> None:
    held = dict.fromkeys((name for items in crafter_facts.LEVELS for name in items), np.zeros(3))
    held["stone"] = np.array([0, 2, 0])
    held["diamond"] = np.array([0, 0, 1])
    assert crafter_facts.level(held).tolist() == [0, 3, 7]


def test_contract_picture_and_text(env: Crafter) -> None:
    spec = wrap_env(env).spec
    assert spec.obs.image == (64, 64, 3) and spec.action.discrete == (17,)
    assert spec.has_label_picture and spec.has_oracle and spec.has_text
    env.reset(seed=0)
    surround(env, "water")
    give(env, wood_pickaxe=1)
    text = env.step(NOOP)[4]["text"]
    assert text == (
        "Condition: health 9, food 9, drink 9, energy 9\nInventory: 1 wood pickaxe\nIn view: water"
    )
    assert env.render_label().shape == (288, 288, 3)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "crafter", None)
    with pytest.raises(SenseiError, match=r"sensei-rl\[crafter\]"):
        module._crafter()
