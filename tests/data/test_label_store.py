"""The label store: nothing twice, nothing lost, answers mirrored, splits by episode."""

import multiprocessing
import os
import signal
import sqlite3
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensei.data import label_schema
from sensei.data.images import decode_png, encode_png
from sensei.data.label_store import LabelStore
from sensei.data.label_tables import LabelSet, split_of
from sensei.data.records import Answer, FirstTurn, Frame, Pair, Query, Spending
from sensei.types import SenseiError


def frame(step: int, env: int = 0, episode: int | None = None, **changes) -> Frame:
    """Make a frame; episodes have ten steps."""
    return Frame(
        stage="collect",
        generation=0,
        env=env,
        episode=step // 10 if episode is None else episode,
        step=step,
        picture=b"picture %d" % step,
        obs=b"obs %d" % step,
        vector=(0.5, float(step)),
        text=f"step {step}",
        score=float(step % 10),
        **changes,
    )


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as store:
        yield store


def same_side(count: int) -> list[int]:
    """Steps of one training episode."""
    episode = next(e for e in range(99) if split_of("collect", 0, e) == "train")
    return [episode * 10 + i for i in range(count)]


def add(store, count=4) -> list[int]:
    """Add frames of one training episode; return their ids."""
    before = len(store.frame_table())
    store.add_frames([frame(step) for step in same_side(count)])
    return store.frame_table().id[before:].tolist()


def test_frames_come_back_as_they_went_in(store):
    frames = [frame(3), frame(17, env=2), Frame("explore", 1, 0, 5, 3, b"p")]
    assert store.add_frames(frames) == 3
    assert store.add_frames([frame(3, episode=8), frame(4)]) == 1  # (collect, 0, 3) is there
    back = store.frames([2, 1, 3, 2])
    assert [f.id for f in back] == [2, 1, 3, 2]
    for got, want in zip(back, [frames[1], frames[0], frames[2], frames[1]], strict=True):
        assert got == Frame(**(vars(want) | {"id": got.id}))
    assert store.frames([1], pictures=False)[0].picture == b""
    assert store.frames([1], pictures=False)[0].obs == b"obs 3"
    with pytest.raises(SenseiError, match="no frame 99"):
        store.frames([1, 99])


def test_frame_table(store):
    store.add_frames([frame(3), frame(17), Frame("explore", 1, 0, 5, 3, b"p")])
    table = store.frame_table()
    assert len(table) == 3
    assert table.stage.tolist() == ["collect", "collect", "explore"]
    assert table.step.tolist() == [3, 17, 3]
    np.testing.assert_array_equal(table.score, np.float32([3, 7, np.nan]))
    assert table.split.tolist() == [split_of(*k) for k in (("collect", 0, 0), ("collect", 0, 1),
                                                           ("explore", 0, 5))]  # fmt: skip
    assert store.frame_table("explore").id.tolist() == [3]
    assert len(store.frame_table("nothing")) == 0


def test_truncation_takes_pairs_and_answers_along(store):
    ids = add(store, 4)
    steps = store.frame_table().step
    pair, later = store.add_pairs([Pair(ids[0], ids[1]), Pair(ids[0], ids[3])])
    store.record(later, "a", "forward", "", Answer.of("first"))
    store.record(pair, "a", "forward", "", Answer.of("first"))
    assert store.truncate_frames("explore", 0) == 0
    assert store.truncate_frames("collect", int(steps[2])) == 2
    assert store.truncate_frames("collect", int(steps[2])) == 0
    assert [p.id for p in store.pairs()] == [pair]
    assert len(store.answers()) == 1
    connection = sqlite3.connect(store.path)
    assert connection.execute("SELECT count(*) FROM pictures").fetchone() == (2,)
    connection.close()


