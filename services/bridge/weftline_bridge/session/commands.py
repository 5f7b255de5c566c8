"""Carries out what one client asks for, in the order in which it asked, within a bound and a deadline."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from weftline_bridge.auth import NOTHING, Identity, Scope
from weftline_bridge.errors import (
    BadMessageError,
    CommandRefusedError,
    ConnectionEndedError,
    KeysUnavailableError,
    Misfit,
    TokenRefusedError,
)
from weftline_bridge.frames import Dialect
from weftline_bridge.hub import Hub
from weftline_bridge.metrics import Metrics
from weftline_bridge.protocol.inbound import Refresh, Request, Subscribe, Unsubscribe
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.names import ALL_WORKFLOWS, CloseCode
from weftline_bridge.protocol.payloads import AcceptedPayload
from weftline_bridge.rates import CommandRate, Verdict
from weftline_bridge.recorder import Kind
from weftline_bridge.session.gatekeeper import Gatekeeper
from weftline_bridge.session.session import Session
from weftline_bridge.tracing import CommandSpan, Tracer
from weftline_bridge.upstream import Accepted, ExecutorClient

_log = logging.getLogger(__name__)

MAX_WAITING = 64


def scope_of(identity: Identity | None) -> Scope | None:
    """What a reader of all workflows sees of them; None for every one."""
    if identity is None:
        return NOTHING
    return None if identity.view.everything else identity.view


class Commands:
    """The commands of one connection. Its task exists only while there are some.

    `timeout` (seconds) runs from when a command came in, so that none waits longer for those before it.
    """

    __slots__ = (
        "_client",
        "_gatekeeper",
        "_hub",
        "_max_subscriptions",
        "_metrics",
        "_mint",
        "_rate",
        "_session",
        "_timeout",
        "_tracer",
        "_waiting",
        "_welcome",
        "_worker",
    )

    def __init__(
        self,
        session: Session,
        *,
        hub: Hub,
        client: ExecutorClient,
        mint: Mint,
        metrics: Metrics,
        gatekeeper: Gatekeeper,
        rate: CommandRate,
        welcome: Callable[[Session], None],
        timeout: float,
        max_subscriptions: int,
        tracer: Tracer | None = None,
    ) -> None:
        self._session = session
        self._hub = hub
        self._client = client
        self._mint = mint
        self._metrics = metrics
        self._gatekeeper = gatekeeper
        self._rate = rate
        self._welcome = welcome
        self._timeout = timeout
        self._max_subscriptions = max_subscriptions
        self._tracer = tracer
        self._waiting: deque[tuple[Request, float]] | None = None
        self._worker: asyncio.Task[None] | None = None

    def submit(self, request: Request) -> None:
        """Queue a command; it is refused at once when too many wait already, or came lately."""
        now = asyncio.get_running_loop().time()
        verdict = self._rate.take(now)
        if verdict is not Verdict.CARRY_OUT:
            self._refuse_hasty(request, verdict)
            return
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = deque()
        if len(waiting) >= MAX_WAITING:
            self._count(request, "refused")
            self._refuse(request, CommandRefusedError("rate_limited", f"{MAX_WAITING} commands wait already"))
            return
        waiting.append((request, now + self._timeout))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(waiting), name=f"commands-{self._session.id}")

    def _refuse_hasty(self, request: Request, verdict: Verdict) -> None:
        """Refuse a command over the rate, and end the connection of who goes on for too long."""
        self._count(request, "refused")
        wait = max(1, int(self._rate.pause * 1000))
        self._refuse(request, CommandRefusedError("rate_limited", f"too many commands: try again in {wait} ms"))
        if verdict is Verdict.DISCONNECT:
            self._session.close(CloseCode.RATE_LIMITED, "commands went on although they were refused as too many")

    async def close(self) -> None:
        """Drop what waits and stop waiting for the answer to what was sent to the executor."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait({self._worker})

    async def _work(self, waiting: deque[tuple[Request, float]]) -> None:
        try:
            while waiting:
                request, deadline = waiting.popleft()
                request, span = self._traced(request)
                # What is cut off by the end of its connection has no other outcome.
                outcome, code = "abandoned", ""
                try:
                    await self._carry_out(request, deadline)
                    outcome = "accepted"
                    self._count(request, outcome)
                except (BadMessageError, CommandRefusedError) as error:
                    outcome, code = "unavailable" if error.code == "executor_unavailable" else "refused", error.code
                    self._count(request, outcome)
                    self._refuse(request, error)
                    if isinstance(error, ConnectionEndedError):
                        self._session.close(error.close_code, error.message)
                except Exception:
                    _log.exception("a command of connection %s failed", self._session.id)
                    outcome, code = "failed", "internal"
                    self._count(request, outcome)
                    self._refuse(request, CommandRefusedError(code, "the bridge failed to carry it out"))
                finally:
                    if span is not None:
                        span.end(outcome, code)
        finally:
            self._worker = None
            self._waiting = None

    def _traced(self, request: Request) -> tuple[Request, CommandSpan | None]:
        """The span of a command for the executor, where there is tracing, and the command as a part of it."""
        if self._tracer is None or isinstance(request, Subscribe | Unsubscribe | Refresh):
            return request, None
        span = self._tracer.begin(request.kind, request.workflow_id, request.id, request.traceparent)
        return replace(request, traceparent=span.traceparent), span

    async def _carry_out(self, request: Request, deadline: float) -> None:
        if isinstance(request, Refresh):
            await self._refresh(request)
            return
        self._check_permission(request)
        if isinstance(request, Subscribe):
            await self._subscribe(request, deadline)
            return
        if isinstance(request, Unsubscribe):
            self._hub.unsubscribe(self._session, request.workflow_id)
            self._session.tape.note(Kind.UNSUBSCRIBED, request.workflow_id)
            self._answer(request, AcceptedPayload(request.id))
            return
        await self._hub.listening(self._session, deadline)
        # A client that goes away must not take back what it asked for, so that the call outlives this task.
        call = self._hub.tasks.start(self._outcome(request), f"command-{request.id}")
        outcome = await asyncio.shield(call)
        if isinstance(outcome, CommandRefusedError):
            raise outcome
        payload = AcceptedPayload(request.id, outcome.seq, outcome.run_id, outcome.state, outcome.attached)
        self._answer(request, payload)

    def _check_permission(self, request: Request) -> None:
        """Raises CommandRefusedError: `unauthenticated`, or `forbidden` for what the client's token does not permit."""
        identity = self._session.identity
        if identity is None:
            raise CommandRefusedError("unauthenticated", "the connection has shown no token that is good")
        if self._gatekeeper.expired(identity):
            raise CommandRefusedError("unauthenticated", "the token has expired: send another in auth.refresh")
        viewing = isinstance(request, Subscribe | Unsubscribe)
        if viewing and request.workflow_id == ALL_WORKFLOWS:
            return
        scope = identity.view if viewing else identity.control
        if not scope.covers(request.workflow_id):
            does = "viewing" if viewing else "controlling"
            raise CommandRefusedError("forbidden", f"the token does not permit {does} {request.workflow_id}")

    async def _refresh(self, request: Refresh) -> None:
        """Take a new token in place of the old one; the first of a connection ends it when it is not good."""
        session, before = self._session, self._session.identity
        identity = await self._identify(request.token, before)
        named = [name for name in self._hub.subscriptions(session) if name != ALL_WORKFLOWS]
        lost = next((name for name in named if not identity.view.covers(name)), None)
        if lost is not None or not identity.view:
            message = f"the token does not permit viewing {lost or 'any workflow'}"
            raise ConnectionEndedError("forbidden", message, CloseCode.FORBIDDEN)
        session.identity = identity
        self._answer(request, AcceptedPayload(request.id, session_ttl=self._gatekeeper.time_left(identity)))
        if before is None:
            self._welcome(session)
        elif before.view != identity.view:
            self._hub.rescope(session, scope_of(identity))

    async def _identify(self, token: str, before: Identity | None) -> Identity:
        """Who a token is of; raises CommandRefusedError, which ends the connection if nobody was known `before`."""
        try:
            identity = await self._gatekeeper.check(token)
            if before is not None and before.subject != identity.subject:
                raise TokenRefusedError("token_subject", "the token is of somebody else")
        except (TokenRefusedError, KeysUnavailableError) as error:
            if before is not None:
                raise CommandRefusedError(error.code, error.message) from None
            later = isinstance(error, KeysUnavailableError)
            close_code = CloseCode.OVERLOADED if later else CloseCode.UNAUTHENTICATED
            raise ConnectionEndedError(error.code, error.message, close_code) from None
        return identity

    async def _subscribe(self, request: Subscribe, deadline: float) -> None:
        subscribed = self._hub.subscriptions(self._session)
        if request.workflow_id not in subscribed and len(subscribed) >= self._max_subscriptions:
            misfit = Misfit("workflowId", f"at most {self._max_subscriptions} subscriptions", "one more")
            raise BadMessageError(
                "too_many_subscriptions", "this connection has all the subscriptions it may", [misfit]
            )
        if request.workflow_id == ALL_WORKFLOWS:
            await self._hub.subscribe_all(self._session, request, deadline, scope_of(self._session.identity))
        else:
            await self._hub.subscribe(self._session, request, deadline)

    async def _outcome(self, request: Request) -> Accepted | CommandRefusedError:
        try:
            return await self._client.command(request, self._session.subject)
        except CommandRefusedError as error:
            return error

    def _answer(self, request: Request, payload: AcceptedPayload) -> None:
        if self._session.dialect is Dialect.V1:
            self._session.send(self._mint.accepted(request.workflow_id, payload))

    def _refuse(self, request: Request, error: BadMessageError | CommandRefusedError) -> None:
        dialect = self._session.dialect
        self._session.send(self._mint.refusal(dialect, error, workflow_id=request.workflow_id, command_id=request.id))

    def _count(self, request: Request, outcome: str) -> None:
        self._metrics.commands.labels(request.kind, outcome).inc()
        self._session.tape.note(Kind.COMMAND, request.workflow_id, word=f"{request.kind} {outcome}")
