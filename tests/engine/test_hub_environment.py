"""Variables with which the hub cannot be reached are named, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import CannotLoad
from engine.events import LoadOptions
from engine.models.checkpoints import local_checkpoint
from engine.models.hub_environment import naming_the_environment

MODEL = LoadOptions(model="owner/model")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HF_ENDPOINT", "mirror.example", "such as https://mirror.example"),
        ("HF_ENDPOINT", "https://", "not the address of a hub"),
        ("HF_ENDPOINT", "ftp://a.b", "not the address of a hub"),
        ("HF_ENDPOINT", "http://a:port", "not the address of a hub"),
        ("SSL_CERT_FILE", "/nowhere.pem", "/nowhere.pem is not there"),
        ("SSL_CERT_FILE", __file__, "holds no certificates"),
        ("SSL_CERT_FILE", "/", "cannot be read"),
        ("HTTPS_PROXY", "ftp://secret@host:1", "not the address of a proxy"),
        ("https_proxy", "http://host:port", "not the address of a proxy"),
        ("ALL_PROXY", "http://", "not the address of a proxy"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "soon", "not a number of seconds"),
        ("HF_TOKEN", "hf_ü", "characters that no token has"),
        ("HF_HOME", __file__, "is a file"),
        ("HF_HUB_CACHE", f"{__file__}/below", "is a file"),
    ],
)
def test_it_is_named(name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(CannotLoad, match=f"{name}") as refused:
        local_checkpoint(MODEL)
    assert says in str(refused.value) and "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_ENDPOINT", "https://mirror.example/hf"),
        ("HF_ENDPOINT", "http://127.0.0.1:8080"),
        ("HTTPS_PROXY", "proxy.example:3128"),
        ("all_proxy", "socks5h://user:pass@127.0.0.1:9"),
        ("no_proxy", "*.example,10.0.0.0/8"),
        ("HF_TOKEN", "hf_abc\n"),
        ("REQUESTS_CA_BUNDLE", "/nowhere.pem"),  # the hub's library does not read it
    ],
)
def test_what_may_work(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert local_checkpoint(MODEL) is None


def test_what_is_cached_or_asked_offline_needs_no_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "mirror.example")
    with monkeypatch.context() as offline:
        offline.setenv("HF_HUB_OFFLINE", "1")
        assert local_checkpoint(MODEL) is None
    (tmp_path / "hub" / "hub" / "models--owner--model").mkdir(parents=True)
    assert local_checkpoint(MODEL) is None
    with pytest.raises(CannotLoad, match="HF_ENDPOINT"), naming_the_environment(MODEL):
        raise OSError("something of a library")


def test_other_failures_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="odd"), naming_the_environment(MODEL):
        raise OSError("odd")
    refused = PermissionError(13, "Permission denied", str(tmp_path / "hub"))
    with pytest.raises(CannotLoad, match="cannot be written to"), naming_the_environment(MODEL):
        raise refused
