"""The page, and the interface behind it: what is asked comes in here, and sounds go out.

GET  /            the page, and below it the files it is made of
GET  /api/model   what the model is, and which values parameters may have
POST /api/sound   a recording, and as parameters what is wanted: a WAV file, or JSON
"""

import asyncio
import base64
import pathlib
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from qvae_jax.generation import finishing
from qvae_jax.live_page.facts import PAGE, PAGE_FOLDER, facts
from qvae_jax.serving import bodies, orders
from qvae_jax.serving.bodies import Bodies
from qvae_jax.serving.making import Answer, Maker, Nearest
from qvae_jax.serving.model_thread import Busy, ModelThread
from qvae_jax.serving.orders import Order
from qvae_jax.system.errors import UserError

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
JSON = "application/json"
T = TypeVar("T")


def application(maker: Maker, thread: ModelThread) -> Starlette:
    """The page of a maker's model, whose sounds are made in the thread."""
    waiting = Bodies()

    async def model(request: Request) -> Response:
        return JSONResponse(facts(maker.model, has_library=maker.library is not None))

    async def ordered(request: Request, make: Callable[[Order], T]) -> T:
        with waiting.bounded(request) as bounded:
            sent = await bodies.sent_with(bounded)
            try:
                order = orders.order_of(request.query_params.multi_items(), sent)
                return await _made(make, thread, order, request)
            except UserError as error:
                raise HTTPException(400, str(error)) from error

    async def nearest(request: Request) -> Response:
        return _as_list(await ordered(request, maker.nearest))

    async def sound(request: Request) -> Response:
        answer = await ordered(request, maker.make)
        wants_json = JSON in request.headers.get("accept", "")
        return await asyncio.to_thread(_as_json if wants_json else _as_file, answer)

    routes = [
        Route("/api/model", model, methods=["GET"]),
        Route("/api/sound", sound, methods=["POST"]),
        Route("/api/nearest", nearest, methods=["POST"]),
        *_page(),
    ]
    handlers = {HTTPException: _told, ClientDisconnect: _gone, Exception: _failed}
    return Starlette(routes=routes, exception_handlers=handlers)


async def _made(
    make: Callable[[Order], T], thread: ModelThread, order: Order, request: Request
) -> T:
    """What is made of an order, once it is its turn; nothing is made for who has gone meanwhile."""
    try:
        future = thread.submit(make, order)
    except Busy:
        raise bodies.busy() from None
    made, gone = asyncio.wrap_future(future), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait([made, gone], return_when=asyncio.FIRST_COMPLETED)
        if not made.done():
            raise ClientDisconnect
        return await _result(made, future)
    finally:
        gone.cancel()
        made.cancel()


async def _result(made: asyncio.Future[T], future: Future) -> T:
    if made.cancelled() or future.cancelled():
        raise HTTPException(503, "The server is being stopped.")
    return await made


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _as_file(answer: Answer) -> Response:
    if len(answer.sounds) > 1:
        message = f"Several sounds are sent as JSON: ask for them with the header Accept: {JSON}."
        raise HTTPException(406, message)
    kind = {"wav": "audio/wav", "flac": "audio/flac"}[answer.finish.format]
    return Response(finishing.encoded(answer.sounds[0], answer.finish), media_type=kind)


def _as_json(answer: Answer) -> Response:
    sounds = []
    for number, samples in enumerate(answer.sounds):
        file = base64.b64encode(finishing.encoded(samples, answer.finish)).decode()
        curves = None if answer.curves is None else answer.curves[number].round(4).tolist()
        sounds.append({"file": file, "curves": curves})
    return JSONResponse(
        {
            "format": answer.finish.format,
            "sample_rate_hz": answer.finish.sample_rate_hz,
            "sounds": sounds,
            "notes": answer.notes,
        }
    )


def _as_list(nearest: Nearest) -> Response:
    """Without the sounds' paths, which are nobody's business."""
    names = ("rank", "name", "similarity", "duration_s")
    found = [{name: getattr(one, name) for name in names} for one in nearest.found]
    return JSONResponse({"nearest": found, "unlike_everything": nearest.unlike})


def _page() -> list[Route]:
    """A route for each of the page's files, which are read now: no address names a path."""
    return [_file(path) for path in sorted(PAGE_FOLDER.iterdir()) if path.suffix in KINDS]


def _file(path: pathlib.Path) -> Route:
    content, kind = path.read_bytes(), KINDS[path.suffix]

    async def file(request: Request) -> Response:
        return Response(content, media_type=kind)

    return Route("/" if path.name == PAGE else f"/{path.name}", file, methods=["GET"])


# --- What goes wrong


async def _told(request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # which nobody reads


async def _failed(request: Request, error: Exception) -> Response:
    traceback.print_exception(error, file=sys.stderr)
    return JSONResponse({"error": "This went wrong in the server, which says more."}, 500)
