"""Connections: no more than so many, and none that says nothing for long."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 256
LONGEST_WAIT_S = 10.0  # for the whole of a request's head, and for a client that does not read


class Connection(H11Protocol):
    """uvicorn's, with an end to what uvicorn would wait for without one.

    Where there are more than MOST, that one is closed of which nothing was heard for the longest,
    so that thousands which only wait keep nobody out. A client whose request is complete, and who
    waits for the answer, is kept.
    """

    _deadline: asyncio.TimerHandle | None = None
    _heard_at_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._heard_at_s = self.loop.time()
        self._set_deadline()
        if len(self.connections) > MOST:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._heard_at_s = self.loop.time()
        if not self._is_between_requests:
            self._unset_deadline()
        elif self._deadline is None:
            self._set_deadline()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._heard_at_s = self.loop.time()

    def connection_lost(self, error: Exception | None) -> None:
        self._unset_deadline()
        super().connection_lost(error)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._set_deadline()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unset_deadline()

    @property
    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _is_answered_next(self) -> bool:
        return not self._is_between_requests and not self.cycle.more_body

    def _make_room(self) -> None:
        others = [one for one in self.connections if one is not self and not one._is_answered_next]
        if others:
            min(others, key=lambda one: one._heard_at_s).transport.abort()

    def _set_deadline(self) -> None:
        self._unset_deadline()
        self._deadline = self.loop.call_later(LONGEST_WAIT_S, self.transport.abort)

    def _unset_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
