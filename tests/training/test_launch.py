"""A launched process that torchrun ends has its say first."""

import os
import signal
import socket

import pytest
from torch.distributed.rendezvous import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from recscale.training import launch


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launched process whose group is itself; a SIGTERM that it does not take fails the test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = {"TORCHELASTIC_RUN_ID": "run", "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    for name, word in {**words, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
        monkeypatch.setenv(name, word)


def not_taken(*_: object) -> None:
    pytest.fail("SIGTERM came through")


def test_a_process_that_is_told_to_end_says_why_whenever_it_is_told():
    before = signal.signal(signal.SIGTERM, not_taken)
    try:
        with (
            pytest.raises(ConnectionError, match="process 0: another process of this run was lost"),
            launch.joined(),
        ):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # its line is not out yet
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_lost_process_that_was_noticed_is_told_though_sigterm_follows():
    before = signal.signal(signal.SIGTERM, not_taken)
    try:
        with pytest.raises(ConnectionError, match="was lost"), launch.joined():
            raise RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer")
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_after_the_group_is_left_sigterm_is_what_it_was():
    before = signal.signal(signal.SIGTERM, not_taken)
    try:
        with launch.joined():
            pass
        assert signal.getsignal(signal.SIGTERM) is not_taken
    finally:
        signal.signal(signal.SIGTERM, before)


def test_processes_that_are_started_again_do_not_find_the_addresses_of_those_that_are_gone(
    monkeypatch: pytest.MonkeyPatch,
):
    kept = TCPStore("127.0.0.1", 0, is_master=True)  # torchrun's, through all its starts
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("MASTER_PORT", str(kept.port))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    launch.meeting_place()[0].set("address", "gone")
    assert launch.meeting_place()[0].check(["address"])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not launch.meeting_place()[0].check(["address"])
