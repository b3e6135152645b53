"""The packet filter of a cluster's network namespace: it keeps clusters on one engine apart.

The engine's network does not: its containers reach each other, and engines before Docker 28 route packets from other
hosts to ports that are published on 127.0.0.1. The filter is part of the namespace, thus the same on every engine, and
installed before the namespace has a bridge or a port (provisioning/toolbox/net makes those).
Not here: what guests may send to the outside.
"""

from __future__ import annotations

from typing import Final

from dayfly.addresses import is_loopback

_GUARD: Final = r"""
set -eu
callers=$1; shift
gateways=$(ip -4 route show default)
networks=$(ip -4 route show scope link)
rules() {
    echo '*filter'
    echo ':GUARD - [0:0]'
    echo '-A GUARD -i lo -j RETURN'
    echo "-A GUARD -i $BRIDGE -j RETURN"
    while read -r _ _ gateway _; do
        [ -z "$gateway" ] || echo "-A GUARD -s $gateway -j RETURN"
    done <<ROUTES
$gateways
ROUTES
    if [ "$callers" = any ]; then
        while read -r network _; do
            [ -z "$network" ] || echo "-A GUARD -s $network -p tcp -j REJECT --reject-with tcp-reset"
            [ -z "$network" ] || echo "-A GUARD -s $network -j REJECT"
        done <<ROUTES
$networks
ROUTES
    else
        echo '-A GUARD -p tcp -j REJECT --reject-with tcp-reset'
        echo '-A GUARD -j REJECT'
    fi
    echo '-A INPUT -m conntrack --ctstate NEW -j GUARD'
    echo '-A FORWARD -m conntrack --ctstate NEW -j GUARD'
    echo "-A FORWARD -i $BRIDGE ! -o $BRIDGE ! -s $SUBNET -m conntrack ! --ctstate ESTABLISHED,RELATED -j DROP"
    echo COMMIT
}
text=$(rules)
iptables-restore --wait --noflush <<RULES
$text
RULES
# An engine whose network has IPv6: nothing of a cluster is published there.
if [ -n "$(ip -6 address show scope global)" ]; then
    ip6tables-restore --wait --noflush <<RULES
*filter
-A INPUT ! -i lo -m conntrack --ctstate NEW -j REJECT
-A FORWARD -j REJECT
COMMIT
RULES
fi
exec "$@"
"""
"""Arguments: `host` or `any`, and the program that owns the namespace. Environment: the program's BRIDGE and SUBNET.

GUARD accepts connections from the engine's gateway, which is how the host's own appear, and from the cluster. With
`any`, it refuses those from the engine's own network only: the neighbours. Guests that claim an address that is not
theirs, the gateway's perhaps, send nothing."""


def guarded(program: tuple[str, ...], published_at: str) -> tuple[str, ...]:
    """`program`, started behind the filter. `published_at`: the host's address of the cluster's ports.

    Ports on a loopback address are for the host alone. An operator who publishes them on another address wants callers
    from other hosts.
    """
    callers = "host" if is_loopback(published_at) else "any"
    return ("/bin/sh", "-c", _GUARD, "guard", callers, *program)
