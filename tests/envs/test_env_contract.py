"""Adapter: odd spaces become canonical rows; what does not fit is explained."""

from typing import Any

import gymnasium
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from gymnasium import spaces

from sensei.envs import EnvConfig, describe, make_adapter, make_env, row_fields, wrap_env
from sensei.envs.actions import ActionCodec
from sensei.envs.observations import ObsReader
from sensei.envs.pictures import resize
from sensei.testing.envs import CueReward, LastAction, Misbehaving, PointMass, TimeLimitOne
from sensei.types import SenseiError


class Sampling(gymnasium.Env[Any, Any]):
    """Returns samples of its space and keeps the actions it got."""

    def __init__(self, observed: spaces.Space, acted: spaces.Space | None = None, **info: Any):
        self.observation_space = observed
        self.action_space = acted or spaces.Discrete(2)
        self.info = info
        self.actions: list[Any] = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), self.info

    def step(self, action):
        self.actions.append(action)
        return self.observation_space.sample(), 0.5, False, False, self.info


def image_space(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


def real(*shape: int) -> spaces.Box:
    return spaces.Box(-1.0, 1.0, shape, np.float32)


ODD = [
    (real(3), None, 3),
    (real(), None, 1),
    (real(2, 3), None, 6),
    (image_space(64, 64, 3), (16, 16, 3), 0),
    (image_space(3, 40, 30), (16, 16, 3), 0),
    (image_space(84, 84), (16, 16, 1), 0),
    (image_space(20, 20, 4), (16, 16, 4), 0),
    (spaces.Box(0.0, 1.0, (20, 24, 3), np.float32), (16, 16, 3), 0),
    (image_space(4, 4, 3), None, 48),
    (spaces.Discrete(4, start=2), None, 4),
    (spaces.MultiDiscrete([2, 3]), None, 5),
    (spaces.MultiBinary([2, 2]), None, 4),
    (spaces.Dict({"a": image_space(20, 20, 3), "b": image_space(30, 30)}), (16, 16, 4), 0),
    (spaces.Dict({"eye": image_space(20, 20, 3), "arm": spaces.Tuple([real(2), real(1)])}), ..., 3),
    (spaces.Box(-np.inf, np.inf, (21, 79), np.float64), None, 21 * 79),
    (image_space(3, 16, 16), (16, 16, 3), 0),
    (image_space(4, 20, 24, 3), (16, 16, 12), 0),
    (image_space(2, 3, 20, 24), (16, 16, 6), 0),
    (spaces.Box(0, 255, (20, 24, 3), np.int64), (16, 16, 3), 0),
    (spaces.Box(-1.0, 1.0, (20, 24, 3), np.float32), (16, 16, 3), 0),
    (spaces.Box(0, 5976, (21, 79), np.int16), None, 21 * 79),
]


@pytest.mark.parametrize(("space", "image", "count"), ODD, ids=lambda x: str(x)[:40])
def test_odd_observations_become_rows(space, image, count):
    adapter = wrap_env(Sampling(space), image_size=16)
    image = (16, 16, 3) if image is ... else image
    assert adapter.spec.obs.image == image
    assert len(adapter.spec.obs.vector) == count == len(set(adapter.spec.obs.vector))
    for row in (adapter.reset(1), adapter.step(np.array([1, 0], np.float32))):
        fields = row_fields(adapter.spec)
        assert row.keys() == fields.keys()
        for name, (shape, dtype) in fields.items():
            assert (np.shape(row[name]), np.asarray(row[name]).dtype) == (shape, dtype), name


def test_vector_entries_have_names_in_order():
    space = spaces.Dict({"arm": real(2), "mode": spaces.Discrete(2, start=1), "on": real(1)})
    adapter = wrap_env(Sampling(space))
    assert adapter.spec.obs.vector == ("arm[0]", "arm[1]", "mode=1", "mode=2", "on")


def test_choices_are_one_hot():
    reader = ObsReader(spaces.MultiDiscrete([2, 3]), 16)
    np.testing.assert_array_equal(reader.vector(np.array([1, 2])), [0, 1, 0, 0, 1])


def test_image_of_the_right_size_is_untouched_and_copied():
    reader = ObsReader(image_space(64, 64, 3), 64)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    read = reader.image(picture)
    np.testing.assert_array_equal(read, picture)
    assert not np.shares_memory(read, picture)


def test_resize_is_the_mean_of_the_area():
    picture = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    mean = picture.reshape(16, 2, 16, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(picture, 16), mean, atol=1.0)


def test_channels_first_and_last_agree():
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    last = ObsReader(image_space(40, 40, 3), 16).image(picture)
    first = ObsReader(image_space(3, 40, 40), 16).image(picture.transpose(2, 0, 1))
    np.testing.assert_array_equal(last, first)


def test_float_picture_is_scaled_to_bytes():
    reader = ObsReader(spaces.Box(0.0, 1.0, (16, 16, 1), np.float32), 16)
    assert reader.image(np.full((16, 16, 1), 0.5, np.float32))[0, 0, 0] == 128


def test_frames_of_a_stack_are_channels_in_order():
    stack = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    read = ObsReader(image_space(2, 16, 16, 3), 16).image(stack)
    np.testing.assert_array_equal(read, np.concatenate(list(stack), axis=-1))


def test_float_picture_of_any_range_is_scaled_to_bytes():
    reader = ObsReader(spaces.Box(-1.0, 3.0, (16, 16, 1), np.float32), 16)
    picture = np.full((16, 16, 1), -1.0, np.float32)
    picture[0, 0], picture[0, 1] = 3.0, 1.0
    assert reader.image(picture)[0, :3, 0].tolist() == [255, 128, 0]


def action_spaces() -> st.SearchStrategy[spaces.Space]:
    leaf = st.one_of(
        st.builds(spaces.Discrete, st.integers(1, 5), start=st.integers(-3, 3)),
        st.builds(spaces.MultiDiscrete, st.lists(st.integers(1, 4), min_size=1, max_size=3)),
        st.builds(spaces.MultiBinary, st.integers(1, 4)),
        st.builds(lambda low, span, n: spaces.Box(low, low + span, (n,), np.float32),
                  st.floats(-5, 5), st.floats(0.5, 5), st.integers(1, 3)),
        st.builds(lambda n: spaces.Box(-3, 4, (n, 2), np.int32), st.integers(1, 2)),
    )  # fmt: skip
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
            st.dictionaries(st.sampled_from("abc"), inner, min_size=1).map(spaces.Dict),
        ),
        max_leaves=4,
    )


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(action_spaces(), st.integers(0, 2**31))
def test_every_decoded_action_is_inside_its_space(space, seed):
    codec = ActionCodec(space)
    vector = np.random.default_rng(seed).uniform(-1.5, 1.5, codec.spec.size).astype(np.float32)
    assert space.contains(codec.decode(vector))


