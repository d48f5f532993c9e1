#ifndef ROMULUS_COMMON_PACKET_FRAME_BUILDER_H_
#define ROMULUS_COMMON_PACKET_FRAME_BUILDER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/packet/frame.h"

// Frames for tests, with right lengths and checksums.
namespace romulus::packet {

// "10.0.0.1", "fd00::1".
Address ParseAddress(const std::string& text);

struct TcpSegment {
  Address source;
  Address destination;
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
  uint32_t sequence = 0;
  uint32_t acknowledgement = 0;
  uint8_t flags = kTcpAck;
  uint16_t window = 1000;
  std::string options;  // Padded to words with NOPs in front of it.
  std::string payload;
};
std::string TcpFrame(const TcpSegment& segment);
std::string SackOption(const std::vector<std::pair<uint32_t, uint32_t>>& blocks);
// MSS, SACK permitted, window scale.
std::string SynOptions(uint16_t mss = 1460, uint8_t window_scale = 7);

std::string UdpFrame(const Address& source, uint16_t source_port, const Address& destination, uint16_t destination_port,
                     absl::string_view payload);
// Any protocol in IPv4 or IPv6, by the addresses.
std::string IpFrame(const Address& source, const Address& destination, uint8_t protocol, absl::string_view payload);
// `offset` in units of 8 bytes.
std::string FragmentFrame(const Address& source, const Address& destination, uint8_t protocol, uint16_t id,
                          uint16_t offset, bool more, absl::string_view payload);
std::string EchoFrame(const Address& source, const Address& destination, bool reply, uint16_t id,
                      absl::string_view payload);
std::string ArpRequest(const Address& sender, const Address& target);
std::string EthernetFrame(uint16_t ether_type, absl::string_view payload);

std::string BigEndian16(uint16_t value);
std::string BigEndian32(uint32_t value);

}  // namespace romulus::packet

#endif  // ROMULUS_COMMON_PACKET_FRAME_BUILDER_H_
