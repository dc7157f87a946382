"""Environment variables with which the hub cannot be reached, or nothing can be kept: named at
once, in one line, instead of a library's words after a minute of tries.

A model that is in the cache already is opened from there whatever they say.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from engine.errors import CannotLoad, Remedy
from engine.events import LoadOptions
from engine.system.library_errors import HubTrouble, hub_trouble

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_CACHES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
"""In the order in which huggingface_hub looks at them."""
_NUMBERS = ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_ANSWERS = (
    HubTrouble.GATED,
    HubTrouble.NO_SUCH_MODEL,
    HubTrouble.NO_SUCH_REVISION,
    HubTrouble.DISABLED,
)
"""What only a hub that was reached can say."""


def refuse_unusable_environment(options: LoadOptions) -> None:
    """Raise CannotLoad, naming the variable, where a model that is not in the cache could not be
    downloaded. Connects to nothing, and imports no library of the hub's."""
    if not _may_be_cached(options):
        _refuse(options)


@contextlib.contextmanager
def naming_the_environment(options: LoadOptions) -> Iterator[None]:
    """While the hub is asked: if that fails, say which variable is at fault, if one is.

    Raises CannotLoad then, else what was raised.
    """
    try:
        yield
    except CannotLoad:
        raise
    except Exception as error:
        if hub_trouble(error) in _ANSWERS:
            raise
        _refuse(options, error)
        if isinstance(error, PermissionError) and error.filename:
            words = f"{error.filename}: the cache cannot be written to; choose another folder"
            raise CannotLoad(words, Remedy.OTHER_CACHE) from error
        raise


def _refuse(options: LoadOptions, cause: Exception | None = None) -> None:
    fault = _fault_of_cache(options)
    if fault is not None:
        raise CannotLoad(fault, Remedy.OTHER_CACHE) from cause
    fault = None if _is_offline() else _fault_of_connection()
    if fault is not None:
        raise CannotLoad(fault) from cause


def _is_offline() -> bool:
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in _OFFLINE)


def _cache(options: LoadOptions) -> tuple[str, Path]:
    """The variable or flag that names the cache of models, and its folder."""
    if options.cache_dir:
        return "the cache's folder", Path(options.cache_dir)
    for name in _CACHES:
        value = os.environ.get(name)
        if value:
            below = {"HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}.get(name, "")
            return name, Path(os.path.expanduser(os.path.expandvars(value))) / below  # noqa: PTH111
    return "HOME", Path(os.path.expanduser("~/.cache/huggingface/hub"))  # noqa: PTH111


def cache_folder() -> Path:
    """The folder of downloaded models that the environment names.

    Raises FileNotFoundError where it names none and no home folder is known.
    """
    folder = _cache(LoadOptions(model=""))[1]
    if str(folder).startswith("~"):
        raise FileNotFoundError(errno.ENOENT, "no home folder is known; set HOME or HF_HOME")
    return folder


def _may_be_cached(options: LoadOptions) -> bool:
    folder = _cache(options)[1] / f"models--{options.model.replace('/', '--')}"
    try:
        return folder.is_dir()
    except OSError:
        return True  # opening it will report what is wrong


def _fault_of_cache(options: LoadOptions) -> str | None:
    name, folder = _cache(options)
    if str(folder).startswith("~"):
        return (
            "no home folder is known, so there is no place for downloads; set HF_HOME, or choose "
            "another folder for the cache"
        )
    with contextlib.suppress(OSError):
        for path in (folder, *folder.parents):
            if path.exists():
                if path.is_dir():
                    return None
                return f"{name}: {path} is a file, not a folder for downloads; name another folder"
    return None


def _fault_of_connection() -> str | None:
    endpoint = os.environ.get("HF_ENDPOINT")
    if endpoint is not None and not _is_address(endpoint, ("http", "https")):
        example = "" if "://" in endpoint or not endpoint else f", such as https://{endpoint}"
        return (
            f"HF_ENDPOINT={endpoint} is not the address of a hub; write it with https://{example}"
        )
    return _fault_of_certificates() or _fault_of_proxies() or _fault_of_values()


def _fault_of_certificates() -> str | None:
    file = os.environ.get("SSL_CERT_FILE")
    if not file:
        return None
    try:
        ssl.create_default_context(cafile=file)
    except FileNotFoundError:
        reason = "is not there"
    except ssl.SSLError:
        reason = "holds no certificates"
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    else:
        return None
    return f"SSL_CERT_FILE: {file} {reason}; unset the variable, or name a file of certificates"


def _fault_of_proxies() -> str | None:
    for kind, address in getproxies_environment().items():
        if kind in ("http", "https", "all") and address:
            whole = address if "://" in address else f"http://{address}"
            if not _is_address(whole, _PROXY_SCHEMES):
                variable = next(
                    name
                    for name in (f"{kind}_proxy", f"{kind.upper()}_PROXY")
                    if os.environ.get(name)
                )
                # Not the address: it may hold a password.
                return (
                    f"{variable} is not the address of a proxy; write it as http://HOST:PORT, "
                    "or unset the variable"
                )
    return None


def _fault_of_values() -> str | None:
    for name in _NUMBERS:
        value = os.environ.get(name, "")
        if value and not re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
            return f"{name}={value} is not a number of seconds"
    for name in _TOKENS:
        if not re.fullmatch(r"[\x20-\x7e]*", os.environ.get(name, "").strip()):
            return f"{name} has characters that no token has; set it again, or unset it"
    return None


def _is_address(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text.strip())
        return parts.scheme.lower() in schemes and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is none, brackets that do not close
        return False
