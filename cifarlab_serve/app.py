"""What the server answers: predictions, its model, its health, its metrics, its OpenAPI."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cifarlab_serve.batching import Batcher, QueueFullError
from cifarlab_serve.exported import ExportedNetwork, ImageError, count_cores
from cifarlab_serve.limits import (
    Admission,
    Limits,
    RefusalError,
    UnreadRefusalError,
    discard_body,
    require_token,
)
from cifarlab_serve.metrics import CountRequests, Metrics

_FILE = {"type": "string", "format": "binary"}
_IMAGES = {"type": "object", "properties": {"images": {"type": "array", "items": _FILE}}}
_BODY = {
    "required": True,
    "content": {"image/*": {"schema": _FILE}, "multipart/form-data": {"schema": _IMAGES}},
}
_MEANINGS = {
    401: "not the token",
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
    """What the network says of one image."""

    name: str = Field(description="the part's file name; image: a body that is one")
    label: str = Field(description="the likeliest class")
    probability: float = Field(description="of it")
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
    """Return the application that serves a network; ``token`` None: it needs none."""
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
        docs_url=None,  # its page would load scripts from another host
        redoc_url=None,
    )
    app.add_middleware(CountRequests, metrics=server.metrics)
    for error_type, handler in _HANDLERS.items():
        app.add_exception_handler(error_type, handler)
    problems: Any = {n: {"model": Problem, "description": what} for n, what in _MEANINGS.items()}
    app.get("/health")(_health)
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


async def _health() -> dict[str, str]:
    """Say that the server runs."""
    return {"status": "ok"}


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
        self._decoders = ThreadPoolExecutor(min(4, count_cores()), "decode")

    async def describe(self) -> dict[str, Any]:
        """Say what the network is and takes, and how accurate it was measured to be."""
        network = self.network
        return network.identity | {
            "classes": network.classes,
            "image_shape": network.shape,
            "resize_mode": network.policy.resize_mode,
            "accuracy": network.facts.get("accuracy"),
            "highest_coverage": network.conformal and len(network.conformal.thresholds) / 100,
        }

    async def show_metrics(self) -> Response:
        """Show the metrics in Prometheus' format."""
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def predict(self, request: Request, coverage: Coverage = None) -> Answer:
        """Predict the image that is the body, or each file of a multipart body."""
        percent = self._percent(coverage)
        async with self.admission.read(request) as body:
            try:
                async with asyncio.timeout(self.limits.timeout):
                    files = await self._files(request, body)
                    with self.batcher.announce():
                        images = await self._decode(files)
                    probabilities = await self.batcher.predict(images)
            except TimeoutError as error:
                what = f"there was no answer within {self.limits.timeout:g} seconds"
                raise RefusalError(504, what, "send less at once, or later") from error
            except QueueFullError as error:
                raise RefusalError(503, "too many images wait", "try again in a second") from error
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

    async def _files(self, request: Request, body: bytes) -> list[tuple[str, bytes]]:
        """Return the names and contents of a body's images. Raises RefusalError."""
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            return [("image", body)]
        parts = Request(request.scope, _replay(body))
        try:
            form = await parts.form(max_files=self._most_images + 1, max_fields=1)
        except (HTTPException, ValueError, KeyError) as error:
            what = f"the body is not what its type says: {getattr(error, 'detail', error)}"
            if "Too many files" in what:
                raise self._too_many() from error
            raise RefusalError(422, what, "send multipart/form-data, each image a file") from error
        async with _closing(form.close):
            uploads = [part for _, part in form.multi_items()]
            files = [
                (upload.filename or "image", await upload.read())
                for upload in uploads
                if isinstance(upload, UploadFile)
            ]
        if not files or len(files) < len(uploads):
            raise RefusalError(422, "a part of the body is no file", "send each image as a file")
        if len(files) > self._most_images:
            raise self._too_many()
        return files

    def _too_many(self) -> RefusalError:
        what = f"the request has more than {self._most_images} images"
        return RefusalError(413, what, "send fewer at once")

    async def _decode(self, files: list[tuple[str, bytes]]) -> list[np.ndarray]:
        """Return the network's inputs. Raises RefusalError."""
        deadline = time.monotonic() + self.limits.timeout  # a thread can't be stopped from outside

        def decode() -> list[np.ndarray]:
            images = []
            for name, blob in files:
                if time.monotonic() > deadline:
                    raise TimeoutError
                images.append(self.network.decode(blob, name[:200], self.limits.pixels))
            return images

        try:
            return await asyncio.get_running_loop().run_in_executor(self._decoders, decode)
        except ImageError as error:
            raise RefusalError(422, error.what, error.hint) from error

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
            predictions.append(
                Prediction(
                    name=name,
                    label=classes[first],
                    probability=row[first],
                    probabilities=dict(zip(classes, row.tolist(), strict=True)),
                    set=names_in_set,
                )
            )
        model = Model(**self.network.identity)
        coverage = percent / 100 if percent else None
        return Answer(model=model, coverage=coverage, predictions=predictions)


def _replay(body: bytes) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


@asynccontextmanager
async def _closing(close: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await close()


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
