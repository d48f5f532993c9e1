"""The cables of one lab: three switches in a network namespace of its own, and the client's namespace.

    guest        10.80.0.0/24   alpha .1, beta .2 (dom0's bridge), the guest .10, the client .100
    replication  10.81.0.0/24   alpha .1, beta .2
    management   10.82.0.0/24   alpha .1, beta .2, the driver and the control plane .254
    (a driver domain's  10.83.0.0/24  is behind 10.80.0.20 on the guest network: lab/driver_domain.py)

The driver's process enters the switch's namespace, so that plain sockets (gRPC's too) reach the management network.
Everything is named after the lab, so labs don't meet, and deleting the two namespaces deletes it all.
"""

import ctypes
import os
import subprocess

NETWORKS = {"guest": "10.80.0", "replication": "10.81.0", "management": "10.82.0"}
HOST_INDEX = {"alpha": 1, "beta": 2}
GUEST_ADDRESS = "10.80.0.10"
CLIENT_ADDRESS = "10.80.0.100"
DRIVER_ADDRESS = "10.82.0.254"
DRIVER_GUEST_ADDRESS = "10.80.0.254"

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def address(host, network):
    return f"{NETWORKS[network]}.{HOST_INDEX[host]}"


def mac(host, network):
    """Fixed: a snapshot remembers its cards' addresses."""
    return f"52:54:00:80:{list(NETWORKS).index(network):02x}:{HOST_INDEX[host]:02x}"


def tap(host, network):
    return f"{host}-{network[:5]}"


def _ip(*arguments, check=True):
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if check and result.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {result.stderr.strip()}")


class Network:
    def __init__(self, lab_id):
        self.switch = f"romulus-{lab_id}"
        self.client = f"romulus-{lab_id}-client"

    def create(self):
        _ip("netns", "add", self.switch)
        _ip("netns", "add", self.client)
        for namespace in (self.switch, self.client):
            _ip("-n", namespace, "link", "set", "lo", "up")
        for network in NETWORKS:
            bridge = f"br-{network[:5]}"
            self._switch("link", "add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0",
                         "mcast_snooping", "0")
            self._switch("link", "set", bridge, "up")
            for host in HOST_INDEX:
                self._switch("tuntap", "add", "dev", tap(host, network), "mode", "tap")
                self._switch("link", "set", tap(host, network), "master", bridge)
                self._switch("link", "set", tap(host, network), "up")
        self._switch("addr", "add", f"{DRIVER_ADDRESS}/24", "dev", "br-manag")
        self._switch("link", "add", "client", "type", "veth", "peer", "name", "eth0", "netns", self.client)
        self._switch("link", "set", "client", "master", "br-guest")
        self._switch("link", "set", "client", "up")
        _ip("-n", self.client, "link", "set", "eth0", "address", "52:54:00:80:00:64", "up")
        _ip("-n", self.client, "addr", "add", f"{CLIENT_ADDRESS}/24", "dev", "eth0")

    def _switch(self, *arguments):
        _ip("-n", self.switch, *arguments)

    def enter(self):
        """Moves this thread, and every thread and process that it starts from now on, to the switch."""
        fd = os.open(f"/run/netns/{self.switch}", os.O_RDONLY)
        try:
            if _libc.setns(fd, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns {self.switch}")
        finally:
            os.close(fd)

    def in_client(self, command):
        """`command`, to be run in the client's namespace."""
        return ["nsenter", f"--net=/run/netns/{self.client}", *command]

    def join_guest_network(self, behind):
        """Gives the driver an address on the guest network, and a way to the networks {network: gateway} behind it."""
        self._switch("addr", "replace", f"{DRIVER_GUEST_ADDRESS}/24", "dev", "br-guest")
        for network, gateway in behind.items():
            self._switch("route", "replace", network, "via", gateway)

    def plug(self, host, network, plugged):
        """Pulls or plugs the cable at the switch's end. The host sees nothing of it: its packets just vanish."""
        if plugged:
            self._switch("link", "set", tap(host, network), "master", f"br-{network[:5]}")
        else:
            self._switch("link", "set", tap(host, network), "nomaster")

    def set_guest_mtu(self, mtu):
        """Of every cable and switch between the hosts' bridges and the client."""
        for device in (*(tap(host, "guest") for host in HOST_INDEX), "client"):
            self._switch("link", "set", device, "mtu", str(mtu))
        _ip("-n", self.client, "link", "set", "eth0", "mtu", str(mtu))

    def forget(self):
        """Lets switches and client forget who is where: to be called where the hosts go back to an earlier state, or
        the switch looks for the guest at the host that took it over in a time that has not been."""
        for network in NETWORKS:
            for host in HOST_INDEX:
                for state in ("down", "up"):
                    self._switch("link", "set", tap(host, network), state)
        _ip("-n", self.client, "neigh", "flush", "all")

    def delete(self):
        for namespace in (self.switch, self.client):
            _ip("netns", "del", namespace, check=False)
