"""Whose address a client has, and whose page a request comes from."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitik_dagster.api.browser import client_address, is_own_origin, origin_of
from minitik_dagster.settings import Settings

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
ADDRESSES = st.ip_addresses().map(str)


@given(peer=st.ip_addresses(v=4).map(str), forwarded=st.text() | st.lists(ADDRESSES).map(",".join))
def test_without_a_trusted_proxy_the_header_means_nothing(peer: str, forwarded: str) -> None:
    assert client_address(peer, forwarded, ()) == peer


@given(
    made_up=st.lists(st.text(alphabet="0123456789abcdef.:, []x", max_size=30), max_size=4),
    client=st.ip_addresses(v=4, network="203.0.113.0/24").map(str),
    proxies=st.lists(st.ip_addresses(v=4, network="10.0.0.0/8").map(str), max_size=3),
)
def test_what_a_client_makes_up_stands_before_what_the_proxy_saw(
    made_up: list[str], client: str, proxies: list[str]
) -> None:
    """The last entry that is no proxy of ours is the client, whatever stands to its left."""
    forwarded = ",".join([*made_up, client, *proxies])
    assert client_address("10.0.0.1", forwarded, PROXIES) == client


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "garbage", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "[2001:db8:1:2::3]:80", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3::4", "", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "", "203.0.113.7"),
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("", "203.0.113.7", "unknown"),
    ],
)
def test_forms_of_addresses(peer: str, forwarded: str, client: str) -> None:
    """Ports, brackets and mapped addresses; an IPv6 client is its /64."""
    assert client_address(peer, forwarded, PROXIES) == client


@given(ADDRESSES)
def test_every_address_is_told_as_one_client(address: str) -> None:
    told = client_address(address, "", ())
    assert ip_address(address) in ip_network(told) or ip_address(address).version == 6


@pytest.mark.parametrize("url", ["https://app.example.test", "http://127.0.0.1:8000"])
def test_only_the_same_scheme_host_and_port_is_our_own_origin(url: str) -> None:
    settings = Settings(nextauth_url=url)
    assert is_own_origin(url, settings)
    assert is_own_origin(url.upper().replace("HTTP", "http"), settings)
    others = (
        None, "", "null", url + ".evil.example", url + "/", url + "/x", url + "?", url + "#",
        url + ":1", url.replace("://", "://x@"), " " + url, url + "\\", "//" + url,
        url.replace("http", "ftp"), url.replace("https", "http") + ":443", "https://evil.example",
    )  # fmt: skip
    for other in others:
        assert not is_own_origin(other, settings), other


def test_a_default_port_may_be_written_out() -> None:
    assert origin_of("https://a.test:443") == origin_of("https://a.test")
    assert origin_of("http://a.test:80") == origin_of("http://a.test")


@given(st.text())
def test_no_text_at_all_breaks_the_comparison(header: str) -> None:
    assert is_own_origin(header, Settings(nextauth_url="https://app.example.test")) in {True, False}
    assert is_own_origin(header + "@app.example.test", Settings()) is False