def test_discrete_blocks_come_before_numbers():
    space = spaces.Dict(
        {"push": spaces.Box(-2.0, 4.0, (2,), np.float32), "tool": spaces.Discrete(3, start=5)}
    )
    codec = ActionCodec(space)
    assert (codec.spec.discrete, codec.spec.continuous, codec.spec.size) == ((3,), 2, 5)
    action = codec.decode(np.array([0, 0, 1, -1.0, 0.0], np.float32))
    assert action["tool"] == 7
    np.testing.assert_allclose(action["push"], [-2.0, 1.0])


def test_number_without_axes_is_decoded_to_an_array():
    action = ActionCodec(spaces.Box(-2.0, 2.0, (), np.float32)).decode(np.ones(1, np.float32))
    assert isinstance(action, np.ndarray) and action.shape == () and action == 2.0


def test_several_blocks_decode_each_for_itself():
    codec = ActionCodec(spaces.MultiDiscrete([2, 3]))
    np.testing.assert_array_equal(codec.decode(np.array([0, 1, 1, 0, 0], np.float32)), [1, 0])


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Box(-np.inf, np.inf, (2,), np.float32), "without bounds.*RescaleAction"),
        (spaces.Text(4), "Text.*TransformAction"),
    ],
)
def test_actions_without_a_scale_are_refused(space, words):
    with pytest.raises(SenseiError, match=words):
        ActionCodec(space)


