"""Arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

Run = Annotated[Path, Argument(metavar="RUN", help="a run folder")]
Settings = Annotated[list[str] | None, Argument(metavar="[KEY=VALUE]...", help="what to change")]
Data = Annotated[str | None, Option(help="short for data.source=...")]
Figures = Annotated[str, Option(help="formats of figures beside svg, with commas: png, pdf")]
Resize = Annotated[str | None, Option(help="images of another size: crop, pad or stretch")]
Resume = Annotated[bool, Option("--resume", help="go on with what is unfinished")]
Json = Annotated[bool, Option("--json", help="one JSON object on standard output, no more")]
Jobs = Annotated[
    int | None,
    Option(min=1, help="runs at a time; default: one per GPU, else one, in this process"),
]
Cluster = Annotated[
    str | None, Option(help="a Ray cluster's address, auto, or local to start one here")
]
GpusPerTrial = Annotated[
    float | None, Option(help="1, or a part: 0.25 trains four small networks on each GPU")
]
Scale = Annotated[float, Option(help="fraction of the training images and epochs, for a try")]
Plugins = Annotated[
    list[str] | None, Option(metavar="FILE", help="parts of your own; this approves the file")
]
Trust = Annotated[
    bool, Option("--trust-plugins", help="approve for you the plug-ins of recipe and runs")
]
