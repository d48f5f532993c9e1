"""Datagrams that a host's kernel dropped in the queue of a guest's vif, on their way to the guest: counted by the
kernel's own trace, since nothing else counts what a device loses while its queue is exchanged (netbuf/README.md)."""

_TRACE = "/sys/kernel/tracing"
_DATAGRAM = 14 + 20 + 8 + 40  # a question of the ledger's client: Ethernet, IPv4, UDP, protocol.h's Message


class VifDrops:
    """Counts from its creation on."""

    def __init__(self, host, vif):
        self._host = host
        # Each packet that is handed to the vif, and each packet of any device that a queue refused: one that follows the
        # other with the same address is the same packet. (All of the vif's, not only the datagrams: the memory of a
        # datagram that was delivered is the next packet's at once, and that one may be refused.)
        host.sh(f"""
            test -e {_TRACE}/trace || mount -t tracefs tracefs {_TRACE}; cd {_TRACE} &&
            reason=$(sed -n 's/.*{{ \\([0-9]*\\), "QDISC_DROP" }}.*/\\1/p' events/skb/kfree_skb/format) &&
            echo 16384 >buffer_size_kb &&
            echo 'name == "{vif}"' >events/net/net_dev_queue/filter &&
            echo "reason == $reason" >events/skb/kfree_skb/filter &&
            echo >trace && echo 1 >events/net/net_dev_queue/enable && echo 1 >events/skb/kfree_skb/enable""")

    def count(self):
        """How many were dropped so far."""
        lines, dropped, kept, written = map(int, self._host.out(f"""awk '
            {{ address = ""; for (i = 1; i <= NF; ++i) if ($i ~ /^skbaddr=/) address = $i }}
            / net_dev_queue: / {{ last = / len={_DATAGRAM}$/ ? address : ""; seen += last != "" }}
            / kfree_skb: / {{ dropped += address == last; last = "" }}
            END {{ print seen + 0, dropped + 0 }}' {_TRACE}/trace; sed -n \
            's,.*entries-in-buffer/entries-written: \\([0-9]*\\)/\\([0-9]*\\) .*,\\1 \\2,p' {_TRACE}/trace""").split())
        if kept != written or lines == 0:
            raise RuntimeError(f"the kernel's trace is not whole: {kept} of {written} entries, {lines} datagrams")
        return dropped
