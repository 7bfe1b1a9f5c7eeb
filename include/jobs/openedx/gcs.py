"""Google Cloud Storage, from which partners' tracking logs and forum dumps are read: gcsfs over the JSON API, with the deployment's own credentials.

``GCS_CREDENTIALS``       the key of a service account, as Google gives it (JSON); without it requests are anonymous, for public buckets and emulators
``STORAGE_EMULATOR_HOST`` Google's own variable for another address of the API, as ``AWS_ENDPOINT_URL`` is Amazon's

gcsfs repeats requests that are answered 408, 429 or 5xx, or not at all, for about half a minute.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from aiohttp import ClientError
from gcsfs.core import GCSFileSystem  # type: ignore[import-untyped]
from gcsfs.retry import HttpError, errs  # type: ignore[import-untyped]
from google.auth.exceptions import GoogleAuthError
from google.oauth2.service_account import Credentials
from isal import igzip
from requests import RequestException

from include.config.environments import refuse, variables
from include.contract import TransientError

VARIABLE = "GCS_CREDENTIALS"
SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
GZIP = b"\x1f\x8b"
REFUSED = (401, 403)
ANONYMOUS = "anon"


class GcsFiles(GCSFileSystem):  # type: ignore[misc]
    """gcsfs with errors that say what they mean: ``PermissionError`` for credentials that are missing or refused, ``TransientError`` for a store that is away.

    Objects are read as they lie there, those with ``Content-Encoding: gzip``, too: their names and sizes are those of the compressed bytes, and a part of
    one that a client on the way decompresses is nothing that can be read.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, session_kwargs={"auto_decompress": False})

    async def _call(self, method: str, path: str, *args: Any, json_out: bool = False, info_out: bool = False, **parameters: Any) -> Any:
        try:
            found = await super()._call(method, path, *args, info_out=info_out, **parameters)
        except HttpError as error:
            if error.code in REFUSED:
                raise PermissionError(f"{error.message}{self._advice}") from error
            if error.code in errs:
                raise TransientError(f"{self._location}: {error.message}") from error
            raise
        except (ClientError, RequestException, GoogleAuthError, TimeoutError) as error:
            raise TransientError(f"{self._location}: {type(error).__name__} {error}") from error
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error} is not there") from error
        except OSError as error:
            if str(error).startswith("Forbidden"):  # gcsfs looks for this word, too: whoever may not ask for an object may list it
                raise PermissionError(f"{' '.join(str(error).split())}{self._advice}") from error
            raise
        if not json_out:
            return found
        _, content = found
        return json.loads(igzip.decompress(content) if content.startswith(GZIP) else content)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        """gcsfs' own way of reading ahead takes up to 256 MB for each file."""
        return super()._open(path, mode, **{"cache_type": "readahead", **options})

    @property
    def _advice(self) -> str:
        return f"; no credentials were given ({VARIABLE})" if self.credentials.credentials is None else ""


def gcs_files() -> GcsFiles:
    """The file system, with the credentials of this process's environment. Raises ``ConfigError`` for credentials that are no key, without showing them."""
    return _files(variables().get(VARIABLE, "").strip())


@cache
def _files(credentials: str) -> GcsFiles:
    return GcsFiles(token=_key(credentials) if credentials else ANONYMOUS, access="read_only", skip_instance_cache=True)


def _key(credentials: str) -> Credentials:
    allowed = "the key of a service account: JSON with client_email, private_key and token_uri"
    try:
        data = json.loads(credentials)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise refuse(VARIABLE, f"{len(credentials)} characters that are no JSON object", allowed)
    try:
        key: Credentials = Credentials.from_service_account_info(data, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    except ValueError as error:  # its words may hold parts of the key
        found = f"JSON with {', '.join(sorted(map(str, data))) or 'nothing'}, of which no key can be made ({type(error).__name__})"
        raise refuse(VARIABLE, found, allowed) from None
    return key
