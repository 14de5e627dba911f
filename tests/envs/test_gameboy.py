"""The Game Boy: our own game from source to solved, adapters, cartridges and states of the user."""

from __future__ import annotations

import re
import shutil
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyboy")

from sensei.envs import make_adapter, make_env, wrap_env
from sensei.envs.config import EnvConfig
from sensei.envs.gameboy import GameBoyEnv, _pyboy, load_rom
from sensei.envs.keyquest import CHEST, KEY, LOCKED, KeyQuest
from sensei.testing import rom
from sensei.testing.solvers import solve
from sensei.types import SenseiError, UsageError


@pytest.fixture(scope="module")
def env():
    made = KeyQuest()
    yield made
    made.close()


def play_solver(env: KeyQuest, seed: int, epsilon: float = 0.0):
    """Return the episode as a list of (score, events, reward, terminated, truncated)."""
    env.reset(seed=seed)
    moments = []
    for action in solve(env, epsilon, seed):
        _, reward, ended, cut, info = env.step(action)
        moments.append((env.oracle_score(), info["events"], reward, ended, cut))
        if ended or cut:
            return moments


def play_random(env: KeyQuest, seed: int, steps: int) -> list[bytes]:
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    seen = [observation["image"].tobytes()]
    for _ in range(steps):
        observation, reward, ended, cut, info = env.step(int(rng.integers(5)))
        seen.append(observation["image"].tobytes())
        seen.append(repr((reward, ended, cut, info)).encode())
    return seen


@pytest.mark.skipif(shutil.which("sdcc") is None, reason="needs SDCC: apt-get install sdcc")
def test_the_game_in_the_package_is_built_from_its_source() -> None:
    assert rom.build() == rom.BUILT.read_bytes()


def test_the_cartridge_has_no_logo_and_stays_small() -> None:
    image = rom.BUILT.read_bytes()
    assert len(image) == 32768 and not any(image[0x104:0x134])
    assert len(zlib.compress(image)) < 4096


def test_build_without_compiler_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensei.testing.rom.shutil.which", lambda _: None)
    with pytest.raises(SenseiError, match="apt-get install sdcc"):
        rom.build()


def test_same_seed_same_bytes_in_two_consoles(env: KeyQuest) -> None:
    other = KeyQuest()
    play_random(other, seed=9, steps=20)
    assert play_random(env, 5, 120) == play_random(other, 5, 120)
    other.close()


def test_worlds_differ_and_can_be_solved(env: KeyQuest) -> None:
    worlds = set()
    for seed in range(30):
        env.reset(seed=seed)
        worlds.add(env.cells.tobytes())
        assert [int((env.cells == thing).sum()) for thing in (KEY, CHEST, LOCKED)] == [1, 1, 2]
    assert len(worlds) == 30


def test_scripted_player_opens_the_chest(env: KeyQuest) -> None:
    for seed in range(15):
        moments = play_solver(env, seed)
        score, events, *rest = moments[-1]
        assert (score, *rest, events["chest_opened"]) == (5.0, 1.0, True, False, 1)
        total = sum((Counter(m[1]) for m in moments), Counter())
        for once in ("key_picked_up", "door_opened", "chest_opened", "reward"):
            assert total[once] == 1
        order = [next(t for t, m in enumerate(moments) if m[1][name]) for name in
                 ("key_picked_up", "door_opened", "at_chest", "chest_opened")]  # fmt: skip
        assert order == sorted(order)


def test_score_rises_with_the_key_and_behind_the_door(env: KeyQuest) -> None:
    for seed in range(5):
        moments = play_solver(env, seed)
        key = next(t for t, m in enumerate(moments) if m[1]["key_picked_up"])
        chest = next(t for t, m in enumerate(moments) if m[0] >= 4.0)
        scores = [m[0] for m in moments]
        assert max(scores[:key], default=0.0) <= 1.0
        assert set(scores[key:chest]) <= {2.0, 3.0} and 3.0 in scores[key:chest]
        assert set(scores[chest:-1]) <= {3.0, 4.0}


def test_noise_does_not_stop_the_player(env: KeyQuest) -> None:
    assert all(play_solver(env, seed, epsilon=0.3)[-1][2] == 1.0 for seed in range(5))


