"""Draw what R_ψ thinks of a scripted solution of KeyChest: the picture of the README.

python benchmarks/solution_figure.py runs/keychest-quick --out docs/keychest.png
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import equinox as eqx
import matplotlib.pyplot as plt
import numpy as np
import tyro

from sensei.envs import make_env, wrap_env
from sensei.presets import saved_config
from sensei.run.workspace import Workspace
from sensei.stages.setups import load_reward_model
from sensei.testing.solvers import solve

SHOWN = ("key_picked_up", "at_chest_with_key", "chest_opened")


@dataclasses.dataclass(frozen=True)
class Args:
    """Whose R_ψ, on which episode, and where the figure goes."""

    run: tyro.conf.Positional[Path]
    out: Path = Path("docs/keychest.png")
    seed: int = 3


def main(args: Args) -> None:
    """Play, evaluate and draw."""
    workspace = Workspace(args.run)
    config = saved_config(workspace)
    pictures, obs, events = play(args.seed)
    adapter = wrap_env(make_env("keychest"))
    model = load_reward_model(config, adapter.spec, workspace, "distill")
    reward = np.asarray(eqx.filter_jit(model)(obs))
    draw(pictures, reward, events, args.out)
    print({name: (t, float(reward[t])) for name, t in events.items()}, "start", float(reward[0]))


def play(seed: int) -> tuple[list[np.ndarray], dict[str, np.ndarray], dict[str, int]]:
    """The scripted solution: pictures, the agent's observations, and when each event came first."""
    env: Any = make_env("keychest")
    observation, _ = env.reset(seed=seed)
    player = solve(env)
    seen, pictures, events, done = [observation], [env.unwrapped.render_label()], {}, False
    while not done:
        observation, _, terminated, truncated, info = env.step(next(player))
        seen.append(observation)
        pictures.append(env.unwrapped.render_label())
        for name in SHOWN:
            if info["events"][name]:
                events.setdefault(name, len(seen) - 1)
        done = terminated or truncated
    obs = {
        "image": np.stack([o["image"] for o in seen]),
        "vector": np.stack([o["key"] for o in seen]),
    }
    return pictures, obs, events


def draw(
    pictures: list[np.ndarray], reward: np.ndarray, events: dict[str, int], path: Path
) -> None:
    """A filmstrip of the moments that matter above the curve of R_ψ."""
    moments = sorted({0, len(pictures) // 6, *events.values()})
    figure = plt.figure(figsize=(9, 4.2))
    for i, t in enumerate(moments):
        axis = figure.add_axes((0.06 + 0.9 * i / len(moments), 0.55, 0.8 / len(moments), 0.38))
        axis.imshow(pictures[t])
        axis.set_axis_off()
        names = [n.replace("_", " ") for n, at in events.items() if at == t]
        axis.set_title(f"step {t}" + "".join(f"\n{n}" for n in names[-1:]), fontsize=9)
    axis = figure.add_axes((0.08, 0.12, 0.88, 0.36))
    axis.plot(reward, color="#205080")
    for t in moments:
        axis.axvline(t, color="#c04020", lw=0.8, alpha=0.6)
    axis.set_xlabel("step of a scripted solution of KeyChest")
    axis.set_ylabel(r"$R_\psi$, standardised")
    axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main(tyro.cli(Args))
