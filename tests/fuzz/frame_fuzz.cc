// Any bytes as a frame: what the parser says of it lies within it, and a change of its TCP numbers changes what it
// names and nothing else, keeps a checksum as right or wrong as it was, and can be taken back.
// Input: one byte (how the checksum is), four each of what to add to both numbers, then the frame.
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/base/log.h"
#include "common/packet/checksum.h"
#include "common/packet/connection.h"
#include "common/packet/frame.h"
#include "common/packet/frame_builder.h"
#include "tests/fuzz/seeds.h"

namespace romulus {

std::vector<std::string> FuzzSeeds() {
  const packet::Address guest = packet::ParseAddress("10.0.0.2");
  const packet::Address peer = packet::ParseAddress("10.0.0.9");
  const packet::Address guest6 = packet::ParseAddress("fd00::2");
  const packet::Address peer6 = packet::ParseAddress("fd00::9");
  const auto tcp = [](packet::Address from, packet::Address to, std::string options) {
    return packet::TcpFrame({.source = from,
                             .destination = to,
                             .source_port = 80,
                             .destination_port = 51000,
                             .sequence = 0xfffffff0,
                             .acknowledgement = 7,
                             .options = std::move(options),
                             .payload = "data"});
  };
  std::vector<std::string> seeds;
  for (const std::string& frame :
       {tcp(guest, peer, packet::SynOptions()), tcp(guest6, peer6, packet::SackOption({{1, 2}, {3, 4}})),
        tcp(guest, peer, "\x01" + packet::SackOption({{1, 2}}) + "\x01\x01\x01\x01\x01"),
        packet::UdpFrame(guest, 1, peer, 2, "datagram"), packet::EchoFrame(guest6, peer6, true, 3, "echo"),
        packet::FragmentFrame(guest6, peer6, 6, 1, 0, true, "12345678"), packet::ArpRequest(guest, peer),
        packet::IpFrame(guest6, peer6, 60, std::string("\x06\0\0\0\0\0\0\0", 8) + tcp(guest6, peer6, "").substr(54))}) {
    seeds.push_back(std::string("\1\0\1\2\3\xff\0\0\5", 9) + frame);
  }
  return seeds;
}

}  // namespace romulus

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace romulus::packet;  // NOLINT
  if (size < 9) return 0;
  const Checksum checksum = static_cast<Checksum>(data[0] % 3);
  TcpShift shift;
  memcpy(&shift.sequence, data + 1, 4);
  memcpy(&shift.acknowledgement, data + 5, 4);
  // Own memory, so that the sanitizer sees a read past it.
  const std::vector<char> bytes(data + 9, data + size);
  const absl::string_view view(bytes.data(), bytes.size());
  const Frame frame = Parse(view);

  ROMULUS_CHECK(frame.network_at <= frame.transport_at && frame.transport_at <= frame.payload_at);
  ROMULUS_CHECK(frame.payload_at <= frame.end && frame.end <= bytes.size());
  for (size_t i = 0; i < frame.tcp.sack_edges; ++i) {
    ROMULUS_CHECK(frame.tcp.sack_edge_at[i] >= frame.transport_at + 20);
    ROMULUS_CHECK(frame.tcp.sack_edge_at[i] + 4u <= frame.payload_at);
  }
  ToString(ConnectionOfGuestFrame(0, frame));

  std::vector<char> completed = bytes;
  CompleteChecksum(absl::MakeSpan(completed), frame);
  const bool summed = frame.kind == Kind::kTcp || frame.kind == Kind::kUdp;
  ROMULUS_CHECK(!summed || ChecksumIsRight({completed.data(), completed.size()}, frame));

  std::vector<char> shifted = bytes;
  ShiftTcpNumbers(absl::MakeSpan(shifted), frame, shift, checksum);
  if (frame.kind != Kind::kTcp) {
    ROMULUS_CHECK(shifted == bytes);
    return 0;
  }
  const Frame after = Parse({shifted.data(), shifted.size()});
  ROMULUS_CHECK(after.kind == Kind::kTcp && after.payload_at == frame.payload_at);
  ROMULUS_CHECK(after.tcp.sequence == frame.tcp.sequence + shift.sequence);
  const uint32_t acknowledgement = frame.tcp.has(kTcpAck) ? shift.acknowledgement : 0;
  ROMULUS_CHECK(after.tcp.acknowledgement == frame.tcp.acknowledgement + acknowledgement);
  const bool was_right = ChecksumIsRight(view, frame);
  const bool is_right = ChecksumIsRight({shifted.data(), shifted.size()}, after);
  if (checksum == Checksum::kPartial) ROMULUS_CHECK(after.tcp.checksum == frame.tcp.checksum);
  if (checksum == Checksum::kComplete) ROMULUS_CHECK(is_right == was_right);
  if (checksum == Checksum::kUnknown) ROMULUS_CHECK(is_right || !was_right);
  if (checksum == Checksum::kUnknown) return 0;
  ShiftTcpNumbers(absl::MakeSpan(shifted), after, {0 - shift.sequence, 0 - shift.acknowledgement}, checksum);
  // 0 and 0xffff are the same checksum.
  const size_t field = frame.transport_at + 16;
  const bool zero = (frame.tcp.checksum == 0 || frame.tcp.checksum == 0xffff) && checksum == Checksum::kComplete;
  if (zero) memcpy(shifted.data() + field, bytes.data() + field, 2);
  ROMULUS_CHECK(shifted == bytes);
  return 0;
}