def test_the_picture_after_a_step_is_finished(env: KeyQuest) -> None:
    """Changing rooms takes the game longest; what is seen must not change without a press."""
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    changes = 0
    for action in solve(env, 0.5, 0):
        room = env.facts["x"] // 10, env.facts["y"] // 8
        *_, ended, _, _ = env.step(action if rng.random() < 0.9 else 4)
        shown = env.console.screen()
        if (env.facts["x"] // 10, env.facts["y"] // 8) != room:
            changes += 1
        env.console.tick(4)
        np.testing.assert_array_equal(env.console.screen(), shown)
        if ended:
            break
    assert changes >= 2


def test_adapter_sees_everything() -> None:
    adapter = make_adapter(EnvConfig(name="keyquest"))
    spec = adapter.spec
    assert spec.obs.image == (64, 64, 3) and spec.obs.vector == ()
    assert spec.events == KeyQuest.events
    assert spec.has_label_picture and spec.has_oracle and spec.has_text
    view = adapter.label_frame()
    assert view.image.shape == (144, 160, 3) and "Inventory: nothing" in view.text
    adapter.close()


def test_time_limit_truncates() -> None:
    made = make_env("keyquest", max_episode_steps=3)
    made.reset(seed=0)
    assert [made.step(4)[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]
    made.close()


DOCS = Path(__file__).parents[2] / "docs" / "gameboy.md"


def adapter_of_the_docs() -> type[GameBoyEnv]:
    """Run the page's example: which buttons, which bytes."""
    code = re.findall(r"```python\n# my_game.py\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code[0], str(DOCS), "exec"), names)
    return names["MyGame"]


Adapted = adapter_of_the_docs()


def test_any_cartridge_with_a_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Adapted(rom=str(rom.BUILT))
    adapter = wrap_env(made)
    assert adapter.spec.events == ("key", "door") and not adapter.spec.has_oracle
    made.reset(seed=0)
    rewards, events = [], Counter()
    oracle = KeyQuest()
    oracle.console.load(made.console.save())
    for _ in range(200):
        oracle.facts = oracle.read()
        _, reward, *_, info = made.step(next(solve(oracle)))
        oracle.console.load(made.console.save())
        rewards.append(reward)
        events.update(info["events"])
        if info["events"]["door"]:
            break
    assert sum(rewards) == 1.0 and events == {"key": 1, "door": 1}
    oracle.close()
    adapter.close()

    monkeypatch.setenv("SENSEI_GAMEBOY_ROM", str(rom.BUILT))
    Adapted().close()


def test_a_state_of_the_users_own_starts_every_episode(tmp_path, env: KeyQuest) -> None:
    play_random(env, 1, 10)
    path = tmp_path / "here.state"
    path.write_bytes(env.console.save())
    made = Adapted(rom=str(rom.BUILT), state=str(path))
    made.reset(seed=3)
    np.testing.assert_array_equal(made.render_label(), env.render_label())
    made.close()


def test_wrong_files_are_explained(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENSEI_GAMEBOY_ROM", raising=False)
    with pytest.raises(UsageError, match=r"your own cartridge.*SENSEI_GAMEBOY_ROM"):
        GameBoyEnv()
    with pytest.raises(UsageError, match="No such file"):
        GameBoyEnv(rom=str(tmp_path / "none.gb"))
    (tmp_path / "bad.gb").write_bytes(b"abc")
    with pytest.raises(UsageError, match="no Game Boy cartridge"):
        GameBoyEnv(rom=str(tmp_path / "bad.gb"))
    with pytest.raises(UsageError, match="SHA-1"):
        load_rom(tmp_path / "bad.gb", "X", sha1="0" * 40, title="Some Game")
    made = Adapted(rom=str(rom.BUILT), state=str(tmp_path / "bad.gb"))
    with pytest.raises(UsageError, match="state cannot be loaded"):
        made.reset(seed=0)
    made.close()
    with pytest.raises(UsageError, match=r"state is .*No such file"):
        Adapted(rom=str(rom.BUILT), state=str(tmp_path / "none.state"))
    with pytest.raises(UsageError, match="frames is 2"):
        Adapted(rom=str(rom.BUILT), frames=2)


def test_missing_extra_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("sensei.envs.gameboy.importlib.import_module", missing)
    with pytest.raises(SenseiError, match=r"pip install 'sensei-rl\[gameboy\]'"):
        _pyboy()