@pytest.mark.parametrize("vector", [np.zeros(3), np.array([np.nan, 0.0])])
def test_wrong_action_vectors_are_refused(vector):
    with pytest.raises(SenseiError, match="give 2 finite numbers"):
        ActionCodec(spaces.Discrete(2)).decode(vector)


@pytest.mark.parametrize(
    ("misdeed", "words"),
    [
        ("nan", r"'state' has nan at \(1,\).*finite"),
        ("shape", r"'state' has shape \(3,\) but its observation_space says \(2,\)"),
        ("dtype", "'state' has dtype <U1 .* float32"),
        ("missing", "lacks 'state'"),
        ("four", "returned 4 values, not 5.*old gym"),
    ],
)
def test_misfits_name_the_key_and_the_remedy(misdeed, words):
    adapter = wrap_env(Misbehaving(misdeed, at=2))
    adapter.reset(0)
    go = np.array([1, 0], np.float32)
    adapter.step(go)
    with pytest.raises(SenseiError, match=words):
        adapter.step(go)


def test_choice_outside_its_space_is_refused():
    with pytest.raises(SenseiError, match="choice 4 of 3"):
        ObsReader(spaces.Discrete(3), 16).vector(np.int64(4))


def test_old_reset_is_explained():
    class Old(LastAction):
        def reset(self, **_):
            return np.zeros(3, np.float32)

    with pytest.raises(SenseiError, match="old gym"):
        wrap_env(Old())


def test_reset_without_seed_is_refused():
    class Unseeded(LastAction):
        def reset(self):
            return super().reset()

    for env in (Unseeded(), gymnasium.wrappers.TimeLimit(Unseeded(), 5)):
        with pytest.raises(SenseiError, match=r"Unseeded\.reset\(\) takes no seed.*seed=None, opt"):
            wrap_env(env)


def test_type_error_inside_reset_is_the_environments_own():
    class Broken(LastAction):
        def reset(self, *, seed=None, options=None):
            return len(5)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="has no len"):
        wrap_env(Broken())


def test_space_of_another_package_is_refused():
    class Foreign(LastAction):
        def __init__(self):
            super().__init__()
            self.action_space = object()  # type: ignore[assignment]

    with pytest.raises(SenseiError, match=r"action_space is a builtins\.object, not a space"):
        wrap_env(Foreign())


@pytest.mark.parametrize("reward", [None, "much", np.zeros(2)])
def test_reward_that_is_no_number_is_refused(reward):
    env = LastAction()
    env.step = lambda action: (np.zeros(3, np.float32), reward, False, False, {})  # type: ignore
    adapter = wrap_env(env)
    adapter.reset(0)
    with pytest.raises(SenseiError, match="rewards must be finite numbers"):
        adapter.step(np.eye(3, dtype=np.float32)[0])


def test_number_too_large_for_the_agent_is_refused():
    reader = ObsReader(spaces.Box(-np.inf, np.inf, (2,), np.float64), 16)
    with pytest.raises(SenseiError, match=r"'obs' has the number 1e\+300 .*float32 can hold"):
        reader.vector(np.array([0.0, 1e300]))


def test_too_many_numbers_name_where_they_are():
    space = spaces.Dict({"a": real(2), "scan": real(300, 300, 2)})
    with pytest.raises(SenseiError, match=r"most in 'scan'.*FilterObservation"):
        ObsReader(space, 16)


@pytest.mark.parametrize("picture", [np.zeros((8, 8, 3)), np.zeros((8, 8, 2), np.uint8)])
def test_label_picture_of_another_kind_is_refused(picture):
    env = LastAction()
    env.render_label = lambda: picture  # type: ignore[attr-defined]
    adapter = wrap_env(env)
    adapter.reset(0)
    with pytest.raises(SenseiError, match=r"render_label\(\) gave .*not uint8"):
        adapter.label_frame()


