"""S3 as pyiceberg reads and writes it: patient for about a minute with a store that is away, and then an error that names it."""

from __future__ import annotations

import errno
from typing import Any

from botocore.exceptions import ConnectionError as UnreachableError
from botocore.exceptions import HTTPClientError
from fsspec.asyn import sync_wrapper
from pyiceberg.io.fsspec import SCHEME_TO_FS
from s3fs import S3FileSystem

from include.lake.store_errors import RETRIES, StoreError

_AWAY = {errno.EBUSY, errno.EIO, errno.EREMOTEIO, errno.ETIMEDOUT}
"""What s3fs makes of 503, SlowDown, 500 and of answers that it does not know."""


class PatientS3(S3FileSystem):  # type: ignore[misc]
    """s3fs with the same bounded retries as :class:`include.lake.objects.S3Store`; it repeats them once more, and would do so four times by itself."""

    retries = 2

    async def _call_s3(self, method: str, *arguments: Any, **options: Any) -> Any:
        try:
            return await super()._call_s3(method, *arguments, **options)
        except (HTTPClientError, UnreachableError) as error:
            raise self._told(method, error, **_merged(arguments, options)) from error
        except OSError as error:
            if error.errno not in _AWAY or isinstance(error, StoreError):
                raise
            raise self._told(method, error.__cause__ or error, **_merged(arguments, options)) from error

    call_s3 = sync_wrapper(_call_s3)  # s3fs binds its own

    def _told(self, method: str, error: BaseException, Bucket: str = "", Key: str = "", **_: Any) -> StoreError:  # noqa: N803 - S3's own names
        address = self.client_kwargs.get("endpoint_url") or self.endpoint_url or "of AWS"
        text = str(error) or type(error).__name__
        return StoreError(f"s3://{Bucket}/{Key}: the store {address} did not do {method}: {text}")


def patient_s3(properties: Any) -> S3FileSystem:
    """The file system of a catalog's properties, which are pyiceberg's (``s3.endpoint`` …)."""
    made = SCHEME_TO_FS["s3"](properties)
    options = dict(made.storage_options)
    return PatientS3(**{**options, "config_kwargs": {"retries": RETRIES, **options.get("config_kwargs", {})}})


def _merged(arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for given in (*arguments, options) if isinstance(given, dict) for key, value in given.items()}
