"""One backward pass serves every part: who learns from which loss, and what a training step is."""

from __future__ import annotations

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agent import CONFIG, ENV, HEADS, SIZE, random_batch, setup_of

from sensei.core.agent import Agent, Setup, TrainState, make_agent, make_state
from sensei.core.behaviour import behaviour_losses, imagined_reward, replay_value_loss
from sensei.core.dists import BINS, two_hot, two_hot_mean
from sensei.core.imagination import Rollout
from sensei.core.methods import task
from sensei.core.nets import MLP
from sensei.core.reward_model import RewardModel
from sensei.core.sensei import Channel
from sensei.core.training import agent_loss, loss_scales, total_loss, train_step, with_rewards
from sensei.core.world_model import world_model_losses
from sensei.types import ObsSpec, UsageError

MODEL = {"dynamics", "representation", "vector", "continue"}
REWARDS = {f"reward_{name}" for name in HEADS}
TASK = {"critic_task", "replay_value_task"}
LOSSES = {
    "sensei": {"ensemble", "critic_semantic", "critic_disagreement", *TASK},
    "fixed": {"ensemble", "critic_semantic", "critic_disagreement", *TASK},
    "p2e": {"ensemble", "critic_disagreement", *TASK},
    "vlm": {"critic_semantic", *TASK},
    "dreamer": TASK,
    "rnd": {"novelty", "reward_rnd", "critic_rnd", *TASK},
}


def leaves(tree: object) -> dict[str, np.ndarray]:
    """Every array of a tree by its path."""
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        jax.tree_util.keystr(path): np.asarray(
            jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        )
        for path, x in flat
    }


class Gradients:
    """The gradient of every single loss, and the losses, on any batch: compiled once."""

    def __init__(self, setup: Setup, state: TrainState) -> None:
        params, static = eqx.partition(state.agent, eqx.is_inexact_array)

        @jax.jit
        def compute(params: Agent, batch: dict[str, jax.Array], wanted: dict) -> tuple:
            def loss(params: Agent) -> tuple[jax.Array, dict]:
                rows = with_rewards(batch, None, setup)
                agent = eqx.combine(params, static)
                _, (_, metrics) = agent_loss(agent, state, rows, setup, key=jax.random.key(1))
                found = {k[5:]: v for k, v in metrics.items() if k.startswith("loss/")}
                return sum(wanted[k] * v for k, v in found.items()), found

            return jax.grad(loss, has_aux=True)(params)

        self.compute, self.params = compute, params
        self.names = sorted(loss_scales(setup))

    def __call__(self, batch: dict[str, jax.Array]) -> tuple[dict, dict[str, float]]:
        """Loss → path → gradient, and loss → value."""
        grads, values = {}, {}
        for name in self.names:
            wanted = {k: jnp.float32(k == name) for k in self.names}
            grad, values = self.compute(self.params, batch, wanted)
            grads[name] = leaves(grad)
        return grads, {k: float(v) for k, v in values.items()}


@pytest.fixture(scope="module")
def trained_state(setup: Setup, state: TrainState) -> TrainState:
    """``state`` with every weight moved: heads that start at exactly 0 would pass no gradient on,
    and so hide a missing stop-gradient."""

    @jax.jit
    def moved(state: TrainState) -> TrainState:
        flat, tree = jax.tree.flatten(state.agent)
        keys = jax.random.split(jax.random.key(9), len(flat))
        flat = [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(flat, keys, strict=True)]
        return eqx.tree_at(lambda s: s.agent, state, jax.tree.unflatten(tree, flat))

    return moved(state)


@pytest.fixture(scope="module")
def gradients(setup: Setup, trained_state: TrainState) -> Gradients:
    return Gradients(setup, trained_state)


@pytest.fixture(scope="module")
def usual(gradients: Gradients) -> tuple[dict, dict]:
    return gradients(random_batch())


def owns(loss: str, path: str) -> bool:
    """Whether the parameter at ``path`` may learn from ``loss`` during exploration."""
    if loss in MODEL:
        return path.startswith(".world_model") and ".rewards" not in path
    if loss in REWARDS:
        return path.startswith(f".world_model.rewards['{loss.removeprefix('reward_')}']")
    return path.startswith(f".{loss}" if loss in ("ensemble", "actor") else ".critics")


