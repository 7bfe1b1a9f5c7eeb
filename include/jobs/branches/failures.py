"""What goes wrong with clones, in the words of the job contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from include.contract import PermanentError, TransientError
from include.lake.clones.names import CloneError
from include.lake.metadata import PointerMovedError
from include.lake.rights import ForbiddenError
from include.lake.store_errors import StoreError


@contextmanager
def told() -> Iterator[None]:
    """Raises ``PermanentError`` for what is refused and ``TransientError`` for what another try may mend."""
    try:
        yield
    except (CloneError, ForbiddenError) as error:
        raise PermanentError(str(error)) from error
    except (StoreError, PointerMovedError) as error:
        raise TransientError(str(error)) from error
