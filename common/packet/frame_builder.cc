#include "common/packet/frame_builder.h"

#include <arpa/inet.h>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/base/log.h"
#include "common/packet/checksum.h"

namespace romulus::packet {
namespace {

// Independent of checksum.cc, which is tested against it.
uint16_t InternetChecksum(absl::string_view bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) sum += static_cast<uint8_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum >> 16) + (sum & 0xffff);
  return static_cast<uint16_t>(~sum);
}

void Put16(std::string& bytes, size_t at, uint16_t value) { bytes.replace(at, 2, BigEndian16(value)); }

std::string PseudoHeader(const Address& source, const Address& destination, uint8_t protocol, size_t size) {
  return absl::StrCat(BytesOf(source), BytesOf(destination), BigEndian16(protocol),
                      BigEndian16(static_cast<uint16_t>(size)));
}

std::string Ipv4(const Address& source, const Address& destination, uint8_t protocol, uint16_t id, uint16_t fragment,
                 absl::string_view payload) {
  std::string header =
      absl::StrCat(std::string({'\x45', '\0'}), BigEndian16(static_cast<uint16_t>(20 + payload.size())),
                   BigEndian16(id), BigEndian16(fragment), std::string(1, '\x40'),
                   std::string(1, static_cast<char>(protocol)), BigEndian16(0), BytesOf(source), BytesOf(destination));
  Put16(header, 10, InternetChecksum(header));
  return EthernetFrame(0x0800, absl::StrCat(header, payload));
}

std::string Ipv6(const Address& source, const Address& destination, uint8_t next, absl::string_view payload) {
  return EthernetFrame(0x86dd, absl::StrCat(BigEndian32(0x60000000), BigEndian16(static_cast<uint16_t>(payload.size())),
                                            std::string(1, static_cast<char>(next)), std::string(1, '\x40'),
                                            BytesOf(source), BytesOf(destination), payload));
}

}  // namespace

Address ParseAddress(const std::string& text) {
  char bytes[16];
  if (inet_pton(AF_INET, text.c_str(), bytes) == 1) return AddressFrom({bytes, 4});
  ROMULUS_CHECK(inet_pton(AF_INET6, text.c_str(), bytes) == 1);
  return AddressFrom({bytes, 16});
}

std::string BigEndian16(uint16_t value) { return {static_cast<char>(value >> 8), static_cast<char>(value)}; }

std::string BigEndian32(uint32_t value) {
  return absl::StrCat(BigEndian16(static_cast<uint16_t>(value >> 16)), BigEndian16(static_cast<uint16_t>(value)));
}

std::string EthernetFrame(uint16_t ether_type, absl::string_view payload) {
  return absl::StrCat(std::string("\x52\x54\0\0\0\x01", 6), std::string("\x52\x54\0\0\0\x02", 6),
                      BigEndian16(ether_type), payload);
}

std::string IpFrame(const Address& source, const Address& destination, uint8_t protocol, absl::string_view payload) {
  if (source.size == 4) return Ipv4(source, destination, protocol, 1, 0x4000, payload);
  return Ipv6(source, destination, protocol, payload);
}

std::string FragmentFrame(const Address& source, const Address& destination, uint8_t protocol, uint16_t id,
                          uint16_t offset, bool more, absl::string_view payload) {
  if (source.size == 4) {
    return Ipv4(source, destination, protocol, id, static_cast<uint16_t>(offset | (more ? 0x2000 : 0)), payload);
  }
  const std::string header =
      absl::StrCat(std::string(1, static_cast<char>(protocol)), std::string(1, '\0'),
                   BigEndian16(static_cast<uint16_t>(offset << 3 | (more ? 1 : 0))), BigEndian32(id));
  return Ipv6(source, destination, 44, absl::StrCat(header, payload));
}

std::string TcpFrame(const TcpSegment& segment) {
  const std::string options = absl::StrCat(std::string((4 - segment.options.size() % 4) % 4, '\x01'), segment.options);
  ROMULUS_CHECK(options.size() <= 40);
  std::string tcp = absl::StrCat(BigEndian16(segment.source_port), BigEndian16(segment.destination_port),
                                 BigEndian32(segment.sequence), BigEndian32(segment.acknowledgement),
                                 std::string(1, static_cast<char>((5 + options.size() / 4) << 4)),
                                 std::string(1, static_cast<char>(segment.flags)), BigEndian16(segment.window),
                                 BigEndian16(0), BigEndian16(0), options, segment.payload);
  Put16(tcp, 16, InternetChecksum(absl::StrCat(PseudoHeader(segment.source, segment.destination, 6, tcp.size()), tcp)));
  return IpFrame(segment.source, segment.destination, 6, tcp);
}

std::string SackOption(const std::vector<std::pair<uint32_t, uint32_t>>& blocks) {
  std::string option = {'\x05', static_cast<char>(2 + 8 * blocks.size())};
  for (const auto& [left, right] : blocks) absl::StrAppend(&option, BigEndian32(left), BigEndian32(right));
  return option;
}

std::string SynOptions(uint16_t mss, uint8_t window_scale) {
  return absl::StrCat("\x02\x04", BigEndian16(mss), "\x04\x02", "\x03\x03",
                      std::string(1, static_cast<char>(window_scale)));
}

std::string UdpFrame(const Address& source, uint16_t source_port, const Address& destination, uint16_t destination_port,
                     absl::string_view payload) {
  std::string udp = absl::StrCat(BigEndian16(source_port), BigEndian16(destination_port),
                                 BigEndian16(static_cast<uint16_t>(8 + payload.size())), BigEndian16(0), payload);
  const uint16_t sum = InternetChecksum(absl::StrCat(PseudoHeader(source, destination, 17, udp.size()), udp));
  Put16(udp, 6, sum == 0 ? 0xffff : sum);
  return IpFrame(source, destination, 17, udp);
}

std::string EchoFrame(const Address& source, const Address& destination, bool reply, uint16_t id,
                      absl::string_view payload) {
  const bool v6 = source.size == 16;
  const char type = static_cast<char>(v6 ? (reply ? 129 : 128) : (reply ? 0 : 8));
  std::string icmp = absl::StrCat(std::string(1, type), std::string(1, '\0'), BigEndian16(0), BigEndian16(id),
                                  BigEndian16(1), payload);
  const std::string pseudo = v6 ? PseudoHeader(source, destination, 58, icmp.size()) : "";
  Put16(icmp, 2, InternetChecksum(absl::StrCat(pseudo, icmp)));
  return IpFrame(source, destination, v6 ? 58 : 1, icmp);
}

std::string ArpRequest(const Address& sender, const Address& target) {
  return EthernetFrame(0x0806, absl::StrCat(BigEndian16(1), BigEndian16(0x0800), "\x06\x04", BigEndian16(1),
                                            std::string("\x52\x54\0\0\0\x02", 6), BytesOf(sender), std::string(6, '\0'),
                                            BytesOf(target)));
}

}  // namespace romulus::packet
