#include "netbuf/guest_frame.h"

#include <cstring>
#include <utility>

namespace romulus {
namespace {

constexpr size_t kEthernetBytes = 14;
constexpr size_t kVlanTagBytes = 4;
constexpr size_t kVlanTagsMax = 2;
constexpr size_t kIpv4Bytes = 20;
constexpr size_t kIpv6Bytes = 40;
constexpr size_t kTcpBytes = 20;
constexpr size_t kTcpChecksumOffset = 16;
constexpr uint16_t kIpv4 = 0x0800;
constexpr uint16_t kIpv6 = 0x86dd;
constexpr uint16_t kVlan = 0x8100;
constexpr uint16_t kServiceVlan = 0x88a8;
constexpr uint8_t kTcp = 6;
// Least TCP payload per packet that makes sense of an MTU.
constexpr uint32_t kSegmentBytesMin = 8;

uint16_t Read16(const std::string& bytes, size_t at) {
  return static_cast<uint16_t>(static_cast<uint8_t>(bytes[at]) << 8 | static_cast<uint8_t>(bytes[at + 1]));
}

void Write16(std::string& bytes, size_t at, uint16_t value) {
  bytes[at] = static_cast<char>(value >> 8);
  bytes[at + 1] = static_cast<char>(value);
}

// Internet checksum (RFC 1071), in the order of this machine's bytes until the end: the sum does not mind (section 2B).
class Sum {
 public:
  void Add(const char* bytes, size_t count) {
    for (; count >= sizeof(uint32_t); bytes += sizeof(uint32_t), count -= sizeof(uint32_t)) {
      uint32_t word;
      memcpy(&word, bytes, sizeof(word));
      sum_ += word;
    }
    char rest[sizeof(uint32_t)] = {};
    memcpy(rest, bytes, count);
    uint32_t word;
    memcpy(&word, rest, sizeof(word));
    sum_ += word;
  }
  void Add16(uint16_t value) {
    const char bytes[] = {static_cast<char>(value >> 8), static_cast<char>(value)};
    Add(bytes, sizeof(bytes));
  }
  uint16_t Fold() const {
    uint64_t sum = sum_;
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    const uint16_t folded = static_cast<uint16_t>(sum);
    char bytes[sizeof(folded)];
    memcpy(bytes, &folded, sizeof(folded));
    return static_cast<uint16_t>(static_cast<uint8_t>(bytes[0]) << 8 | static_cast<uint8_t>(bytes[1]));
  }

 private:
  uint64_t sum_ = 0;
};

struct TcpLayout {
  uint8_t gso_type = 0;
  size_t ip = 0;
  size_t tcp = 0;
  size_t payload = 0;
};

// Of a frame whose IP packet ends with it.
std::optional<TcpLayout> FindTcp(const std::string& frame) {
  size_t at = kEthernetBytes;
  for (size_t tags = 0; tags < kVlanTagsMax && frame.size() >= at + kVlanTagBytes; ++tags) {
    const uint16_t type = Read16(frame, at - 2);
    if (type != kVlan && type != kServiceVlan) break;
    at += kVlanTagBytes;
  }
  if (frame.size() < at) return std::nullopt;
  const uint16_t type = Read16(frame, at - 2);
  TcpLayout layout{.ip = at};
  if (type == kIpv4 && frame.size() >= at + kIpv4Bytes) {
    const size_t header_bytes = (static_cast<uint8_t>(frame[at]) & 0xf) * 4;
    const bool fragment = (Read16(frame, at + 6) & 0x3fff) != 0;
    if (header_bytes < kIpv4Bytes || fragment || static_cast<uint8_t>(frame[at + 9]) != kTcp ||
        Read16(frame, at + 2) != frame.size() - at) {
      return std::nullopt;
    }
    layout.gso_type = OffloadHeader::kGsoTcp4;
    layout.tcp = at + header_bytes;
  } else if (type == kIpv6 && frame.size() >= at + kIpv6Bytes) {
    if (static_cast<uint8_t>(frame[at + 6]) != kTcp || Read16(frame, at + 4) != frame.size() - at - kIpv6Bytes) {
      return std::nullopt;
    }
    layout.gso_type = OffloadHeader::kGsoTcp6;
    layout.tcp = at + kIpv6Bytes;
  } else {
    return std::nullopt;
  }
  if (frame.size() < layout.tcp + kTcpBytes) return std::nullopt;
  const size_t tcp_bytes = (static_cast<uint8_t>(frame[layout.tcp + 12]) >> 4) * 4;
  layout.payload = layout.tcp + tcp_bytes;
  if (tcp_bytes < kTcpBytes || frame.size() <= layout.payload) return std::nullopt;
  return layout;
}

Sum PseudoHeader(const std::string& frame, const TcpLayout& layout) {
  Sum sum;
  if (layout.gso_type == OffloadHeader::kGsoTcp4) {
    sum.Add(frame.data() + layout.ip + 12, 8);
  } else {
    sum.Add(frame.data() + layout.ip + 8, 32);
  }
  sum.Add16(kTcp);
  sum.Add16(static_cast<uint16_t>(frame.size() - layout.tcp));
  return sum;
}

}  // namespace

std::optional<std::string> ToContents(GuestFrame frame) {
  if (!frame.checksum_partial()) return std::move(frame.contents);
  const size_t start = frame.offload.checksum_start;
  const size_t field = start + frame.offload.checksum_offset;
  if (start >= frame.contents.size() || field + sizeof(uint16_t) > frame.contents.size()) return std::nullopt;
  Sum sum;
  sum.Add(frame.contents.data() + start, frame.contents.size() - start);
  const uint16_t checksum = ~sum.Fold();
  // UDP says "none" with a 0; for TCP both zeros are the same.
  Write16(frame.contents, field, checksum == 0 ? 0xffff : checksum);
  return std::move(frame.contents);
}

std::optional<GuestFrame> ToGuestFrame(std::string contents, uint32_t mtu) {
  if (contents.size() < kEthernetBytes) return std::nullopt;
  if (contents.size() <= mtu + kEthernetBytes) return GuestFrame{.offload = {}, .contents = std::move(contents)};
  const std::optional<TcpLayout> layout = FindTcp(contents);
  if (!layout.has_value()) {
    // A full packet with its VLAN tags.
    if (contents.size() > mtu + kEthernetBytes + kVlanTagsMax * kVlanTagBytes) return std::nullopt;
    return GuestFrame{.offload = {}, .contents = std::move(contents)};
  }
  if (mtu < layout->payload - layout->ip + kSegmentBytesMin) return std::nullopt;
  const size_t packet_payload = mtu - (layout->payload - layout->ip);
  if (contents.size() - layout->payload <= packet_payload) return GuestFrame{{}, std::move(contents)};
  Sum sum = PseudoHeader(contents, *layout);
  const uint16_t pseudo_header = sum.Fold();
  sum.Add(contents.data() + layout->tcp, contents.size() - layout->tcp);
  if (sum.Fold() != 0xffff) return std::nullopt;
  Write16(contents, layout->tcp + kTcpChecksumOffset, pseudo_header);
  const OffloadHeader offload{.flags = OffloadHeader::kNeedsChecksum,
                              .gso_type = layout->gso_type,
                              .header_bytes = static_cast<uint16_t>(layout->payload),
                              .gso_bytes = static_cast<uint16_t>(packet_payload),
                              .checksum_start = static_cast<uint16_t>(layout->tcp),
                              .checksum_offset = kTcpChecksumOffset};
  return GuestFrame{.offload = offload, .contents = std::move(contents)};
}

}  // namespace romulus