@pytest.mark.parametrize("loss", sorted(MODEL | REWARDS | LOSSES["sensei"] | {"actor"}))
def test_each_loss_reaches_only_what_owns_it(loss: str, usual: tuple[dict, dict]) -> None:
    """The gradient of everything else is exactly 0. Reward heads, the semantic one too, do not
    shape the representation; nothing imagined reaches the world model."""
    grads = usual[0][loss]
    for path, grad in grads.items():
        if not owns(loss, path):
            assert (grad == 0.0).all(), f"{loss} trains {path}"
    assert any(np.abs(g).max() > 0.0 for path, g in grads.items() if owns(loss, path))


@pytest.mark.parametrize("loss", ["critic_semantic", "critic_disagreement", *sorted(TASK)])
def test_a_channels_loss_trains_that_channels_critic_alone(loss: str, usual: tuple) -> None:
    """Critics are stacked in the order of the channels: semantic, disagreement, task."""
    index = ["semantic", "disagreement", "task"].index(loss.split("_")[-1])
    for path, grad in usual[0][loss].items():
        if path.startswith(".critics"):
            assert (np.delete(grad, index, axis=0) == 0.0).all()
            assert np.abs(grad[index]).max() > 0.0


def test_every_parameter_learns_from_something(usual: tuple) -> None:
    for path in next(iter(usual[0].values())):
        assert any(np.abs(g[path]).max() > 0.0 for g in usual[0].values()), path


@pytest.mark.parametrize("shaping", [(), ("task",)])
def test_only_shaping_heads_reach_the_encoder(
    shaping: tuple[str, ...], setup: Setup, trained_state: TrainState
) -> None:
    """As the task's does in DreamerV3; the other heads read a stopped gradient all the same."""
    batch = with_rewards(random_batch(), None, setup)

    @jax.jit
    def to_encoder(model):
        def loss(model, name):
            losses, _ = world_model_losses(model, batch, CONFIG, shaping, key=jax.random.key(0))
            return losses[f"reward_{name}"].sum()

        grads = {n: eqx.filter_grad(loss)(model, n) for n in ("task", "semantic")}
        return {n: jnp.abs(g.encoder.vector.linear.weight).max() for n, g in grads.items()}

    reached = {n: float(v) > 0.0 for n, v in to_encoder(trained_state.agent.world_model).items()}
    assert reached == {"task": "task" in shaping, "semantic": False}


def test_imagination_from_terminal_states_counts_nothing(gradients: Gradients) -> None:
    """Nothing comes after the end: with only terminal states there is nothing to learn there."""
    batch = random_batch()
    over = batch | {"is_terminal": jnp.ones((2, 6), bool)}
    going = batch | {"is_terminal": jnp.zeros((2, 6), bool)}
    imagined = ("actor", "critic_semantic", "critic_disagreement", "critic_task")
    grads, values = gradients(over)
    for loss in imagined:
        assert values[loss] == 0.0
        assert all((g == 0.0).all() for g in grads[loss].values())
    assert all(gradients(going)[1][loss] != 0.0 for loss in imagined)


@pytest.mark.parametrize("centre", [True, False])
def test_a_constant_in_the_reward_changes_nothing_where_it_is_centred(
    centre: bool, state: TrainState
) -> None:
    """Not even where episodes end, which a positive constant otherwise makes a loss."""
    setup = setup_of("sensei", config=dataclasses.replace(CONFIG, centre_rewards=centre))
    n, feature = 4, SIZE.deter + SIZE.stoch * SIZE.classes
    semantic = jnp.arange(4.0 * n).reshape(4, n) / 8
    goes_on = jnp.ones((4, n)).at[2, :2].set(0.0)

    @jax.jit
    def targets(shift: float) -> dict:
        imagined = Rollout(
            feature=jnp.zeros((4, n, feature)),
            action=jnp.zeros((3, n, 3)).at[..., 0].set(1.0),
            goes_on=goes_on,
            predicted={"semantic": semantic + shift, "task": jnp.zeros((4, n))},
            disagreement=jnp.ones((3, n)),
        )
        losses, _, metrics = behaviour_losses(state.agent, state, imagined, setup)
        return {"actor": losses["actor"], "return": metrics["channel/semantic_return"]}

    plain, shifted = targets(0.0), targets(5.0)
    alike = [np.allclose(plain[k], shifted[k], atol=1e-4) for k in plain]
    assert all(alike) if centre else not any(alike)