def test_no_pair_twice_and_none_with_itself(store):
    a, b, c, _ = add(store)
    assert store.add_pairs([Pair(a, b), Pair(b, a), Pair(a, b), Pair(b, c)]) == [1, 2]
    assert store.count_pairs() == 2
    assert store.pair_keys().tolist() == [[a, b], [b, c]]
    with pytest.raises(SenseiError, match="with itself"):
        store.add_pairs([Pair(a, c), Pair(a, a)])
    with pytest.raises(SenseiError, match="not stored"):
        store.add_pairs([Pair(a, 99)])
    assert store.count_pairs() == 2  # all or nothing
    val = next(e for e in range(99) if split_of("collect", 0, e) == "val")
    store.add_frames([frame(val * 10)])
    with pytest.raises(SenseiError, match="different sides"):
        store.add_pairs([Pair(a, int(store.frame_table().id[-1]))])


def test_answers_are_recorded_exactly_once(store):
    a, b, *_ = add(store)
    (pair,) = store.add_pairs([Pair(a, b)])
    failed = Answer.failed("no luck", tokens_in=7, money=0.5)
    assert store.record(pair, "x", "forward", "h", failed)
    assert store.answered("x", store.pairs()) == set()
    good = Answer.of("second", tokens_in=10, money=0.25)
    assert store.record(pair, "x", "forward", "h", good)
    assert not store.record(pair, "x", "forward", "h", Answer.of("first"))
    assert not store.record(pair, "x", "forward", "h", failed)
    assert store.record(pair, "x", "swapped", "h", Answer.of("tie"))
    assert store.record(pair, "x", "forward", "h", Answer.of("tie"), repeat=1)
    assert store.answered("x", store.pairs()) == {
        (pair, "forward", 0), (pair, "swapped", 0), (pair, "forward", 1)}  # fmt: skip
    table = store.answers("x")
    assert table.choice.tolist() == ["second", "tie", "tie"]
    assert table.tokens.tolist() == [17, 0, 0]  # what the failure cost stays
    assert store.money() == 0.75
    assert store.annotators() == ["x"]


