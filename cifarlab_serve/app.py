"""What the server answers: predictions, its model, its health, its metrics, its OpenAPI."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import IO, Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from cifarlab_serve.batching import Batcher, QueueFullError
from cifarlab_serve.decoding import Decoder
from cifarlab_serve.exported import ExportedNetwork
from cifarlab_serve.limits import (
    LATER,
    Admission,
    Body,
    RefusalError,
    UnreadRefusalError,
    discard_body,
    require_token,
)
from cifarlab_serve.metrics import CountRequests, Metrics
from cifarlab_serve.settings import Limits

_FILE = {"type": "string", "format": "binary"}
_IMAGES = {"type": "object", "properties": {"images": {"type": "array", "items": _FILE}}}
_BODY = {
    "required": True,
    "content": {"image/*": {"schema": _FILE}, "multipart/form-data": {"schema": _IMAGES}},
}
_MEANINGS = {
    401: "not the token",
    403: "without a token: asked under a name that is not this machine's",
    408: "the body came too slowly",
    413: "too many bytes or images",
    422: "no image that the network takes",
    503: "too much at once",
    504: "not answered in time",
}

_SEE = "see /openapi.json for what there is"
_PERCENT = 90  # of coverage where none is asked for
Coverage = Annotated[
    float | None,
    Query(gt=0, lt=1, description="of the sets, in steps of 0.01; default: 0.9, or the highest"),
]


class Model(BaseModel):
    """Which network answers."""

    name: str = Field(description="the recipe's")
    fingerprint: str = Field(description="of the recipe")
    weights_sha256: str = Field(description="of the run's weights")
    file_sha256: str = Field(description="of the exported file")


class Prediction(BaseModel):
    """What the network says of one image, in the words of ``cifarlab predict --format json``."""

    id: str = Field(description="the part's file name; image: a body that is one")
    likeliest: str = Field(alias="class", description="the likeliest class")
    confidence: float = Field(description="its probability")
    probabilities: dict[str, float] = Field(description="of each class")
    set: list[str] | None = Field(None, description="conformal set, likeliest first")


class Answer(BaseModel):
    """Predictions in the order of the images."""

    model: Model
    coverage: float | None = Field(None, description="that the sets were calibrated for")
    predictions: list[Prediction]


class Problem(BaseModel):
    """Why a request was refused, and what to do."""

    error: str
    hint: str


def build_app(network: ExportedNetwork, limits: Limits, token: str | None = None) -> FastAPI:
    """Return the application that serves a network.

    Args:
        network: what is served
        limits: what requests may cost
        token: what a client must send, None: nothing
    """
    server = PredictionServer(network, limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        server.batcher.start()
        yield
        await server.batcher.stop()

    async def authorize(request: Request) -> None:
        require_token(request, token)

    guards = [Depends(authorize)]
    if token is not None:
        guards.append(Depends(HTTPBearer(auto_error=False)))
    app = FastAPI(
        title=network.identity["name"],
        version=network.identity["fingerprint"],
        lifespan=lifespan,
        openapi_url=None,  # FastAPI's own would need no token
        docs_url=None,  # its page would load scripts from another host
        redoc_url=None,
    )
    app.add_middleware(CountRequests, metrics=server.metrics)
    for error_type, handler in _HANDLERS.items():
        app.add_exception_handler(error_type, handler)
    problems: Any = {n: {"model": Problem, "description": what} for n, what in _MEANINGS.items()}
    app.get("/health", responses={503: problems[503]})(server.check_health)

    @app.get("/openapi.json", dependencies=guards, include_in_schema=False)
    async def show_openapi() -> dict[str, Any]:
        return app.openapi()

    app.get("/model", dependencies=guards)(server.describe)
    app.get("/metrics", dependencies=guards, response_class=Response)(server.show_metrics)
    app.post(
        "/predict",
        dependencies=guards,
        response_model_exclude_none=True,
        responses=problems,
        openapi_extra={"requestBody": _BODY},
    )(server.predict)
    return app


class PredictionServer:
    """A network with what is needed to answer many at once."""

    def __init__(self, network: ExportedNetwork, limits: Limits) -> None:
        self.network, self.limits = network, limits
        self._most_images = min(limits.images, limits.queue)
        self.metrics = Metrics(network.identity)
        self.admission = Admission(limits)
        observe = self.metrics.batches.observe
        self.batcher = Batcher(network.run, limits.batch, limits.wait, limits.queue, observe)
        self.metrics.waiting.set_function(lambda: self.batcher.n_waiting)
        self._decoder = Decoder(network.policy, limits, self.admission)

    async def check_health(self) -> dict[str, str]:
        """Say that the network answers; after a pass that failed it is asked anew."""
        if not self.batcher.is_well(self.limits.timeout):
            try:
                async with asyncio.timeout(self.limits.timeout):
                    await self.batcher.predict([np.zeros(self.network.shape, np.uint8)])
            except Exception as error:
                raise RefusalError(503, "the network does not answer", "restart it") from error
        return {"status": "ok"}

    async def describe(self) -> dict[str, Any]:
        """Say what the network is and takes, and how accurate it was measured to be."""
        network = self.network
        return network.identity | {
            "classes": network.classes,
            "image_shape": network.shape,
            "resize_mode": network.policy.resize_mode,
            "certified": network.certified,
            "accuracy": network.facts.get("accuracy"),
            "highest_coverage": network.conformal and len(network.conformal.thresholds) / 100,
        }

    async def show_metrics(self) -> Response:
        """Show the metrics in Prometheus' format."""
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def predict(self, request: Request, coverage: Coverage = None) -> Answer:
        """Predict the image that is the body, or each file of a multipart body."""
        percent = self._percent(coverage)
        with self.admission.admit(request) as body:
            files = await self._receive(request, body)
            try:
                async with asyncio.timeout(self.limits.timeout):
                    with self.batcher.announce():
                        images = await self._decoder.decode(files)
                    body.release()
                    probabilities = await self.batcher.predict(images)
            except TimeoutError as error:
                what = f"there was no answer within {self.limits.timeout:g} seconds"
                raise RefusalError(504, what, "send less at once, or later") from error
            except QueueFullError as error:
                raise RefusalError(503, "too many images wait", LATER) from error
        return self._answer([name for name, _ in files], probabilities, percent)

    def _percent(self, coverage: float | None) -> int:
        """Return the percent of coverage of the sets, 0: there are none. Raises RefusalError."""
        conformal = self.network.conformal
        highest = len(conformal.thresholds) if conformal else 0
        if coverage is None:
            return min(_PERCENT, highest)
        percent = round(100 * coverage, 6)
        if percent in range(1, highest + 1):
            return int(percent)
        hint = f"ask for 0.01, 0.02, ... or {highest / 100:g}"
        if not highest:
            hint = "leave it out: this network's run held no images out that calibrate sets"
        raise UnreadRefusalError(422, f"no sets are calibrated for {coverage:g}", hint)

    async def _receive(self, request: Request, body: Body) -> list[tuple[str, IO[bytes]]]:
        """Return the names and contents of a body's images. Raises RefusalError."""
        is_form = request.headers.get("content-type", "").startswith("multipart/form-data")
        try:
            async with asyncio.timeout(self.limits.timeout):
                if is_form:
                    return await self._parts(request, body)
                return [("image", BytesIO(b"".join([chunk async for chunk in body.chunks()])))]
        except TimeoutError as error:
            what = f"the body did not arrive within {self.limits.timeout:g} seconds"
            raise RefusalError(408, what, "send less at once") from error

    async def _parts(self, request: Request, body: Body) -> list[tuple[str, IO[bytes]]]:
        chunks = body.chunks()
        parser = _MemoryParser(request.headers, chunks, max_files=self._most_images, max_fields=1)
        try:
            parts = [part for _, part in (await parser.parse()).multi_items()]
        except (MultiPartException, ValueError, KeyError) as error:
            async for _ in chunks:
                pass  # whoever sends it reads the answer afterwards
            what = getattr(error, "message", str(error))
            if "Too many files" in what:
                what = f"the request has more than {self._most_images} images"
                raise RefusalError(413, what, "send fewer at once") from error
            what = f"the body is not what its type says: {what}"
            raise RefusalError(422, what, "send multipart/form-data, each image a file") from error
        files = [part for part in parts if isinstance(part, UploadFile)]
        if not files or len(files) < len(parts):
            raise RefusalError(422, "a part of the body is no file", "send each image as a file")
        return [(file.filename or "image", file.file) for file in files]

    def _answer(self, names: list[str], probabilities: np.ndarray, percent: int) -> Answer:
        classes, conformal = self.network.classes, self.network.conformal
        order = np.argsort(-probabilities, axis=1, kind="stable")
        members = conformal.sets(probabilities, percent) if conformal and percent else None
        predictions = []
        for i, (name, row) in enumerate(zip(names, probabilities, strict=True)):
            first = int(order[i, 0])
            names_in_set = None
            if members is not None:
                names_in_set = [classes[k] for k in order[i] if members[i, k]]
            fields = {"id": name, "class": classes[first], "confidence": row[first]}
            fields["probabilities"] = dict(zip(classes, row.tolist(), strict=True))
            predictions.append(Prediction(**fields, set=names_in_set))
        model = Model(**self.network.identity)
        coverage = percent / 100 if percent else None
        return Answer(model=model, coverage=coverage, predictions=predictions)


class _MemoryParser(MultiPartParser):
    """Keeps large parts in memory, too, where they are counted: /tmp may be memory that is not."""

    spool_max_size = sys.maxsize
    max_file_size = sys.maxsize  # as older Starlettes call it


def _problem(status: int, error: str, hint: str) -> JSONResponse:
    headers = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "1"}}.get(status)
    return JSONResponse({"error": error, "hint": hint}, status, headers)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    if isinstance(error, UnreadRefusalError):
        await discard_body(request)
    return _problem(error.status, error.what, error.hint)


async def _refuse_by_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    await discard_body(request)
    return _problem(error.status_code, str(error.detail), _SEE)


async def _refuse_query(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    await discard_body(request)
    [first, *_] = error.errors()
    return _problem(422, f"{first['loc'][-1]}: {first['msg']}", _SEE)


async def _fail(_request: Request, _error: Exception) -> Response:
    return _problem(500, "the server failed", "its log has the error")


async def _leave(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    RefusalError: _refuse,
    HTTPException: _refuse_by_route,
    RequestValidationError: _refuse_query,
    ClientDisconnect: _leave,
    Exception: _fail,
}