def test_what_is_imagined_beyond_an_end_is_in_no_running_mean(
    setup: Setup, state: TrainState
) -> None:
    n, feature = 2, SIZE.deter + SIZE.stoch * SIZE.classes

    @jax.jit
    def means(beyond: float) -> jax.Array:
        imagined = Rollout(
            feature=jnp.zeros((4, n, feature)),
            action=jnp.zeros((3, n, 3)).at[..., 0].set(1.0),
            goes_on=jnp.ones((4, n)).at[2].set(0.0),
            predicted={name: jnp.ones((4, n)).at[3].set(beyond) for name in ("semantic", "task")},
            disagreement=jnp.ones((3, n)).at[2].set(beyond),
        )
        return behaviour_losses(state.agent, state, imagined, setup)[1].magnitudes.value

    np.testing.assert_allclose(means(50.0), 1.0, rtol=1e-6)


def test_imagined_weights(setup: Setup, trained_state: TrainState) -> None:
    """Losses weigh alive · Π γ c: with c = ½ at every later state, 1, γ/2, γ²/4; 0 from a dead
    start, whose neighbour does not notice. All states are alike here."""
    n, feature = 2, SIZE.deter + SIZE.stoch * SIZE.classes
    goes_on = jnp.full((4, n), 0.5).at[0].set(jnp.array([1.0, 0.0]))

    @jax.jit
    def losses(goes_on: jax.Array) -> dict:
        imagined = Rollout(
            feature=jnp.zeros((4, n, feature)),
            action=jnp.zeros((3, n, 3)).at[..., 0].set(1.0),
            goes_on=goes_on,
            predicted={"semantic": jnp.zeros((4, n)), "task": jnp.zeros((4, n))},
            disagreement=jnp.zeros((3, n)),
        )
        return behaviour_losses(trained_state.agent, trained_state, imagined, setup)[0]

    half, whole = losses(goes_on), losses(goes_on.at[0].set(1.0))
    for name, loss in half.items():
        assert (np.asarray(loss[:, 1]) == 0.0).all(), name
        np.testing.assert_array_equal(loss[:, 0], whole[name][:, 0])
    # The target of step H − 1 is r + γ c v′ with the same c either way, so its loss differs by its
    # weight alone: once behind two states that go on by half, once behind two that surely do.
    sure = losses(jnp.ones((4, n)).at[3].set(0.5))
    for name in ("critic_semantic", "critic_task"):
        ratio = np.asarray(whole[name][2] / sure[name][2])
        np.testing.assert_allclose(ratio, 0.25, rtol=1e-4)
        assert float(sure[name][2, 0]) > 0.0


PEAK = 147
REPLAY = dataclasses.replace(CONFIG, discount_horizon=10.0, lambda_=0.8)


@functools.cache
def ramp_critic() -> tuple[MLP, float, np.ndarray]:
    """A critic of constant value, that value, and its log-probabilities, which fall by ½ with every
    bin from their peak, so that the loss tells apart all targets on one side of it."""
    critic = jax.jit(
        lambda: MLP(1, BINS, units=4, layers=1, out_scale=0.0, key=jax.random.key(0))
    )()
    bias = -0.5 * jnp.abs(jnp.arange(BINS) - float(PEAK))
    critic = eqx.tree_at(lambda m: m.out.bias, critic, bias)
    return critic, float(two_hot_mean(bias)), np.asarray(jax.nn.log_softmax(bias))


def ramp_loss(target: float) -> float:
    """Cross-entropy against a target, and against the slow critic's value, of the ramp critic."""
    _, value, logp = ramp_critic()
    both = np.asarray(two_hot(jnp.array([target, value], jnp.float32)))
    return -float((both * logp).sum())


