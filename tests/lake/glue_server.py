"""moto's S3 and Glue in one server, with the optimistic lock that AWS has and moto lacks.

``python glue_server.py PORT [--without-lock]``. AWS refuses ``UpdateTable`` when its ``VersionId`` is not the table's newest; moto takes it, so of
two commits at once the second would overwrite the first.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.glue.responses import GlueResponse
from moto.server import main


def lock_updates() -> None:
    """Makes ``UpdateTable`` compare versions, one request at a time."""
    one_at_a_time = threading.Lock()
    update_table = GlueResponse.update_table

    def guarded(self: GlueResponse) -> Any:
        asked = json.loads(self.body)
        with one_at_a_time:
            if "VersionId" in asked:
                table = self.glue_backend.get_table(asked["DatabaseName"], asked["TableInput"]["Name"])
                if str(table.as_dict()["VersionId"]) != str(asked["VersionId"]):
                    raise JsonRESTError("ConcurrentModificationException", "Update table failed due to concurrent modifications.")
            return update_table(self)

    GlueResponse.update_table = guarded


if __name__ == "__main__":
    if "--without-lock" not in sys.argv:
        lock_updates()
    main(["-H", "127.0.0.1", "-p", sys.argv[1]])
