"""RoboDesk: every success signal and interaction provoked; the same bytes twice; what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from sensei.envs import make_env, robodesk_camera, robodesk_scene, wrap_env
from sensei.envs.robodesk import RoboDesk
from sensei.envs.robodesk_physics import FREE, JOINTS, Desk
from sensei.envs.robodesk_tasks import SUCCESSES, Scene, dense, success
from sensei.types import SenseiError, UsageError

mujoco = pytest.importorskip("mujoco")
try:
    robodesk_scene.scene_path()
except SenseiError as error:
    pytest.skip(str(error), allow_module_level=True)

HIGH = np.array([0.0, 0.0, 0.12])
REST = np.array([0.0, 0.0, 0.0, 0.0, -1.0])


def can_draw() -> bool:
    try:
        robodesk_camera.backend()
    except SenseiError:
        return False
    return True


drawing = pytest.mark.skipif(not can_draw(), reason="no libOSMesa and no libEGL with libGL")


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environments that draw nothing: physics and rewards need no graphics library."""
    monkeypatch.setattr(
        RoboDesk, "_draw", lambda self, camera, side: np.zeros((side, side, 3), np.uint8)
    )


@pytest.fixture
def desk() -> Desk:
    made = Desk("fast")
    made.reset(None)
    return made


def scene_of(desk: Desk) -> Scene:
    return Scene(desk, {name: desk.place(name) for name in FREE})


# What to set, and which tasks are then done: an open slide is also open enough for the eased task.
DONE = {
    "open_slide": [("slide", 0.56)],
    "open_slide_easy": [("slide", 0.46)],
    "open_drawer": [("drawer", -0.21)],
    "open_drawer_medium": [("drawer", -0.16)],
    "open_drawer_easy": [("drawer", -0.11)],
    "push_red": [("red_button", -0.0046)],
    "push_green": [("green_button", -0.0046)],
    "push_blue": [("blue_button", -0.0046)],
    # On the flat block at (0.3, 0.665, 0.775) as the middle start has it.
    "stack": [("upright_block", (0.3, 0.665, 0.83))],
    "ball_off_table": [("ball", (-0.9, 0.7, 0.5))],
    "upright_block_off_table": [("upright_block", (0.8, 0.8, 0.5))],
    "flat_block_off_table": [("flat_block", (0.8, 0.6, 0.1))],
    "ball_in_bin": [("ball", (0.4, 0.55, 0.2))],
    "upright_block_in_bin": [("upright_block", (0.4, 0.55, 0.2))],
    "flat_block_in_bin": [("flat_block", (0.4, 0.55, 0.2))],
    "ball_in_shelf": [("ball", (0.3, 1.05, 0.8))],
    "upright_block_in_shelf": [("upright_block", (0.3, 1.05, 0.85))],
    "flat_block_in_shelf": [("flat_block", (0.3, 1.05, 0.775))],
    "lift_ball": [("ball", (0.0, 0.7, 0.82))],
    "lift_upright_block": [("upright_block", (0.0, 0.7, 0.87))],
    "lift_flat_block": [("flat_block", (0.0, 0.5, 0.79))],
}


def test_every_success_has_a_case():
    assert DONE.keys() == set(SUCCESSES) and len(SUCCESSES) == 21


@pytest.mark.parametrize("task", SUCCESSES)
def test_success_signals_follow_the_state(task, desk):
    scene = scene_of(desk)
    before = dense(task, scene)
    assert success(task, scene) == 0.0
    for joint, value in DONE[task]:
        desk.move(joint, value)
    assert success(task, scene) == 1.0
    assert 0.0 <= before < dense(task, scene) <= 1.0


@pytest.mark.parametrize(("task", "joint", "short"), [
    ("open_slide", "slide", 0.54), ("open_slide_easy", "slide", 0.44),
    ("open_drawer", "drawer", -0.19), ("open_drawer_medium", "drawer", -0.14),
    ("open_drawer_easy", "drawer", -0.09), ("push_green", "green_button", -0.0045),
    ("lift_ball", "ball", (0.0, 0.7, 0.80)), ("lift_flat_block", "flat_block", (0.0, 0.5, 0.775)),
    ("ball_in_bin", "ball", (0.4, 0.55, 0.41)), ("ball_in_shelf", "ball", (0.3, 0.99, 0.8)),
])  # fmt: skip
def test_almost_is_not_done(task, joint, short, desk):
    desk.move(joint, short)
    assert success(task, scene_of(desk)) == 0.0


