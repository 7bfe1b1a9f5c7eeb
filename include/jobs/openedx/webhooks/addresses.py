"""Which addresses webhooks may be sent to.

The target is configuration, but a name in DNS is somebody else's: it may lead, now or a moment later, to the machine itself, to the cloud's
metadata service or into the cluster. So a name is resolved here, every address is looked at, and the connection goes to the very address
that was looked at. Redirects are never followed, proxies of the environment never used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import httpx

NAT64 = ipaddress.ip_network("64:ff9b::/96")
# IPv4 addresses in two old forms and translation within a site; Python calls some of them global
NEVER = tuple(ipaddress.ip_network(text) for text in ("::/96", "64:ff9b:1::/48"))
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class BlockedAddressError(Exception):
    """The target's name leads to an address that webhooks are not sent to."""


def is_public(address: IPAddress) -> bool:
    """Whether an address belongs to the internet at large; one that only wraps an IPv4 address is what it wraps."""
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in NAT64:
            wrapped = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(wrapped)
    return address.is_global and not address.is_multicast and not any(address in network for network in NEVER)


async def addresses_of(host: str, port: int) -> list[IPAddress]:
    """The addresses of a name, in the resolver's order. Raises ``httpx.ConnectError`` when it has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpx.ConnectError(f"{host}: {error}") from error
    return [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]


class CheckedTransport(httpx.AsyncHTTPTransport):
    """Connects to the addresses it has checked, in turn until one answers; certificates are still those of the name.

    ``public_only`` refuses a name all of whose addresses, or one of whose addresses, is not public: a name that leads both ways is no mistake.
    """

    def __init__(self, *, public_only: bool, limits: httpx.Limits) -> None:
        super().__init__(limits=limits)
        self._public_only = public_only

    async def checked_addresses(self, url: httpx.URL) -> list[IPAddress]:
        """Where a request to ``url`` may connect to. Raises ``BlockedAddressError``."""
        addresses = await addresses_of(url.host, url.port or {"http": 80, "https": 443}[url.scheme])
        blocked = [str(address) for address in addresses if not is_public(address)]
        if self._public_only and blocked:
            raise BlockedAddressError(f"{url.host} leads to {', '.join(blocked)}; allowed: addresses of the internet, not of this machine, network or cloud")
        return addresses

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends the request. Raises ``BlockedAddressError`` before any connection is made."""
        addresses = await self.checked_addresses(request.url)
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}
        failure: httpx.ConnectError | httpx.ConnectTimeout | None = None
        for address in addresses:
            request.url = request.url.copy_with(host=str(address))
            try:
                return await super().handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure or httpx.ConnectError(f"{request.url.host}: no address")
