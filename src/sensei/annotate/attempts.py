"""How a run over many questions learns, before it goes out, that one is sent again."""

from __future__ import annotations

import contextvars
from collections.abc import Callable

sent_again: contextvars.ContextVar[Callable[[], None]] = contextvars.ContextVar(
    "sent_again", default=lambda: None
)
"""Called by annotators before each request of a question but its first one."""