@given(
    answers=st.lists(
        st.tuples(
            st.sampled_from(["forward", "swapped"]),
            st.sampled_from(["first", "second", "tie", "unknown", "failed", 0.3]),
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=30, deadline=None)
def test_labels_average_mirrored_answers(tmp_path_factory, answers):
    """y is the mean of the labelled answers in the pair's own frame of reference."""
    with LabelStore(tmp_path_factory.mktemp("l") / "l.sqlite") as store:
        a, b, *_ = add(store)
        (pair,) = store.add_pairs([Pair(a, b)])
        values = []
        for repeat, (order, said) in enumerate(answers):
            if said == "failed":
                answer = Answer.failed("no")
            elif isinstance(said, float):
                answer = Answer(said, "labelled", "first")
            else:
                answer = Answer.of(said)
            store.record(pair, "a", order, "", answer, repeat)
            if answer.p_second is not None:
                p = answer.p_second
                values.append(p if order == "forward" else 1 - p)
        labels = store.labels()
        assert (labels.first.tolist(), labels.second.tolist()) == ([a], [b])
        if values:
            assert labels.status.tolist() == ["labelled"]
            assert labels.y[0] == pytest.approx(np.mean(values))
        else:
            unknown = any(said == "unknown" for _, said in answers)
            assert labels.status.tolist() == ["unknown" if unknown else "failed"]
            assert np.isnan(labels.y[0])


def test_true_order_and_annotators(store):
    ids = add(store, 3)
    store.add_frames([frame(same_side(9)[8], episode=same_side(1)[0] // 10)])
    extra = Frame("collect", 0, 0, same_side(1)[0] // 10, 10_000, b"", score=None)
    store.add_frames([extra])
    low, mid, top = ids
    none = int(store.frame_table().id[-1])
    pairs = store.add_pairs([Pair(low, top), Pair(top, mid), Pair(low, none)])
    for pair in pairs:
        store.record(pair, "a", "forward", "", Answer.of("second"))
    store.record(pairs[0], "b", "forward", "", Answer.of("first"))
    labels = store.labels()
    assert labels.true_order.tolist() == [1, 0, -1]
    np.testing.assert_array_equal(labels.score_gap, np.float32([2, 1, np.nan]))
    assert labels.y.tolist() == [0.5, 1, 1]
    assert store.labels("b").y.tolist() == [0]
    assert set(labels.split) == {"train"}
    assert len(labels.select(labels.y == 1)) == 2
    assert isinstance(store.labels("nobody"), LabelSet) and len(store.labels("nobody")) == 0
    gaps = store.answers("a").score_gap
    np.testing.assert_array_equal(gaps, np.float32([2, -1, np.nan]))


def test_split_is_by_episode_and_close_to_its_fraction():
    for env in range(5):
        sides = [split_of("collect", env, episode) for episode in range(1000)]
        assert 0.14 < sides.count("val") / 1000 < 0.16
        assert all("val" in sides[i : i + 10] for i in range(990))
    assert len({tuple(split_of("s", env, e) for e in range(20)) for env in range(9)}) > 3


def test_other_versions_and_other_files(tmp_path, monkeypatch):
    path = tmp_path / "labels.sqlite"
    with pytest.raises(SenseiError, match="no labels at"):
        LabelStore(path, must_exist=True)
    with LabelStore(path) as store:
        add(store)
    monkeypatch.setattr(
        label_schema, "MIGRATIONS", [*label_schema.MIGRATIONS, ["ALTER TABLE pairs ADD note TEXT"]]
    )
    with LabelStore(path) as store:  # upgraded, data kept
        assert len(store.frame_table()) == 4
    monkeypatch.undo()
    with pytest.raises(SenseiError, match="newer sensei"):
        LabelStore(path)
    (tmp_path / "text").write_text("no database" * 100)
    with pytest.raises(SenseiError, match="not a readable label store"):
        LabelStore(tmp_path / "text")


def test_a_file_of_version_1_is_upgraded_and_nothing_is_lost(tmp_path, monkeypatch):
    path = tmp_path / "labels.sqlite"
    monkeypatch.setattr(label_schema, "MIGRATIONS", label_schema.MIGRATIONS[:1])
    connection = label_schema.connect(path)
    connection.executescript("""
        INSERT INTO frames VALUES (1,'collect',0,0,0,3,'train',2.5,'words',x'0000003f'),
            (2,'collect',0,1,0,3,'train',NULL,'',x'');
        INSERT INTO pictures VALUES (1,NULL,x'01'),(2,x'02',x'03');
        INSERT INTO pairs VALUES (1,1,2,0,'uniform');
        INSERT INTO prompts VALUES ('h','generic',1,'Which?');
        INSERT INTO queries VALUES
            (1,'vlm','forward',0,'h','labelled','second',0.8,'B',500,5,0.25,1.5,NULL,'then'),
            (1,'vlm','swapped',0,'h','failed',NULL,NULL,'',7,0,NULL,0.5,'HTTP 500','then');
    """)
    connection.close()
    monkeypatch.undo()
    with LabelStore(path) as store:
        assert store._rows("PRAGMA user_version") == [(len(label_schema.MIGRATIONS),)]
        assert [f.text for f in store.frames([1, 2])] == ["words", ""]
        assert store.frames([1])[0].vector == (0.5,) and store.prompt("h") == "Which?"
        table = store.answers("vlm")
        assert table.p_second[0] == 0.8 and table.tokens.tolist() == [505, 7]
        assert table.requests.tolist() == [1, 1] and np.isnan(table.probabilities).all()
        assert store.ledger.spending() == Spending(2, 0, 0, 507, 5, 0.25, 0.25, 505)
        assert store.record(1, "vlm", "swapped", "h", Answer.of("tie", requests=2, wire="json"))
        assert store.answers("vlm").requests.tolist() == [1, 3]


def test_a_question_is_claimed_by_one_and_released_by_its_answer(store):
    a, b, c, _ = add(store)
    store.add_pairs([Pair(a, b), Pair(b, c)])
    one, two = (Query(pair, 0, 0) for pair in (1, 2))
    with LabelStore(store.path) as other:
        assert store.ledger.claim("x", [one]) == [one]
        assert other.ledger.claim("x", [one, two]) == [two]
        assert other.ledger.claim("y", [one]) == [one]
        assert store.ledger.spending().in_flight == 3
        other.ledger.release("x", [two])
        store.record_many("x", "", [(one, Answer.of("tie"))])
        assert store.ledger.claim("x", [one, two]) == [two]
        assert store.ledger.settle() == 0  # this process lives
    assert len(store.answers()) == 1


def _claim_and_die(path):
    with LabelStore(path) as store:
        store.record(1, "x", "swapped", "", Answer.failed("no", tokens_in=3, money=0.5, requests=2))
        store.ledger.claim("x", [Query(1, 0, 0), Query(1, 0, 0, "swapped")])
    os.kill(os.getpid(), signal.SIGKILL)


def test_claims_of_the_dead_become_failures_of_unknown_cost(store):
    a, b, *_ = add(store)
    store.add_pairs([Pair(a, b)])
    child = multiprocessing.get_context("spawn").Process(target=_claim_and_die, args=(store.path,))
    child.start(), child.join(), child.close()
    assert store.ledger.spending().in_flight == 2 and store.ledger.settle() == 2
    table = store.answers("x")
    assert table.status.tolist() == ["failed", "failed"]
    assert (table.requests.tolist(), table.unaccounted.tolist()) == ([1, 3], [1, 1])
    assert store.ledger.spending() == Spending(4, 2, 0, 3, 0, 0.5, 0.5, 3)
    assert len(store.ledger.claim("x", [Query(1, 0, 0), Query(1, 0, 0, "swapped")])) == 2


def test_probabilities_come_back(store):
    a, b, *_ = add(store)
    store.add_pairs([Pair(a, b)])
    said = {"first": 0.2, "second": 0.7, "tie": 0.1, "unknown": 0.0}
    answer = Answer(0.75, "labelled", "second", wire="logprobs", probabilities=said, images=2)
    assert store.record(1, "x", "forward", "", answer)
    table = store.answers()
    np.testing.assert_array_equal(table.probabilities, [[0.2, 0.7, 0.1, 0.0]])
    assert (table.wire.tolist(), table.error.tolist()) == (["logprobs"], [""])


def test_a_first_turn_is_kept_once_and_its_money_counts(store):
    turn = FirstTurn("h", "m", "keychest", "A dungeon.", 300, 40, 0.125, 2)
    assert store.ledger.first_turn("h", "m", "keychest") is None
    assert store.ledger.remember_first_turn(turn)
    assert not store.ledger.remember_first_turn(FirstTurn("h", "m", "keychest", "Another."))
    assert store.ledger.first_turn("h", "m", "keychest") == turn
    assert store.ledger.first_turn("h", "other", "keychest") is None
    assert store.money() == 0.125 and store.ledger.spending().tokens == 340


def _write(path, start, killed):
    store = LabelStore(path)
    for i in range(0, 100_000, 10):
        query = [(Query(pair, 0, 0, "forward", start + i), Answer.of("tie")) for pair in (1, 2)]
        store.record_many("w", "", query)
        if not killed and i == 300:
            return


def test_several_writers_one_killed(tmp_path):
    path = tmp_path / "labels.sqlite"
    with LabelStore(path) as store:
        a, b, c, _ = add(store)
        store.add_pairs([Pair(a, b), Pair(b, c)])
    spawn = multiprocessing.get_context("spawn")
    victim = spawn.Process(target=_write, args=(path, 1, True))
    other = spawn.Process(target=_write, args=(path, 2, False))
    victim.start(), other.start()
    with LabelStore(path) as store:
        while not (np.isin(1, store.answers().pair) and len(store.answers()) > 20):
            time.sleep(0.05)
        os.kill(victim.pid, signal.SIGKILL)
        victim.join(), other.join()
        assert other.exitcode == 0
        answers = store.answers()
        pairs = np.bincount(answers.pair)[1:]
        assert pairs[0] == pairs[1] >= 31  # a batch is whole or absent
        assert store._rows("PRAGMA integrity_check") == [("ok",)]
        victim.close(), other.close()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 9])
def test_pictures_are_lossless(channels):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    np.testing.assert_array_equal(decode_png(encode_png(image)), image)


def test_damaged_picture():
    with pytest.raises(SenseiError, match="damaged"):
        decode_png(encode_png(np.zeros((5, 5, 3), np.uint8))[:40])
    with pytest.raises(SenseiError, match="uint8"):
        encode_png(np.zeros((5, 5, 3), np.float32))
