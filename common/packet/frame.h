#ifndef ROMULUS_COMMON_PACKET_FRAME_H_
#define ROMULUS_COMMON_PACKET_FRAME_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

// What a frame on a guest's network card is. Pure; reads no byte outside of what it is given, whatever the bytes are.
namespace romulus::packet {

// An IPv4 or IPv6 address; size 0 is none.
struct Address {
  uint8_t size = 0;  // 4 or 16.
  std::array<uint8_t, 16> bytes{};

  bool operator==(const Address&) const = default;
  template <typename H>
  friend H AbslHashValue(H state, const Address& address) {
    return H::combine(std::move(state), address.size, address.bytes);
  }
};
std::string ToString(const Address& address);
// Of 4 or 16 bytes; none of any other length.
Address AddressFrom(absl::string_view bytes);
absl::string_view BytesOf(const Address& address);

enum class Kind {
  kTcp,
  kUdp,
  kIcmp,       // ICMP and ICMPv6, but for neighbour discovery.
  kNeighbour,  // Of each host's own timers: ARP, IGMP; of ICMPv6 neighbour and router discovery and MLD.
  kFragment,   // Of an IP packet, the first one included.
  kIpOther,    // Any other protocol in IP, or one behind headers that are not walked (ESP, more than 8 extensions).
  kOther,      // Any other frame; also every frame with a VLAN tag.
  kMalformed,  // Cut short, or it contradicts itself.
};
absl::string_view ToString(Kind kind);

constexpr uint8_t kTcpFin = 0x01;
constexpr uint8_t kTcpSyn = 0x02;
constexpr uint8_t kTcpRst = 0x04;
constexpr uint8_t kTcpPsh = 0x08;
constexpr uint8_t kTcpAck = 0x10;
constexpr uint8_t kTcpUrg = 0x20;

struct TcpHeader {
  uint32_t sequence = 0;
  uint32_t acknowledgement = 0;  // Means something with kTcpAck only.
  uint8_t flags = 0;
  uint16_t window = 0;
  uint16_t checksum = 0;
  uint16_t urgent = 0;
  // Options, up to the first that is cut short or wrong: a receiver stops there, too.
  bool has_mss = false;
  uint16_t mss = 0;
  bool has_window_scale = false;
  uint8_t window_scale = 0;
  bool sack_permitted = false;
  bool has_timestamps = false;
  // Where in the frame SACK's edges stand, two for each block: at most 8, as 40 bytes of options have no room for more.
  uint8_t sack_edges = 0;
  std::array<uint16_t, 8> sack_edge_at{};

  bool has(uint8_t flag) const { return (flags & flag) != 0; }
};

// Offsets are in bytes from the frame's start.
struct Frame {
  Kind kind = Kind::kMalformed;
  uint16_t ether_type = 0;  // As in the Ethernet header; below 0x600 a length (802.3).
  // IP: where its header and what follows its headers start, and its end by its own length: padding is behind it.
  // Otherwise: of the whole frame.
  size_t network_at = 0;
  size_t transport_at = 0;
  size_t end = 0;
  // Of IP, and of ARP (sender and target) for IPv4. Otherwise none.
  Address source;
  Address destination;
  uint8_t protocol = 0;          // The last header that was walked: 6, 17, 1, 58...; of a fragment that of its packet.
  uint16_t fragment_offset = 0;  // In units of 8 bytes, with kFragment.
  bool more_fragments = false;
  // TCP and UDP.
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
  size_t payload_at = 0;  // TCP, UDP: behind their header. Payload ends at `end`.
  // ICMP and ICMPv6.
  uint8_t icmp_type = 0;
  uint16_t icmp_id = 0;  // Of an echo and its reply.
  TcpHeader tcp;         // With kTcp.

  size_t payload_size() const { return end - payload_at; }
};

// Walks Ethernet, IPv4 with options, IPv6 with extension headers, TCP with options, UDP, ICMP, ARP.
// The checksums are not looked at: a frame from a Xen vif may not have them yet (checksum.h).
Frame Parse(absl::string_view frame);

// The bytes behind the TCP, UDP header.
inline absl::string_view PayloadOf(const Frame& parsed, absl::string_view frame) {
  return frame.substr(parsed.payload_at, parsed.payload_size());
}

}  // namespace romulus::packet

#endif  // ROMULUS_COMMON_PACKET_FRAME_H_
