"""A shard whose environments step together as one program; see ``jaxenvs.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from sensei.envs.contract import Adapter, LabelView
from sensei.envs.findings import find_out
from sensei.types import SenseiError

if TYPE_CHECKING:
    from sensei.envs.shard import Command, Memory, Rows


class BatchShard:
    """What ``Shard`` is to environments in turn, to those that make a batch."""

    def __init__(self, adapter: Adapter, indices: range) -> None:
        """Ask one environment for a batch of as many as ``indices``."""
        self.indices, self.spec = indices, adapter.spec
        self.found = find_out(adapter)
        self._adapter = adapter
        self._batch: Any = adapter.env.get_wrapper_attr("make_batch")(len(indices))
        # A worker has more time to be built than for a step, and compiling may take a minute.
        self._batch.reset(0, seed=0)
        nothing = [np.zeros((0, self.spec.action.size), np.float32)] * (len(indices) - 1)
        one = np.zeros((1, self.spec.action.size), np.float32)
        self._take([one, *nothing], np.zeros(len(indices), np.int64))

    def run(self, command: Command, memory: Memory) -> list[LabelView | None]:
        """Carry out a command: write every environment's last row, return the labels wanted."""
        for i, seed in enumerate(command.seeds):
            if seed is not None:
                self._batch.reset(i, seed)
        beats = memory.beats[self.indices.start : self.indices.stop]
        taken = self._take(command.actions, beats)
        moment = self._batch.moment()
        first = np.array([not len(own) for own in command.actions])
        self._write(memory.rows, moment, taken, first)
        wanted = enumerate(command.want_label)
        return [self._label(i, moment.observation[i]) if want else None for i, want in wanted]

    def close(self) -> None:
        """Close the environment that the batch came from."""
        self._adapter.close()

    def _take(self, actions: list[np.ndarray], beats: np.ndarray) -> Float32[np.ndarray, "n a"]:
        """Take every environment's actions, at most until its episode ends; return the last.
        ``beats`` counts on with each."""
        last = np.zeros((len(actions), self.spec.action.size), np.float32)
        over = np.zeros(len(actions), np.bool_)
        longest = max(map(len, actions))
        for t in range(longest):
            active = np.array([t < len(own) for own in actions]) & ~over
            for i in np.flatnonzero(active):
                last[i] = actions[i][t]
            self._batch.step(np.stack([self._adapter.decode(vector) for vector in last]), active)
            beats += active
            if t + 1 < longest:  # re-enacting, which is allowed to wait
                over |= _over(self._batch.moment())
        return last

    def _write(self, rows: Rows, moment: Any, taken: np.ndarray, first: np.ndarray) -> None:
        if not np.isfinite(moment.reward).all():
            raise SenseiError(
                f"a copy of {type(self._adapter.env).__name__} returned the reward"
                f" {moment.reward[~np.isfinite(moment.reward)][0]}; rewards must be finite numbers"
            )
        fields = self._seen(moment.observation) | {
            "prev_action": taken,
            "reward": moment.reward,
            "rewards": np.zeros((len(taken), 0), np.float32),
            "is_first": first,
            "is_last": _over(moment),
            "is_terminal": moment.terminated,
            "events": moment.events,
            "score": moment.score,
        }
        for name, value in fields.items():
            rows[name][self.indices.start : self.indices.stop] = value

    def _seen(self, observations: np.ndarray) -> dict[str, Any]:
        if observations.dtype == np.uint8 and observations.shape[1:] == self.spec.obs.image:
            return {"image": observations}
        seen = [self._adapter.look(observation) for observation in observations]
        return {name: np.stack([one[name] for one in seen]) for name in seen[0]}

    def _label(self, index: int, observation: np.ndarray) -> LabelView:
        text = self._batch.text(index)
        if self._adapter.env.has_wrapper_attr("render_label"):
            return LabelView(self._batch.label(index), text)
        self._adapter.look(observation)
        return LabelView(self._adapter.label_frame().image, text)


def _over(moment: Any) -> np.ndarray:
    return moment.terminated | moment.truncated