def test_off_table_asks_that_the_others_stay(desk):
    """The package compares with a live view, so there this would count as done."""
    scene = scene_of(desk)
    desk.move("ball", (-0.9, 0.7, 0.5))
    assert success("ball_off_table", scene) == 1.0
    kept = dense("open_slide", scene)
    desk.move("flat_block", scene.began["flat_block"] + [0.02, 0.0, 0.0])
    assert success("ball_off_table", scene) == 0.0
    assert dense("open_slide", scene) == pytest.approx(kept - 0.1 * 0.33)


def test_no_success_at_any_start(desk):
    noise = np.random.default_rng(0)
    for _ in range(20):
        desk.reset(noise)
        assert not any(success(task, scene_of(desk)) for task in SUCCESSES)


def put_hand(desk: Desk, place: np.ndarray) -> None:
    for _ in range(20):
        desk.data.qpos[:7] = desk._reach(place)[:7]
        mujoco.mj_forward(desk.model, desk.data)
    desk.data.qvel[:] = 0.0
    assert np.linalg.norm(desk.hand - place) < 1e-6


def begin_beside(name: str, desk: Desk) -> tuple[np.ndarray, tuple[float, float, float]]:
    """A place for the hand from which moving in the given direction pushes the object."""
    if name.endswith("_button"):
        return desk.place(name) + HIGH, (0.0, 0.0, -1.0)
    if name == "slide":
        return desk.handles["slide"] - [0.1, 0.0, 0.0], (1.0, 0.0, 0.0)
    if name == "drawer":
        return desk.handles["drawer"] - [0.0, 0.14, 0.0], (0.0, 1.0, 0.0)
    low = 0.0 if name == "upright_block" else 0.03
    return desk.place(name) - np.array([0.0, 0.11, -low]), (0.0, 1.0, 0.0)


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("name", JOINTS)
def test_interactions_are_counted_when_the_arm_pushes(name):
    env = RoboDesk(noise=False)
    env.reset(seed=0)
    place, direction = begin_beside(name, env.desk)
    put_hand(env.desk, place)
    action = np.array([*direction, 0.0, -1.0])
    for _ in range(40):
        events = env.step(action)[-1]["events"]
        if events[f"{name}_pushed"]:
            break
    assert events[f"{name}_moved"] == events[f"{name}_pushed"] == 1


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("name", JOINTS)
def test_moving_alone_is_not_pushing(name):
    env = RoboDesk(noise=False)
    env.reset(seed=0)
    dof = env.desk._dof[name]
    pull = {"drawer": -1.0, "slide": 1.0}.get(name, -0.4 if name.endswith("button") else 0.4)
    for _ in range(5):
        env.desk.data.qvel[dof] = pull
        events = env.step(REST)[-1]["events"]
        if events[f"{name}_moved"]:
            break
    assert (events[f"{name}_moved"], events[f"{name}_pushed"]) == (1, 0)


@pytest.mark.usefixtures("blind")
def test_an_untouched_desk_counts_nothing():
    env = RoboDesk(noise=False)
    _, info = env.reset(seed=0)
    assert set(info["events"]) == set(env.events) and len(env.events) == 16
    for _ in range(5):
        _, _, _, _, info = env.step(REST)
    assert not any(info["events"].values())


@pytest.mark.usefixtures("blind")
def test_the_hand_follows_the_action():
    env = RoboDesk(noise=False)
    env.reset(seed=0)
    for axis in range(3):
        before = env.desk.hand
        for _ in range(10):
            env.step(np.eye(5)[axis] + REST)
        went = env.desk.hand - before
        assert went[axis] > 0.02 and abs(went).sum() < 1.5 * went[axis]
    turned = env.desk.arm[6]
    for _ in range(10):
        env.step(np.array([0.0, 0.0, 0.0, 1.0, 1.0]))
    assert env.desk.arm[6] - turned > 0.2
    assert env.desk.arm[7] > 0.03  # open


