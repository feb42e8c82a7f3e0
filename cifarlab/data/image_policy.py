"""The settings by which images of any source become a network's input."""

import re
from typing import Literal

from pydantic import Field, model_validator

from cifarlab.config.base import Config, refuse_idle

SUFFIX = re.compile(r"\.(jpe?g?|jfif|png|bmp|gif|webp|tiff?|p[pgbn]m)$", re.IGNORECASE)
MAX_BYTES = 2**26  # of an image file


class ImagePolicy(Config):
    """How a source's files become uint8 images of one size and one number of channels."""

    size: int | None = Field(
        None, ge=8, le=96, description="side of the square images in pixels; null: as they are"
    )
    resize_mode: Literal["error", "crop", "pad", "stretch"] = Field(
        "error",
        description="an image of another size: refuse it by name, scale its short side and crop "
        "the centre, scale its long side and pad with black, or stretch it",
    )
    channels: Literal["auto", "grey", "rgb"] = Field(
        "auto", description="auto: grey if every file is greyscale, else rgb"
    )
    on_bad_images: Literal["error", "skip"] = Field(
        "error", description="a file that can't be decoded: stop and name it, or skip and count"
    )

    @model_validator(mode="after")
    def _nothing_idle(self) -> "ImagePolicy":
        if self.size is None:
            refuse_idle(self, ("resize_mode",), "a size")
        return self
