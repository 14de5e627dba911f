"""The convolutions that patches are compared with are what they say."""

from __future__ import annotations

from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest

from sensei.core.config import SIZES, AgentConfig
from sensei.core.world_model import WorldModel
from sensei.types import ActionSpec, ObsSpec

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
IMAGE = (64, 64, 3)


def test_they_fit_into_the_world_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many parameters within a tenth, and the same way from pictures to losses."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from convolutions import with_convolutions

    spec, key = ObsSpec(IMAGE), jax.random.key(0)
    config = AgentConfig(size=SIZES["xs"])

    def make() -> tuple[WorldModel, WorldModel]:
        model = WorldModel(spec, ActionSpec((3,)), ("task",), config, key=key)
        return model, with_convolutions(model, IMAGE, key=key)

    both = eqx.filter_eval_shape(make)
    sizes = [sum(x.size for x in jax.tree.leaves((m.encoder, m.decoder))) for m in both]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)

    def look(model: WorldModel, image: jax.Array) -> dict[str, jax.Array]:
        feature = jax.numpy.zeros((2, config.size.deter + config.size.stoch * config.size.classes))
        assert model.encoder({"image": image}).shape == (2, model.encoder.image.size_out)
        return model.decoder.losses(feature, {"image": image})

    image = jax.ShapeDtypeStruct((2, *IMAGE), np.uint8)
    assert eqx.filter_eval_shape(look, both[1], image)["image"].shape == (2,)


def test_they_double_up_to_the_patches_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every one halves the side until it is 4 or 5; what cannot be halved so is refused."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from convolutions import channels

    assert channels((64, 64, 3), 64) == [8, 16, 32, 64]
    assert channels((16, 16, 3), 64) == channels((20, 20, 3), 64) == [32, 64]
    for side, last in ((48, 64), (4, 64), (5, 64), (64, 4)):
        with pytest.raises(ValueError, match=f"image side {side} and {last} channels"):
            channels((side, side, 3), last)
