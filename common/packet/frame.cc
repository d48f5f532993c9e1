#include "common/packet/frame.h"

#include <arpa/inet.h>

#include <algorithm>

namespace romulus::packet {
namespace {

constexpr uint16_t kEtherTypeIpv4 = 0x0800;
constexpr uint16_t kEtherTypeArp = 0x0806;
constexpr uint16_t kEtherTypeIpv6 = 0x86dd;
constexpr size_t kEthernetBytes = 14;

constexpr uint8_t kProtocolIcmp = 1;
constexpr uint8_t kProtocolIgmp = 2;
constexpr uint8_t kProtocolTcp = 6;
constexpr uint8_t kProtocolUdp = 17;
constexpr uint8_t kProtocolIcmpv6 = 58;
constexpr uint8_t kHopByHop = 0;
constexpr uint8_t kRouting = 43;
constexpr uint8_t kFragmentHeader = 44;
constexpr uint8_t kAuthentication = 51;
constexpr uint8_t kDestinationOptions = 60;
constexpr int kExtensionsMax = 8;

// Reads within bounds; the caller has checked them.
class Bytes {
 public:
  explicit Bytes(absl::string_view bytes) : bytes_(bytes) {}
  uint8_t U8(size_t at) const { return static_cast<uint8_t>(bytes_[at]); }
  uint16_t U16(size_t at) const { return static_cast<uint16_t>(U8(at) << 8 | U8(at + 1)); }
  uint32_t U32(size_t at) const { return static_cast<uint32_t>(U16(at)) << 16 | U16(at + 2); }
  Address AddressAt(size_t at, size_t size) const { return AddressFrom(bytes_.substr(at, size)); }

