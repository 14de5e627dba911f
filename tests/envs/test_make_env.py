"""make_env: presets, gymnasium's ids, callables, and hints for names that mean nothing."""

import sys

import pytest

from sensei.envs import make_env
from sensei.testing.envs import LastAction
from sensei.types import SenseiError, UsageError


def test_gym_ids_and_callables():
    assert make_env("gym:CartPole-v1").unwrapped.spec.id == "CartPole-v1"
    made = make_env("sensei.testing.envs:Corridor", cells=7)
    assert made.observation_space.shape == (8,)


def test_seed_reaches_a_callable_that_takes_one(monkeypatch):
    got = {}

    def factory(seed: int = -1, extra: int = 0):
        got.update(seed=seed, extra=extra)
        return LastAction()

    monkeypatch.setattr("sensei.testing.envs.factory", factory, raising=False)
    make_env("sensei.testing.envs:factory", seed=12, extra=3)
    assert got == {"seed": 12, "extra": 3}


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("keychst", {}, "did you mean keychest"),
        ("gym:CartPol-v1", {}, "gym:CartPole-v1"),
        ("nowhere.at.all:make", {}, "no module 'nowhere'"),
        ("sensei.testing.envs:Coridor", {}, "near: Corridor"),
        ("tiny", {"size": 9}, "no option size.*max_episode_steps"),
        ("gym:CartPole-v1", {"nonsense": 1}, "refuses"),
    ],
)
def test_wrong_names_are_usage_errors_with_a_hint(name, options, words):
    with pytest.raises(UsageError, match=words):
        make_env(name, **options)


def test_a_module_in_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "my_worlds.py").write_text(
        "from sensei.testing.envs import Corridor\ndef short(): return Corridor(2)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in sys.path if path])
    assert make_env("my_worlds:short").observation_space.shape == (3,)


def test_a_callable_must_make_an_environment():
    with pytest.raises(SenseiError, match=r"made a Box, not a gymnasium\.Env"):
        make_env("gymnasium.spaces:Box", low=0.0, high=1.0)