@eqx.filter_jit
def replay_loss(
    critic: MLP, feature: jax.Array, rows: dict[str, jax.Array], channel: Channel
) -> jax.Array:
    return replay_value_loss(critic, critic, feature, rows, channel, REPLAY)


def replayed(batch: dict[str, np.ndarray], potential: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The loss on replayed rows, and what it must be, by a plain loop over transitions."""
    critic, value, _ = ramp_critic()
    b, t = batch["task"].shape
    rows = jax.tree.map(jnp.asarray, batch)
    out = replay_loss(critic, jnp.zeros((b, t, 1)), rows, task(potential=potential))
    phi = potential * batch.get("semantic", np.zeros((b, t)))
    expected = np.zeros((b, t - 1))
    for i in range(b):
        onward = value  # R of the next row, where the next row has a transition
        for s in reversed(range(t - 1)):
            if batch["is_last"][i, s] or batch["is_first"][i, s + 1]:
                onward = value  # an earlier transition may bootstrap here, never look beyond
                continue
            mixed = phi[i, s + 1] + 0.2 * value + 0.8 * onward
            onward = batch["task"][i, s + 1] + 0.9 * mixed * (not batch["is_terminal"][i, s + 1])
            onward -= phi[i, s]
            expected[i, s] = ramp_loss(onward)
    return np.asarray(out), expected


def rows_of(rewards: list[float], first: int, last: int, terminal: bool, t: int = 6) -> dict:
    """One sequence with an end at row ``last`` (−1: none) and a reset at row ``first``."""
    flags = {k: np.zeros((1, t), bool) for k in ("is_first", "is_last", "is_terminal")}
    flags["is_first"][0, [0, first]] = True
    if last >= 0:
        flags["is_last"][0, last], flags["is_terminal"][0, last] = True, terminal
    return flags | {"task": np.array([rewards], np.float32)}


REPLAYED = [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]


@pytest.mark.parametrize(
    ("last", "terminal"), [(2, True), (2, False), (-1, False)], ids=["end", "cut", "crash"]
)
def test_replay_value_targets(last: int, terminal: bool) -> None:
    """0 beyond a termination, the value beyond a time limit; into a reset nothing counts, even
    one without an ``is_last`` before it, as a restarted environment leaves it."""
    out, expected = replayed(rows_of(REPLAYED, 3, last, terminal))
    assert (expected[0] == 0.0).tolist() == [False, False, True, False, False]
    np.testing.assert_allclose(out, expected, rtol=1e-4)


@pytest.mark.parametrize("terminal", [True, False])
def test_replay_value_counts_what_is_gained_in_potential(terminal: bool) -> None:
    """R_ψ of the replayed states themselves; 0 where an episode terminates, not where it is cut."""
    semantic = np.array([[1.0, 3.0, -2.0, 0.5, 4.0, 1.0]], np.float32)
    out, expected = replayed(rows_of(REPLAYED, 3, 2, terminal) | {"semantic": semantic}, 0.25)
    np.testing.assert_allclose(out, expected, rtol=1e-4)


def test_replay_value_tells_termination_from_truncation() -> None:
    """Golden: the transition into the end is worth −3 at a termination, −3 + 0.9 v at a cut."""
    ended = replayed(rows_of(REPLAYED, 3, 2, True))[0]
    cut = replayed(rows_of(REPLAYED, 3, 2, False))[0]
    assert ended[0, 1] == pytest.approx(ramp_loss(-3.0), rel=1e-4)
    assert cut[0, 1] == pytest.approx(ramp_loss(-3.0 + 0.9 * ramp_critic()[1]), rel=1e-4)


@pytest.mark.parametrize("end", [True, False])
def test_replay_value_does_not_see_past_an_end(end: bool) -> None:
    one, _ = replayed(rows_of(REPLAYED, 3, 2, end))
    two, _ = replayed(rows_of([*REPLAYED[:3], 1e6, -1e6, 1e6], 3, 2, end))
    np.testing.assert_array_equal(one[:, :3], two[:, :3])


def test_an_imagined_task_counts_what_is_gained_in_potential() -> None:
    """γ = ½, w = 2: 5 + 2(½·3 − 1), then 5 − 2·3 into an end."""
    imagined = Rollout(
        feature=jnp.zeros((3, 1, 1)),
        action=jnp.zeros((2, 1, 1)),
        goes_on=jnp.ones((3, 1)),
        predicted={"semantic": jnp.array([[1.0], [3.0], [7.0]]), "task": jnp.full((3, 1), 5.0)},
        disagreement=None,
    )
    discount = jnp.array([[0.5], [0.0]])
    guided = imagined_reward(task(potential=2.0), imagined, discount)
    np.testing.assert_allclose(guided[:, 0], [6.0, -1.0])
    np.testing.assert_array_equal(imagined_reward(task(), imagined, discount), 5.0)


def test_a_potential_is_imagined_and_needs_its_head() -> None:
    channels = (task(potential=0.25),)
    guided = Setup(setup_of("sensei").env, CONFIG, channels, heads=("task", "semantic"))
    assert guided.imagined_heads == ("task", "semantic")
    with pytest.raises(UsageError, match="'semantic' is unknown"):
        Setup(guided.env, CONFIG, channels, heads=("task",))


@pytest.mark.parametrize("method", sorted(LOSSES))
def test_losses_of_each_method(method: str) -> None:
    """Traced only: the losses that a method computes, which are those that have a scale."""
    setup = setup_of(method)

    def metrics(key: jax.Array) -> dict:
        state = make_state(setup, make_agent(setup, key=key), key=key)
        batch = with_rewards(random_batch(), None, setup)
        return agent_loss(state.agent, state, batch, setup, key=key)[1][1]

    found = eqx.filter_eval_shape(metrics, jax.random.key(0))
    losses = {k[5:] for k in found if k.startswith("loss/")}
    assert losses == MODEL | REWARDS | {"actor"} | LOSSES[method]
    assert losses == loss_scales(setup).keys()


def test_an_unscaled_or_missing_loss_is_an_error(setup: Setup) -> None:
    losses = {k: jnp.ones((2, 3)) for k in loss_scales(setup)}
    with pytest.raises(ValueError, match="do not match"):
        total_loss(losses | {"surprise": jnp.ones((2, 3))}, setup)
    with pytest.raises(ValueError, match="do not match"):
        total_loss({k: v for k, v in losses.items() if k != "ensemble"}, setup)


def test_total_is_the_scaled_sum_of_means(setup: Setup) -> None:
    """All means 1: 1 dynamics + 0.1 representation + 0.3 replay value + 1 for each other loss."""
    losses = {k: jnp.array([[0.5, 1.5]]) for k in loss_scales(setup)}
    expected = 0.1 + 0.3 + (len(losses) - 2)
    assert float(total_loss(losses, setup)) == pytest.approx(expected, rel=1e-6)


def test_the_semantic_reward_weighs_what_it_is_told_where_it_shapes() -> None:
    config = dataclasses.replace(CONFIG, semantic_scale=7.0, vector_scale=3.0)
    shaping = loss_scales(setup_of("sensei", shaping=("semantic",), config=config))
    assert shaping["reward_semantic"] == 7.0 and shaping["vector"] == 3.0
    assert loss_scales(setup_of("sensei", config=config))["reward_semantic"] == 1.0


def stepped(setup: Setup, state: TrainState, count: int) -> tuple[dict, dict]:
    """Train from a copy of ``state``, which ``train_step`` consumes: what it becomes, by path."""
    state, metrics = jax.tree.map(jnp.array, state), {}
    for i in range(count):
        state, metrics = train_step((setup, None, random_batch(i)), state)
    return leaves(state), metrics


def test_training_repeats_itself_to_the_byte_and_trains_everything(
    setup: Setup, state: TrainState
) -> None:
    """Three steps, since behind a head that starts at 0 nothing learns in the first."""
    before = leaves(jax.tree.map(jnp.array, state))
    one, two = (stepped(setup, state, 3)[0] for _ in range(2))
    assert one.keys() == two.keys()
    assert all(one[path].tobytes() == two[path].tobytes() for path in one)
    still = [p for p in one if p.startswith(".agent") and np.array_equal(before[p], one[p])]
    assert still == []


def test_the_actors_pace(setup: Setup, state: TrainState) -> None:
    """At half its rate the actor moves half as far in an update, and nothing else notices."""
    slow = dataclasses.replace(setup, config=dataclasses.replace(setup.config, actor_rate=0.5))
    before = leaves(jax.tree.map(jnp.array, state))
    full, half = (stepped(one, state, 1)[0] for one in (setup, slow))
    for path in before:
        if path.startswith(".agent.actor"):
            moved = (half[path] - before[path], (full[path] - before[path]) / 2)
            np.testing.assert_allclose(*moved, atol=1e-7)
        else:
            np.testing.assert_allclose(half[path], full[path], rtol=1e-6, atol=1e-9)


def test_a_training_step(setup: Setup, state: TrainState) -> None:
    """Statistics move by 1 %, the key changes, slow critics follow by 2 %, all losses finite."""
    before = leaves(jax.tree.map(jnp.array, state))
    after, metrics = stepped(setup, state, 1)
    assert all(np.isfinite(v) for v in metrics.values())
    assert float(after[".threshold.weight"]) == pytest.approx(0.01, rel=1e-5)
    assert not np.array_equal(before[".key"], after[".key"])
    for path in (p for p in after if p.startswith(".slow_critics")):
        critic = after[path.replace(".slow_critics", ".agent.critics")]
        expected = before[path] + 0.02 * (critic - before[path])
        np.testing.assert_allclose(after[path], expected, rtol=1e-5, atol=1e-9)


def test_with_rewards_names_every_head(setup: Setup) -> None:
    """The task's is the environment's, the extra one its column, and R_ψ looks at each row."""
    model = jax.jit(lambda: RewardModel(ENV.obs, members=2, units=8, key=jax.random.key(0)))()
    batch = random_batch()
    out = jax.jit(lambda b: with_rewards(b, model, setup))(batch)
    np.testing.assert_array_equal(out["task"], batch["reward"])
    np.testing.assert_array_equal(out["extra"], batch["rewards"][..., 0])
    alone = jax.jit(lambda v: model({"vector": v}))(batch["vector"][1, 2][None])
    np.testing.assert_allclose(out["semantic"][1, 2], alone[0], rtol=1e-5)


def test_what_r_psi_looks_at_is_asked_only_where_it_weighs() -> None:
    """And only of pictures: the small agent sees none."""
    batch = random_batch() | {"image": jnp.zeros((2, 6, 16, 16, 3), jnp.uint8)}
    spec = ObsSpec((16, 16, 3), ENV.obs.vector)
    model = jax.jit(lambda: RewardModel(spec, members=2, units=8, key=jax.random.key(0)))()
    weighed = setup_of("sensei", config=dataclasses.replace(CONFIG, saliency_scale=1.0))
    for one, shape in ((weighed, (2, 6, 4, 4)), (setup_of("sensei"), None)):
        out = jax.eval_shape(lambda b, one=one: with_rewards(b, model, one), batch)
        assert (out["saliency"].shape if "saliency" in out else None) == shape
    blind = jax.jit(lambda: RewardModel(ENV.obs, members=2, units=8, key=jax.random.key(0)))()
    out = jax.eval_shape(lambda b: with_rewards(b, blind, weighed), random_batch())
    assert "saliency" not in out


def test_products_in_bfloat16(setup: Setup, state: TrainState) -> None:
    """The same losses to within the rounding, which is 1 in 256; all that is kept is float32."""
    config = dataclasses.replace(setup.config, precision="bfloat16")
    exact, rounded = (
        stepped(one, state, 1) for one in (setup, dataclasses.replace(setup, config=config))
    )
    assert {x.dtype for x in rounded[0].values()} == {x.dtype for x in exact[0].values()}
    losses = [name for name in exact[1] if name.startswith("loss/")]
    for name in losses:
        np.testing.assert_allclose(rounded[1][name], exact[1][name], rtol=0.05, atol=1e-3)
    assert any(float(rounded[1][name]) != float(exact[1][name]) for name in losses)
