"""Objects, `s3://` and `gs://`, by fsspec (the extra `storage`): fetched and put whole.

A file is read from a local copy, so that whoever reads files reads these as well, mapped where they
are large. The copy has the size that the server says, of one version of the object, or there is
none. An object is put in one piece: others find the old one or the new one.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from platformdirs import user_cache_path

from latentmix.errors import (
    ClusterError,
    LatentmixError,
    MissingError,
    ParameterError,
    WriteError,
    needing,
)
from latentmix.storage.files import write_bytes

# What each kind of address is spoken to by.
PACKAGES: Final = {"s3": "s3fs", "gs": "gcsfs"}

# A server that takes longer for its first answer, or stays silent as long later, is not there.
SECONDS_TO_ANSWER: Final = 10

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://([^/]*)(.*)", re.DOTALL)


class StoredFile(NamedTuple):
    """A file: its address, its bytes, and what changes whenever its content does."""

    address: str
    size: int
    version: str | int


def is_remote(where: object) -> bool:
    """Say whether this is an address, and no path or name."""
    return isinstance(where, str) and _ADDRESS.fullmatch(where) is not None


def joined(folder: str, name: str) -> str:
    """Return what stands under a name in a local or remote folder."""
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else str(Path(folder) / name)


def find_remote(pattern: str) -> list[StoredFile]:
    """Return the objects that a pattern with ``*``, ``?`` or ``[]`` finds, in their order.

    Raises
    ------
    MissingError
        If the bucket or the right to read it is missing.
    ClusterError
        If the server does not answer.
    """
    with _one_error(pattern):
        found = _files(pattern).glob(pattern, detail=True)
    scheme = pattern.partition("://")[0]
    return [
        StoredFile(f"{scheme}://{name}", about["size"], _version(about))
        for name, about in sorted(found.items())
        if about["type"] == "file"
    ]


@contextmanager
def at_hand(where: str | Path) -> Iterator[str | Path]:
    """Yield the path of a local copy of an object, or whatever is no address as it is.

    The copy goes when the block ends; what is mapped by then stays readable. What is said of the
    copy meanwhile is said of the address.

    Raises
    ------
    MissingError, ClusterError
        As `find_remote`, or if there is no such object.
    WriteError
        If the disk of the user's cache folder has no room for it.
    """
    if not isinstance(where, str) or not is_remote(where):
        yield where
        return
    name = where.rpartition("/")[2]
    if not name:
        raise MissingError(
            f"{where} names no object. Expected one file; of many give a pattern to `predict`, as "
            "'s3://bucket/x/*.parquet'."
        )
    with _room_for_a_copy(where) as folder:
        copy = folder / name
        _fetch(where, copy)
        try:
            yield copy
        except LatentmixError as error:
            raise type(error)(str(error).replace(str(copy), where)) from error


def read_remote(pattern: str) -> dict[str, bytes]:
    """Return the content of each object that a pattern finds, by its address."""
    found = [file.address for file in find_remote(pattern)]
    with _one_error(pattern):
        contents = _files(pattern).cat(found) if found else {}
    scheme = pattern.partition("://")[0]
    return {f"{scheme}://{name}": content for name, content in contents.items()}


def is_there(address: str) -> bool:
    """Say whether there is an object of just this address."""
    with _one_error(address):
        return bool(_files(address).exists(address))


def write_anywhere(where: str, content: bytes) -> None:
    """Write a local file by a temporary one, or put an object: whole, or not at all.

    Raises
    ------
    WriteError
        If that cannot be done.
    ClusterError
        If the server does not answer.
    """
    if not is_remote(where):
        write_bytes(Path(where), content)
        return
    try:
        with _one_error(where):
            _files(where).pipe_file(where, content)
    except MissingError as error:
        raise WriteError(str(error)) from error


@cache
def _client(scheme: str) -> Any:
    """Return what speaks to the servers of a scheme; its settings are those of the environment."""
    package = PACKAGES.get(scheme)
    if package is None:
        raise ParameterError(
            f"{scheme}:// is no address that is read. Expected s3:// or gs://, or a path."
        )
    # Lists are asked for anew each time: others write there as well.
    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme == "s3":
        # s3fs tries again by itself.
        waits = {"connect_timeout": SECONDS_TO_ANSWER, "read_timeout": SECONDS_TO_ANSWER}
        options["config_kwargs"] = {**waits, "retries": {"max_attempts": 0}}
    with needing(f"{scheme}://", package, "latentmix[storage]" if scheme == "s3" else package):
        import fsspec  # noqa: PLC0415  # an extra

        return fsspec.filesystem(scheme, **options)


@cache
def _reached(scheme: str, bucket: str) -> Any:
    """Return what speaks to a server that has answered, about a bucket that is there."""
    from fsspec.asyn import sync  # noqa: PLC0415  # an extra

    files = _client(scheme)
    try:
        sync(files.loop, files._info, bucket, timeout=SECONDS_TO_ANSWER)
    except FileNotFoundError as error:
        raise MissingError(
            f"There is no bucket {scheme}://{bucket}. Expected one that is there; check its name, "
            "and the server in AWS_ENDPOINT_URL if it is not Amazon's."
        ) from error
    except PermissionError:
        pass  # Who may read its objects need not be told of the bucket.
    return files


def _files(address: str) -> Any:
    scheme, bucket, _ = _parts(address)
    if not re.fullmatch(r"[\w.-]+", bucket):
        raise ParameterError(f"{address} names no bucket. Expected {scheme}://BUCKET/NAME.")
    _client(scheme)
    return _reached(scheme, bucket)


def _parts(address: str) -> tuple[str, str, str]:
    found = _ADDRESS.fullmatch(address)
    assert found is not None, address
    return found[1].lower(), found[2], found[3]


def _version(about: dict[str, Any]) -> str:
    known = (about.get(name) for name in ("ETag", "etag", "LastModified", "mtime"))
    return str(next((each for each in known if each), about["size"])).strip('"')


def _fetch(address: str, copy: Path) -> None:
    """Copy an object to a local file, and see that it is all of one version of it."""
    with _one_error(address):
        files = _files(address)
        before = files.info(address)
        _check_room(address, before["size"], copy.parent)
        files.get_file(address, str(copy))
        after = files.info(address)
    size = copy.stat().st_size
    if _version(before) != _version(after) or size != before["size"]:
        raise ClusterError(
            f"{address} changed while it was read: {size:,} of {after['size']:,} bytes came. Read "
            "it again once nobody writes to it."
        )


def _check_room(address: str, n_bytes: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise WriteError(
            f"{address} has {n_bytes / 2**30:,.1f} GiB, and {folder.parent} has room for "
            f"{free / 2**30:,.1f}. Free some, or set XDG_CACHE_HOME to a folder on a larger disk."
        )


@contextmanager
def _room_for_a_copy(address: str) -> Iterator[Path]:
    """Yield a new folder in the user's cache folder: the system's temporary one may be memory."""
    root = user_cache_path("latentmix", appauthor=False)
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="fetched-", dir=root))
    except OSError as error:
        raise WriteError(
            f"{address} is read from a copy in {root}, which cannot be written: "
            f"{error.strerror or error}. Set XDG_CACHE_HOME to another folder."
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _one_error(address: str) -> Iterator[None]:
    """Say in one sentence what a server, or nobody, answered."""
    try:
        yield
    except LatentmixError:
        raise
    except FileNotFoundError as error:
        raise MissingError(f"{address} is not there. Check bucket and name.") from error
    except PermissionError as error:
        raise MissingError(
            f"{address} is not open to these credentials: {_first_line(error)}. Give others, or "
            "ask for the right."
        ) from error
    except Exception as error:  # of botocore, aiohttp, google.auth: whatever is installed
        if "Credentials" in type(error).__name__:
            raise MissingError(
                f"{address}: no credentials were found ({_first_line(error)}). Set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile, or for gs:// "
                "GOOGLE_APPLICATION_CREDENTIALS."
            ) from error
        raise ClusterError(
            f"{address}: the server does not answer as it should ({type(error).__name__}: "
            f"{_first_line(error)}). Check AWS_ENDPOINT_URL and the network, and try again."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0].rstrip(".")