def test_text_observation_is_refused():
    with pytest.raises(SenseiError, match=r"'say' has the space Text.*info\['text'\]"):
        wrap_env(Sampling(spaces.Dict({"say": spaces.Text(3)})))


def test_not_an_environment():
    with pytest.raises(SenseiError, match="is not a gymnasium"):
        wrap_env(object())  # type: ignore[arg-type]


def test_infinite_reward_is_refused():
    class Rich(LastAction):
        def step(self, action):
            return *super().step(action)[:1], np.inf, False, False, {}

    adapter = wrap_env(Rich())
    adapter.reset(0)
    with pytest.raises(SenseiError, match="reward inf"):
        adapter.step(np.eye(3, dtype=np.float32)[0])


def test_observation_and_action_of_a_row_belong_together():
    adapter = wrap_env(LastAction())
    first = adapter.reset(0)
    assert first["is_first"] and not first["prev_action"].any() and not first["vector"].any()
    for choice in (2, 0, 1):
        row = adapter.step(np.eye(3, dtype=np.float32)[choice])
        np.testing.assert_array_equal(row["vector"], row["prev_action"])
        assert not row["is_first"]


def test_truncation_is_last_but_not_terminal():
    adapter = wrap_env(TimeLimitOne(length=1))
    adapter.reset(0)
    row = adapter.step(np.array([1, 0], np.float32))
    assert (bool(row["is_last"]), bool(row["is_terminal"])) == (True, False)
    adapter = wrap_env(CueReward())
    adapter.reset(0)
    row = adapter.step(np.eye(3, dtype=np.float32)[0])
    assert (bool(row["is_last"]), bool(row["is_terminal"])) == (True, True)


def test_extras_are_found_under_wrappers():
    env = gymnasium.wrappers.TimeLimit(make_env("tiny"), 5)
    adapter = wrap_env(env, image_size=16)
    spec = adapter.spec
    assert spec.has_oracle and spec.has_label_picture and spec.has_text
    assert spec.events[0] == "key_picked_up"
    row = adapter.reset(0)
    assert row["score"] >= 0.0
    view = adapter.label_frame()
    assert view.image.shape == (80, 80, 3) and view.text.startswith("Inventory")


def test_missing_extras_only_switch_features_off():
    adapter = wrap_env(PointMass(), image_size=16)
    spec = adapter.spec
    assert not (spec.has_oracle or spec.has_label_picture or spec.has_text)
    assert spec.events == spec.rewards == ()
    assert np.isnan(adapter.reset(0)["score"])
    assert adapter.label_frame().image.shape == (16, 16, 3)
    assert any("no oracle_score()" in line for line in describe(adapter))


def test_named_rewards_and_a_late_name():
    env = Sampling(real(1), rewards={"lift": 1.0, "push": 0.0})
    adapter = wrap_env(env)
    assert adapter.spec.rewards == ("lift", "push")
    np.testing.assert_array_equal(adapter.reset(0)["rewards"], [1.0, 0.0])
    env.info = {"rewards": {"stack": 1.0}}
    with pytest.raises(SenseiError, match="new name stack"):
        adapter.step(np.array([1, 0], np.float32))


def test_no_picture_for_annotators_is_explained():
    adapter = wrap_env(LastAction())
    adapter.reset(0)
    with pytest.raises(SenseiError, match="no picture for an annotator"):
        adapter.label_frame()


def test_render_gives_the_image_when_asked():
    config = EnvConfig("tiny", image_size=32, options={"render": True, "render_mode": "rgb_array"})
    adapter = make_adapter(config)
    assert adapter.spec.obs.image == (32, 32, 3)
    assert adapter.spec.obs.vector == ("key",)
    assert adapter.reset(0)["image"].shape == (32, 32, 3)
    assert describe(adapter)[0] == "image: from render() → 32×32×3 by area"


def test_describe_says_what_was_found():
    lines = "\n".join(describe(wrap_env(make_env("tiny"))))
    for words in (
        "image 'image': 16×16×3 uint8 → 64×64×3 by area",
        "numbers 'key': Box 1 → key",
        "action: Discrete(5) → one-hot",
        "oracle: yes",
    ):
        assert words in lines