 private:
  absl::string_view bytes_;
};

void ParseTcpOptions(const Bytes& bytes, size_t at, size_t end, TcpHeader& tcp) {
  while (at < end) {
    const uint8_t kind = bytes.U8(at);
    if (kind == 0) return;
    if (kind == 1) {
      ++at;
      continue;
    }
    if (end - at < 2) return;
    const size_t length = bytes.U8(at + 1);
    if (length < 2 || length > end - at) return;
    if (kind == 2 && length == 4) {
      tcp.has_mss = true;
      tcp.mss = bytes.U16(at + 2);
    } else if (kind == 3 && length == 3) {
      tcp.has_window_scale = true;
      tcp.window_scale = bytes.U8(at + 2);
    } else if (kind == 4 && length == 2) {
      tcp.sack_permitted = true;
    } else if (kind == 5 && length >= 10 && (length - 2) % 8 == 0) {
      for (size_t edge = at + 2; edge < at + length && tcp.sack_edges < tcp.sack_edge_at.size(); edge += 4) {
        tcp.sack_edge_at[tcp.sack_edges++] = static_cast<uint16_t>(edge);
      }
    } else if (kind == 8 && length == 10) {
      tcp.has_timestamps = true;
    }
    at += length;
  }
}

Kind ParseTcp(const Bytes& bytes, Frame& frame) {
  if (frame.end - frame.transport_at < 20) return Kind::kMalformed;
  const size_t at = frame.transport_at;
  const size_t header = (bytes.U8(at + 12) >> 4) * 4;
  if (header < 20 || header > frame.end - at) return Kind::kMalformed;
  frame.source_port = bytes.U16(at);
  frame.destination_port = bytes.U16(at + 2);
  frame.tcp.sequence = bytes.U32(at + 4);
  frame.tcp.acknowledgement = bytes.U32(at + 8);
  frame.tcp.flags = bytes.U8(at + 13);
  frame.tcp.window = bytes.U16(at + 14);
  frame.tcp.checksum = bytes.U16(at + 16);
  frame.tcp.urgent = bytes.U16(at + 18);
  frame.payload_at = at + header;
  ParseTcpOptions(bytes, at + 20, at + header, frame.tcp);
  return Kind::kTcp;
}

Kind ParseUdp(const Bytes& bytes, Frame& frame) {
  if (frame.end - frame.transport_at < 8) return Kind::kMalformed;
  const size_t at = frame.transport_at;
  frame.source_port = bytes.U16(at);
  frame.destination_port = bytes.U16(at + 2);
  const size_t length = bytes.U16(at + 4);
  if (length < 8 || length > frame.end - at) return Kind::kMalformed;
  frame.payload_at = at + 8;
  frame.end = at + length;
  return Kind::kUdp;
}

Kind ParseIcmp(const Bytes& bytes, bool v6, Frame& frame) {
  const size_t size = frame.end - frame.transport_at;
  if (size < 4) return Kind::kMalformed;
  frame.icmp_type = bytes.U8(frame.transport_at);
  const bool echo =
      v6 ? frame.icmp_type == 128 || frame.icmp_type == 129 : frame.icmp_type == 8 || frame.icmp_type == 0;
  if (echo) {
    if (size < 8) return Kind::kMalformed;
    frame.icmp_id = bytes.U16(frame.transport_at + 4);
  }
  // MLD (130 to 132, 143), router and neighbour discovery, redirect (133 to 137).
  const bool neighbour = v6 && ((frame.icmp_type >= 130 && frame.icmp_type <= 137) || frame.icmp_type == 143);
  return neighbour ? Kind::kNeighbour : Kind::kIcmp;
}

Kind ParseTransport(const Bytes& bytes, bool v6, Frame& frame) {
  switch (frame.protocol) {
    case kProtocolTcp:
      return ParseTcp(bytes, frame);
    case kProtocolUdp:
      return ParseUdp(bytes, frame);
    case kProtocolIcmp:
      return v6 ? Kind::kIpOther : ParseIcmp(bytes, false, frame);
    case kProtocolIcmpv6:
      return v6 ? ParseIcmp(bytes, true, frame) : Kind::kIpOther;
    case kProtocolIgmp:
      return v6 ? Kind::kIpOther : Kind::kNeighbour;
    default:
      return Kind::kIpOther;
  }
}

Kind ParseIpv4(const Bytes& bytes, size_t size, Frame& frame) {
  const size_t at = frame.network_at;
  if (size - at < 20 || bytes.U8(at) >> 4 != 4) return Kind::kMalformed;
  const size_t header = (bytes.U8(at) & 0xf) * 4;
  const size_t total = bytes.U16(at + 2);
  if (header < 20 || total < header || total > size - at) return Kind::kMalformed;
  frame.transport_at = frame.payload_at = at + header;
  frame.end = at + total;
  frame.protocol = bytes.U8(at + 9);
  frame.source = bytes.AddressAt(at + 12, 4);
  frame.destination = bytes.AddressAt(at + 16, 4);
  const uint16_t fragment = bytes.U16(at + 6);
  frame.fragment_offset = fragment & 0x1fff;
  frame.more_fragments = (fragment & 0x2000) != 0;
  if (frame.fragment_offset != 0 || frame.more_fragments) return Kind::kFragment;
  return ParseTransport(bytes, false, frame);
}

Kind ParseIpv6(const Bytes& bytes, size_t size, Frame& frame) {
  const size_t at = frame.network_at;
  if (size - at < 40 || bytes.U8(at) >> 4 != 6) return Kind::kMalformed;
  const size_t length = bytes.U16(at + 4);
  if (length > size - at - 40) return Kind::kMalformed;
  frame.end = at + 40 + length;
  frame.source = bytes.AddressAt(at + 8, 16);
  frame.destination = bytes.AddressAt(at + 24, 16);
  uint8_t next = bytes.U8(at + 6);
  size_t header = at + 40;
  for (int walked = 0;; ++walked) {
    frame.transport_at = frame.payload_at = header;
    frame.protocol = next;
    const bool extension = next == kHopByHop || next == kRouting || next == kFragmentHeader ||
                           next == kAuthentication || next == kDestinationOptions;
    if (!extension) return ParseTransport(bytes, true, frame);
    if (walked == kExtensionsMax) return Kind::kIpOther;
    if (frame.end - header < 8) return Kind::kMalformed;
    const uint8_t after = bytes.U8(header);
    if (next == kFragmentHeader) {
      frame.fragment_offset = bytes.U16(header + 2) >> 3;
      frame.more_fragments = (bytes.U8(header + 3) & 1) != 0;
      frame.protocol = after;
      frame.transport_at = frame.payload_at = header + 8;
      return Kind::kFragment;
    }
    const size_t bytes_of_it =
        next == kAuthentication ? (bytes.U8(header + 1) + 2) * 4 : (bytes.U8(header + 1) + 1) * 8;
    if (bytes_of_it < 8 || bytes_of_it > frame.end - header) return Kind::kMalformed;
    header += bytes_of_it;
    next = after;
  }
}

Kind ParseArp(const Bytes& bytes, size_t size, Frame& frame) {
  const size_t at = frame.network_at;
  if (size - at < 8) return Kind::kMalformed;
  const bool of_ipv4 = bytes.U16(at + 2) == kEtherTypeIpv4 && bytes.U8(at + 4) == 6 && bytes.U8(at + 5) == 4;
  if (!of_ipv4) return Kind::kNeighbour;
  if (size - at < 28) return Kind::kMalformed;
  frame.source = bytes.AddressAt(at + 14, 4);
  frame.destination = bytes.AddressAt(at + 24, 4);
  frame.end = at + 28;
  return Kind::kNeighbour;
}

Kind ParseEthernet(const Bytes& bytes, size_t size, Frame& frame) {
  frame.end = size;
  if (size < kEthernetBytes) return Kind::kMalformed;
  frame.ether_type = bytes.U16(12);
  frame.network_at = frame.transport_at = frame.payload_at = kEthernetBytes;
  switch (frame.ether_type) {
    case kEtherTypeIpv4:
      return ParseIpv4(bytes, size, frame);
    case kEtherTypeIpv6:
      return ParseIpv6(bytes, size, frame);
    case kEtherTypeArp:
      return ParseArp(bytes, size, frame);
    default:
      return Kind::kOther;
  }
}

}  // namespace

std::string ToString(const Address& address) {
  if (address.size == 0) return "no address";
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(address.size == 4 ? AF_INET : AF_INET6, address.bytes.data(), text, sizeof(text));
  return text;
}

Address AddressFrom(absl::string_view bytes) {
  Address address;
  if (bytes.size() != 4 && bytes.size() != 16) return address;
  address.size = static_cast<uint8_t>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), address.bytes.begin());
  return address;
}

absl::string_view BytesOf(const Address& address) {
  return {reinterpret_cast<const char*>(address.bytes.data()), address.size};
}

absl::string_view ToString(Kind kind) {
  switch (kind) {
    case Kind::kTcp:
      return "TCP";
    case Kind::kUdp:
      return "UDP";
    case Kind::kIcmp:
      return "ICMP";
    case Kind::kNeighbour:
      return "neighbour discovery";
    case Kind::kFragment:
      return "IP fragment";
    case Kind::kIpOther:
      return "other IP";
    case Kind::kOther:
      return "other frame";
    case Kind::kMalformed:
      break;
  }
  return "malformed frame";
}

Frame Parse(absl::string_view frame) {
  Frame parsed;
  parsed.kind = ParseEthernet(Bytes(frame), frame.size(), parsed);
  if (parsed.kind == Kind::kMalformed) {
    // Of one that contradicts itself nothing is to be believed.
    const uint16_t ether_type = parsed.ether_type;
    parsed = Frame();
    parsed.ether_type = ether_type;
    parsed.end = frame.size();
  }
  return parsed;
}

}  // namespace romulus::packet
