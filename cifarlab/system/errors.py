"""Every error that cifarlab raises on purpose.

Each says in its first line what was wrong and where, and in its second what to do about it. The
command line prints just those two lines. ``exit_code`` is 2 where the user can mend it (a wrong
key, a missing file), 1 where the machine or the run failed (a full disk, a diverged loss), 5 where
runs of a study, a search or an audit failed, and 128 plus its number where a signal ended it. The
judge exits with 3 where it rejects and with 4 where it is undecided, which are no errors.
"""


class CifarlabError(Exception):
    """Base of all: ``what`` was wrong and where, ``hint`` says what to do."""

    exit_code = 1

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what, hint)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}\n{self.hint}"


class UserError(CifarlabError):
    """Something that the caller asked for can't be done."""

    exit_code = 2


class RecipeError(UserError):
    """An unknown recipe, key or value."""


class DataError(UserError):
    """A source that is missing, broken, unsafe or not what it claims to be."""


class RunFolderError(UserError):
    """A run folder that is missing, not vacant, in use, another program's or in another state."""


class PluginError(UserError):
    """A plug-in file that is missing, changed, not approved, or that fails."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged or made by another model."""


class ExportError(UserError):
    """A network that can't be exported, or an exported one that is not the one measured."""


class MissingExtraError(UserError):
    """A command needs a package that the installed extras do not bring."""


class DownloadError(CifarlabError):
    """No mirror delivered the file whole."""


class StorageError(CifarlabError):
    """The disk refused: full, read-only, or not permitted."""


class DivergenceError(CifarlabError):
    """The training loss became NaN or infinite."""


class OutOfMemoryError(CifarlabError):
    """The device has too little memory for this recipe."""


class ProcessLostError(CifarlabError):
    """One of several processes that train together ended or does not answer."""


class FailedRunsError(CifarlabError):
    """A study, a search or an audit came to its end, but some of its runs failed."""

    exit_code = 5


class Interrupted(CifarlabError):  # noqa: N818  (nothing went wrong)
    """A signal (``signum``), or the run's caller (0), ended it; its checkpoint is written."""

    def __init__(self, what: str, hint: str, signum: int) -> None:
        super().__init__(what, hint)
        self.args = (what, hint, signum)
        self.signum = signum
        self.exit_code = 128 + signum
