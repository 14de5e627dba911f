"""Frames, pairs and answers in one SQLite file: nothing twice, nothing lost, provenance kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sensei.data.label_ledger import Ledger, drop_claims, store_answer
from sensei.data.label_rows import check_pair, frame_of
from sensei.data.label_schema import connect, explained, transaction
from sensei.data.label_tables import AnswerTable, FrameTable, LabelSet, split_of
from sensei.data.records import Answer, Frame, Order, Pair, Query
from sensei.types import SenseiError

__all__ = ["Answer", "Frame", "LabelSet", "LabelStore", "Pair", "Query"]

FRAME_COLUMNS = "id, stage, generation, env, episode, step, score, split"


class LabelStore:
    """The labels of a run. Several processes may write one file; within a process
    a store serves one thread at a time."""

    def __init__(self, path: Path | str, *, must_exist: bool = False) -> None:
        """Open or create the file.

        Raises:
            SenseiError: it must exist and does not, is no label store, or is of a newer version.
        """
        self.path = Path(path)
        if must_exist and not self.path.exists():
            raise SenseiError(f"there are no labels at {self.path}: run `sensei collect` first")
        self._connection = connect(self.path)
        self.ledger = Ledger(self._connection, self.path)
        """Claims on questions, what was spent, and first turns."""

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> LabelStore:
        """Use the store as a context that closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    # Frames

    def add_frames(self, frames: Iterable[Frame]) -> int:
        """Store frames, except those already there by (stage, env, step); return how many are new.

        The side of the train/validation split is decided here, by episode.
        """
        added = 0
        with transaction(self._connection, self.path) as db:
            for f in frames:
                row = db.execute(
                    "INSERT INTO frames (stage, generation, env, episode, step, split, score, text,"
                    " vector) VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING RETURNING id",
                    (
                        f.stage,
                        f.generation,
                        f.env,
                        f.episode,
                        f.step,
                        split_of(f.stage, f.env, f.episode),
                        f.score,
                        f.text,
                        np.asarray(f.vector, "<f4").tobytes(),
                    ),
                ).fetchone()
                if row:
                    db.execute("INSERT INTO pictures VALUES (?,?,?)", (row[0], f.obs, f.picture))
                    added += 1
        return added

    def truncate_frames(self, stage: str, step: int) -> int:
        """Forget a stage's frames of row ``step`` and later, with their pairs and answers."""
        with transaction(self._connection, self.path) as db:
            sql = "DELETE FROM frames WHERE stage = ? AND step >= ?"
            return db.execute(sql, (stage, step)).rowcount

    def frame_table(self, stage: str | None = None, before: int | None = None) -> FrameTable:
        """Return the numbers of all frames, or of one stage's, or of its rows ``before`` one."""
        sql = (
            f"SELECT {FRAME_COLUMNS} FROM frames WHERE (?1 IS NULL OR stage = ?1) "
            "AND (?2 IS NULL OR step < ?2) ORDER BY id"
        )
        return FrameTable.of(self._rows(sql, (stage, before)))

    def frames(self, ids: Sequence[int] | np.ndarray, *, pictures: bool = True) -> list[Frame]:
        """Load frames in the order of ``ids``.

        Args:
            ids: frame ids; the same one may be given twice.
            pictures: whether to read the annotator's pictures; otherwise they are empty.

        Raises:
            SenseiError: there is no such frame.
        """
        wanted = [int(i) for i in ids]
        picture = "p.picture" if pictures else "x''"
        rows = self._rows(
            "SELECT f.stage, f.generation, f.env, f.episode, f.step, "
            f"{picture}, p.obs, f.vector, f.text, f.score, f.id "
            "FROM frames f JOIN pictures p ON p.frame = f.id "
            "WHERE f.id IN (SELECT value FROM json_each(?))",
            (json.dumps(wanted),),
        )
        found = {row[-1]: frame_of(row) for row in rows}
        missing = set(wanted) - found.keys()
        if missing:
            raise SenseiError(f"{self.path} has no frame {min(missing)}: it was removed; run again")
        return [found[i] for i in wanted]

    # Pairs

    def add_pairs(self, pairs: Iterable[Pair]) -> list[int]:
        """Store pairs that are not there yet in either order; return the ids of the new ones.

        Raises:
            SenseiError: a pair of a frame with itself, of frames that are not stored, or across
                the train/validation split.
        """
        added = []
        with transaction(self._connection, self.path) as db:
            splits = dict(db.execute("SELECT id, split FROM frames"))
            for pair in pairs:
                check_pair(pair, splits)
                sql = (
                    "INSERT INTO pairs (first, second, generation, sampler) VALUES (?,?,?,?) "
                    "ON CONFLICT DO NOTHING RETURNING id"
                )
                row = (pair.first, pair.second, pair.generation, pair.sampler)
                added += [new for (new,) in db.execute(sql, row)]
        return added

    def pairs(self, after: int = 0, limit: int = -1) -> list[Pair]:
        """Return pairs by id, beginning after the id ``after``; −1 = no limit."""
        sql = (
            "SELECT first, second, generation, sampler, id FROM pairs WHERE id > ? "
            "ORDER BY id LIMIT ?"
        )
        return [Pair(*row) for row in self._rows(sql, (after, limit))]

    def pair_keys(self) -> np.ndarray:
        """Return all pairs as frame ids [P, 2], the smaller id first."""
        rows = self._rows("SELECT min(first, second), max(first, second) FROM pairs")
        return np.array(rows, np.int64).reshape(-1, 2)

    def count_pairs(self) -> int:
        """Count the pairs."""
        return self._rows("SELECT count(*) FROM pairs")[0][0]

    def last_pair(self) -> int:
        """Return the highest id of a pair, 0 without any."""
        return self._rows("SELECT coalesce(max(id), 0) FROM pairs")[0][0]

    # Answers

    def remember_prompt(self, prompt_hash: str, name: str, version: int, body: str) -> None:
        """Keep the wording behind a hash."""
        with transaction(self._connection, self.path) as db:
            row = (prompt_hash, name, version, body)
            db.execute("INSERT INTO prompts VALUES (?,?,?,?) ON CONFLICT DO NOTHING", row)

    def prompt(self, prompt_hash: str) -> str | None:
        """Return the wording behind a hash, None if it is not known."""
        rows = self._rows("SELECT body FROM prompts WHERE hash = ?", (prompt_hash,))
        return rows[0][0] if rows else None

    def record(
        self,
        pair: int,
        annotator: str,
        order: Order,
        prompt_hash: str,
        answer: Answer,
        repeat: int = 0,
    ) -> bool:
        """Store one answer; see ``record_many``. Returns whether it was new."""
        query = Query(pair=pair, first=0, second=0, order=order, repeat=repeat)
        return self.record_many(annotator, prompt_hash, [(query, answer)]) == 1

    def record_many(
        self, annotator: str, prompt_hash: str, answers: Iterable[tuple[Query, Answer]]
    ) -> int:
        """Store answers in one transaction, exactly once by (pair, annotator, order, repeat).

        An answer that is there stays; only a failure is replaced, and what it took is added. The
        claims on these questions are released. Returns how many were stored.
        """
        answers = list(answers)
        with transaction(self._connection, self.path) as db:
            drop_claims(db, annotator, (query for query, _ in answers))
            return sum(store_answer(db, annotator, prompt_hash, q, a) for q, a in answers)

    def answered(self, annotator: str, pairs: Sequence[Pair]) -> set[tuple[int, str, int]]:
        """Return which (pair, order, repeat) of these pairs need no further question."""
        sql = (
            "SELECT pair, shown, repeat FROM queries WHERE annotator = ? AND status <> 'failed' "
            "AND pair IN (SELECT value FROM json_each(?))"
        )
        return set(self._rows(sql, (annotator, json.dumps([p.id for p in pairs]))))

    def answers(self, annotator: str | None = None) -> AnswerTable:
        """Return every answer, or one annotator's, as given."""
        return AnswerTable.of(
            self._rows(
                "SELECT q.pair, q.annotator, q.shown, q.status, q.choice, q.p_second, "
                " q.tokens_in + q.tokens_out, q.money, q.latency_s, "
                " (b.score - a.score) * CASE q.shown WHEN 'forward' THEN 1 ELSE -1 END, "
                " q.repeat, q.wire, q.error, q.requests, q.unaccounted, q.probabilities "
                "FROM queries q JOIN pairs p ON p.id = q.pair "
                "JOIN frames a ON a.id = p.first JOIN frames b ON b.id = p.second "
                "WHERE ?1 IS NULL OR q.annotator = ?1 "
                "ORDER BY q.pair, q.annotator, q.shown, q.repeat",
                (annotator,),
            )
        )

    def annotators(self) -> list[str]:
        """Name everyone who has answered."""
        sql = "SELECT DISTINCT annotator FROM queries ORDER BY annotator"
        return [name for (name,) in self._rows(sql)]

    def money(self) -> float:
        """Return the dollars spent, as far as prices are known."""
        return self.ledger.spending().money

    def labels(self, *annotators: str) -> LabelSet:
        """Return one label per answered pair.

        Answers are mirrored into the pair's own order and averaged with equal weights. A pair is
        unknown only without any labelled answer, and failed only if nothing else is there.

        Args:
            annotators: whose answers; everyone's when none is named.
        """
        return LabelSet.of(
            self._rows(
                "SELECT p.id, p.first, p.second, "
                " avg(CASE q.shown WHEN 'forward' THEN q.p_second ELSE 1 - q.p_second END), "
                " CASE WHEN max(q.status = 'labelled') THEN 'labelled' "
                "  WHEN max(q.status = 'unknown') THEN 'unknown' ELSE 'failed' END, "
                " a.split, a.score, b.score "
                "FROM queries q JOIN pairs p ON p.id = q.pair "
                "JOIN frames a ON a.id = p.first JOIN frames b ON b.id = p.second "
                "WHERE ?1 = '[]' OR q.annotator IN (SELECT value FROM json_each(?1)) "
                "GROUP BY p.id ORDER BY p.id",
                (json.dumps(annotators),),
            )
        )

    def _rows(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with explained(self.path):
            return self._connection.execute(sql, parameters).fetchall()