@pytest.mark.usefixtures("blind")
def test_episodes_end_by_time_alone():
    env = RoboDesk(max_episode_steps=3, action_repeat=1)
    env.reset(seed=0)
    ends = [env.step(REST)[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


@pytest.mark.usefixtures("blind")
def test_reward_forms():
    def earn(form: str) -> list[float]:
        env = RoboDesk(task="open_drawer_easy", reward=form, noise=False)
        env.reset(seed=0)
        env.desk.move("drawer", -0.3)
        return [env.step(REST)[1] for _ in range(2)]

    assert earn("sparse") == [2.0, 2.0]  # an action is two repeats
    assert earn("success") == [1.0, 0.0]
    assert all(1.5 < reward <= 2.0 for reward in earn("dense"))


def random_actions(count: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1, 1, (count, 5)).repeat(5, 0).astype(np.float32)


@pytest.mark.usefixtures("blind")
def test_same_seed_same_episode_and_saved_moments_continue():
    first, second = RoboDesk(robot_state=True), RoboDesk(robot_state=True)
    for env in (first, second):
        env.reset(seed=4)
    np.testing.assert_array_equal(first.desk.state(), second.desk.state())
    second.reset(seed=5)
    assert not np.array_equal(first.desk.state(), second.desk.state())
    actions = random_actions(8)
    for action in actions[:20]:
        first.step(action)
    saved = first.save_state()
    expected = [first.step(action) for action in actions[20:]]
    second.restore_state(saved)
    for action, (seen, reward, *_, info) in zip(actions[20:], expected, strict=True):
        again, its_reward, *_, its_info = second.step(action)
        np.testing.assert_array_equal(again["robot"], seen["robot"])
        assert (its_reward, its_info) == (reward, info)
    assert second.steps == first.steps
    np.testing.assert_array_equal(second.desk.state(), first.desk.state())


def test_start_noise_and_the_evaluation_start(desk):
    middle = {name: desk.place(name) for name in FREE}
    np.testing.assert_allclose(middle["ball"][:2], [-0.4 + 0.24, 0.74])
    np.testing.assert_allclose(middle["upright_block"][:2], [0.15 + 0.2, 0.805])
    np.testing.assert_allclose(middle["flat_block"][:2], [0.15 + 0.15, 0.665])
    assert (desk.position("drawer"), desk.position("slide")) == pytest.approx((-0.05, 0.1))
    noise, starts = np.random.default_rng(0), []
    for _ in range(50):
        desk.reset(noise)
        starts.append((desk.position("drawer"), desk.position("slide"), *desk.place("ball")[:2]))
    low, high = np.min(starts, 0), np.max(starts, 0)
    assert (low >= [-0.1, 0.0, -0.4, 0.7]).all() and (high <= [0.0, 0.2, 0.08, 0.78]).all()
    assert (high - low > 0.8 * np.array([0.1, 0.2, 0.48, 0.08])).all()


@pytest.mark.usefixtures("blind")
def test_oracle_grades():
    env = RoboDesk(noise=False)
    env.reset(seed=0)
    desk = env.desk
    away = desk.data.qpos.copy()
    away[0] = -2.5  # turned from the desk
    desk.data.qpos[:] = away
    mujoco.mj_forward(desk.model, desk.data)
    assert env.oracle_score() == 0.0
    desk.move("drawer", -0.2)
    assert env.oracle_score() == 2.0
    desk.move("drawer", -0.05)
    desk.data.qvel[desk._dof["ball"]] = 0.1
    assert env.oracle_score() == 2.0
    desk.data.qvel[:] = 0.0
    put_hand(desk, desk.place("ball") - np.array([0.0, 0.11, -0.03]))
    assert env.oracle_score() == 3.0
    put_hand(desk, desk.place("ball") - np.array([0.0, 0.13, -0.03]))
    assert env.oracle_score() == 2.0
    put_hand(desk, desk.place("ball") - np.array([0.0, 0.13, -0.25]))
    assert env.oracle_score() == 1.0


def test_the_fast_picture_moves_no_differently():
    desks = [Desk(picture) for picture in ("fast", "full")]
    for desk in desks:
        desk.reset(None)
    for action in random_actions(10):
        for desk in desks:
            desk.act(action)
    np.testing.assert_array_equal(desks[0].state(), desks[1].state())


def test_merging_vertices_keeps_the_outline():
    path = robodesk_scene.scene_path().parent / "meshes/franka/visual_link4.stl"
    vertices, faces = robodesk_scene.read_stl(path)
    merged, kept = robodesk_scene.merge_vertices(vertices, faces, 0.015)
    assert len(kept) < len(faces) / 10
    np.testing.assert_allclose(merged.min(0), vertices.min(0), atol=0.015)
    np.testing.assert_allclose(merged.max(0), vertices.max(0), atol=0.015)


@pytest.mark.parametrize(("options", "words"), [
    ({"task": "open_door"}, "task is 'open_door': give one of open_slide"),
    ({"reward": "much"}, "reward is 'much'"),
    ({"cameras": ("behind",)}, "cameras is 'behind': give one of right, left, top"),
    ({"label_camera": "under"}, "label_camera is 'under': give one of right, left, top"),
    ({"cameras": ()}, "give each camera once"),
    ({"picture": "nice"}, "picture is 'nice'"),
    ({"action_repeat": 0}, "action_repeat is 0"),
    ({"max_episode_steps": 0}, "max_episode_steps is 0"),
])  # fmt: skip
def test_wrong_options_are_explained(options, words):
    with pytest.raises(UsageError, match=words):
        make_env("robodesk", **options)


def test_missing_packages_and_libraries_are_named(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(robodesk_scene.importlib.metadata, "distribution", _not_installed)
        with pytest.raises(SenseiError, match=r"pip install --no-deps robodesk==1\.0\.0"):
            robodesk_scene.scene_path()
    with monkeypatch.context() as patch:
        patch.setattr(robodesk_scene.importlib, "import_module", _fail)
        with pytest.raises(SenseiError, match=r"sensei-rl\[robodesk\]"):
            robodesk_scene.mujoco.__wrapped__()
    monkeypatch.setattr(robodesk_camera, "_loads", lambda library: False)
    for asked, words in (("", "libOSMesa"), ("egl", r"libEGL\.so\.1 and libGL"), ("glfw", "give")):
        monkeypatch.setenv("MUJOCO_GL", asked)
        with pytest.raises(SenseiError, match=words):
            robodesk_camera.backend()


def _not_installed(name: str) -> None:
    raise robodesk_scene.importlib.metadata.PackageNotFoundError(name)


def _fail(name: str) -> None:
    raise ImportError(f"No module named {name!r}")


@drawing
def test_picture_shows_the_desk_and_changes_with_it():
    env = RoboDesk(noise=False, cameras=("right", "top"), label_camera="left")
    seen, _ = env.reset(seed=0)
    assert seen["image"].shape == seen["image_top"].shape == (64, 64, 3)
    assert env.render_label().shape == (224, 224, 3)
    red = seen["image_top"].astype(int)
    ball = (red[..., 0] > 1.5 * red[..., 1] + 40) & (red[..., 0] > 1.5 * red[..., 2] + 10)
    assert ball.any()
    env.desk.move("ball", (0.4, 0.55, 0.2))
    assert (env._observe()["image"] != seen["image"]).any(axis=-1).sum() > 5
    again = RoboDesk(noise=False)
    np.testing.assert_array_equal(again.reset(seed=0)[0]["image"], seen["image"])


@drawing
def test_fast_and_full_show_the_same():
    shown = []
    for picture in ("fast", "full"):
        env = RoboDesk(noise=False, picture=picture)
        shown.append(env.reset(seed=0)[0]["image"].astype(float))
    # Shadows and reflections aside: edges lie in the same places.
    grey = [picture.mean(axis=-1) for picture in shown]
    assert np.corrcoef(grey[0].ravel(), grey[1].ravel())[0, 1] > 0.9


@drawing
def test_contract():
    adapter = wrap_env(make_env("robodesk", cameras=("right", "left"), robot_state=True))
    spec = adapter.spec
    assert spec.obs.image == (64, 64, 6) and len(spec.obs.vector) == 12
    assert (spec.action.discrete, spec.action.continuous) == ((), 5)
    assert spec.rewards == SUCCESSES and len(spec.events) == 16
    assert spec.has_oracle and spec.has_label_picture
    row = adapter.reset(7)
    assert row["score"] in (0.0, 1.0, 2.0, 3.0)
    first = adapter.step(np.ones(5, np.float32))
    adapter.reset(7)
    np.testing.assert_array_equal(adapter.step(np.ones(5, np.float32))["image"], first["image"])
