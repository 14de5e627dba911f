"""Who is asking what, what it has cost, and what a model said once for all of its answers."""

from __future__ import annotations

import functools
import os
import platform
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from sensei.data.label_rows import ANSWER_COLUMNS, answer_row
from sensei.data.label_schema import explained, transaction
from sensei.data.records import Answer, FirstTurn, Order, Query, Spending

INTERRUPTED = "interrupted: the process ended before the answer was stored"


class Ledger:
    """The part of a label store that is about asking.

    A question is *claimed* before its request goes out and released by the transaction that stores
    its answer. So two processes never ask the same thing, and after a kill the claims that are
    left name every request that may have been charged without its answer being stored.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Take the store's connection."""
        self._connection, self._path = connection, path

    def claim(self, annotator: str, queries: Iterable[Query]) -> list[Query]:
        """Claim questions for this process; return those that nobody asks or has answered."""
        sql = """INSERT INTO asking (pair, annotator, shown, repeat, owner)
            SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS (SELECT 1 FROM queries
            WHERE (pair, annotator, shown, repeat) = (?1, ?2, ?3, ?4) AND status <> 'failed')
            ON CONFLICT DO NOTHING"""
        with transaction(self._connection, self._path) as db:
            return [q for q in queries if db.execute(sql, _claim(annotator, q)).rowcount]

    def release(self, annotator: str, queries: Iterable[Query]) -> None:
        """Give up claims on questions that were not sent."""
        with transaction(self._connection, self._path) as db:
            drop_claims(db, annotator, queries)

    def sent_again(self, annotator: str, query: Query) -> None:
        """Note, before it goes out, a further request for a claimed question."""
        sql = f"UPDATE asking SET sent = sent + 1 WHERE {_CLAIM}"
        with transaction(self._connection, self._path) as db:
            db.execute(sql, _claim(annotator, query))

    def abandon(self, annotator: str, queries: Iterable[Query]) -> None:
        """Turn this process' claims into failures of unknown cost: they were cut off."""
        sql = f"SELECT pair, annotator, shown, repeat, sent FROM asking WHERE {_CLAIM}"
        with transaction(self._connection, self._path) as db:
            for query in queries:
                _lose(db, db.execute(sql, _claim(annotator, query)).fetchall())

    def settle(self) -> int:
        """Turn the claims of dead processes into failures of unknown cost; return how many.

        They are asked again like every failure.
        """
        with transaction(self._connection, self._path) as db:
            owners = [owner for (owner,) in db.execute("SELECT DISTINCT owner FROM asking")]
            dead = [owner for owner in owners if not _alive(owner)]
            sql = "SELECT pair, annotator, shown, repeat, sent FROM asking WHERE owner = ?"
            claims = [row for owner in dead for row in db.execute(sql, (owner,))]
            _lose(db, claims)
        return len(claims)

    def spending(self) -> Spending:
        """Add up what every answer, failure and first turn took."""
        sql = """SELECT total(requests), total(unaccounted), (SELECT count(*) FROM asking),
            total(tokens_in), total(tokens_out), total(money), coalesce(max(money), 0),
            coalesce(max(tokens_in + tokens_out), 0) FROM (
            SELECT requests, unaccounted, tokens_in, tokens_out, money FROM queries UNION ALL
            SELECT requests, 0, tokens_in, tokens_out, money FROM first_turns)"""
        with explained(self._path):
            *counts, money, dearest, tokens = self._connection.execute(sql).fetchone()
        requests, unaccounted, in_flight, tokens_in, tokens_out = map(int, counts)
        return Spending(
            requests, unaccounted, in_flight, tokens_in, tokens_out, money, float(dearest), tokens
        )

    def first_turn(self, prompt_hash: str, model: str, env: str) -> FirstTurn | None:
        """Return what this model said of this environment, None if it was not asked yet."""
        sql = """SELECT prompt_hash, model, env, answer, tokens_in, tokens_out, money, requests
            FROM first_turns WHERE prompt_hash = ? AND model = ? AND env = ?"""
        with explained(self._path):
            row = self._connection.execute(sql, (prompt_hash, model, env)).fetchone()
        return FirstTurn(*row) if row else None

    def remember_first_turn(self, turn: FirstTurn) -> bool:
        """Keep a first turn, unless another process was faster; return whether it was kept."""
        sql = """INSERT INTO first_turns (prompt_hash, model, env, answer, tokens_in, tokens_out,
            money, requests) VALUES (?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"""
        row = (turn.prompt_hash, turn.model, turn.env, turn.answer)
        cost = (turn.tokens_in, turn.tokens_out, turn.money, turn.requests)
        with transaction(self._connection, self._path) as db:
            return db.execute(sql, (*row, *cost)).rowcount == 1


def store_answer(
    db: sqlite3.Connection, annotator: str, prompt_hash: str, query: Query, answer: Answer
) -> int:
    """Write one answer inside a transaction; return 1, or 0 where there already is one.

    Only a failure is replaced, and what it took is added.
    """
    key = (query.pair, annotator, query.order, query.repeat, prompt_hash)
    return db.execute(_STORE_ANSWER, (*key, *answer_row(answer))).rowcount


def drop_claims(db: sqlite3.Connection, annotator: str, queries: Iterable[Query]) -> None:
    """Remove this process' claims inside a transaction."""
    db.executemany(f"DELETE FROM asking WHERE {_CLAIM}", [_claim(annotator, q) for q in queries])


_CLAIM = "(pair, annotator, shown, repeat, owner) = (?,?,?,?,?)"


def _claim(annotator: str, q: Query) -> tuple[int, str, str, int, str]:
    return q.pair, annotator, q.order, q.repeat, _myself()


def _lose(db: sqlite3.Connection, claims: list[tuple[int, str, Order, int, int]]) -> None:
    """Record claims as failures that may have cost as much as was sent."""
    for pair, annotator, shown, repeat, sent in claims:
        lost = Answer.failed(INTERRUPTED, requests=sent, unaccounted=sent)
        store_answer(db, annotator, "", Query(pair, 0, 0, shown, repeat), lost)
        key = (pair, annotator, shown, repeat)
        db.execute("DELETE FROM asking WHERE (pair, annotator, shown, repeat) = (?,?,?,?)", key)


def _upsert() -> str:
    columns = ANSWER_COLUMNS.split(", ")
    added = {"tokens_in", "tokens_out", "money", "requests", "unaccounted"}
    changes = [f"{c} = {f'{c} + ' * (c in added)}excluded.{c}" for c in columns]
    marks = ",".join("?" * (5 + len(columns)))
    return f"""INSERT INTO queries (pair, annotator, shown, repeat, prompt_hash, {ANSWER_COLUMNS})
        VALUES ({marks}) ON CONFLICT DO UPDATE SET prompt_hash = excluded.prompt_hash,
        {", ".join(changes)}, created = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        WHERE status = 'failed'"""


_STORE_ANSWER = _upsert()


@functools.cache
def _me(pid: int) -> str:
    return f"{platform.node()}:{pid}:{_started(pid)}"


def _myself() -> str:
    """Name this process: a later one with the same number has another name."""
    return _me(os.getpid())


def _alive(owner: str) -> bool:
    """Say whether an owner still runs; one on another machine is believed to."""
    node, pid, started = owner.rsplit(":", 2)
    return node != platform.node() or (started != "" and _started(int(pid)) == started)


def _started(pid: int) -> str:
    """Return when a process started, in the system's ticks; empty if no such process runs."""
    try:
        # After the name, which may contain anything, come the state and, as the twentieth word,
        # the start time.
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if words[0] in "ZX" else words[19]  # killed, but its parent has not noticed yet
