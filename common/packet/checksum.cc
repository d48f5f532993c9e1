#include "common/packet/checksum.h"

namespace romulus::packet {
namespace {

uint8_t Byte(absl::string_view bytes, size_t at) { return static_cast<uint8_t>(bytes[at]); }

uint16_t Fold(uint64_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

uint64_t Sum(absl::string_view bytes) {
  uint64_t sum = 0;
  size_t at = 0;
  for (; at + 1 < bytes.size(); at += 2) sum += Byte(bytes, at) << 8 | Byte(bytes, at + 1);
  if (at < bytes.size()) sum += Byte(bytes, at) << 8;
  return sum;
}

bool HasChecksum(const Frame& parsed) { return parsed.kind == Kind::kTcp || parsed.kind == Kind::kUdp; }

size_t FieldAt(const Frame& parsed) { return parsed.transport_at + (parsed.kind == Kind::kTcp ? 16 : 6); }

uint16_t Read16(absl::string_view frame, size_t at) {
  return static_cast<uint16_t>(Byte(frame, at) << 8 | Byte(frame, at + 1));
}

void Write16(absl::Span<char> frame, size_t at, uint16_t value) {
  frame[at] = static_cast<char>(value >> 8);
  frame[at + 1] = static_cast<char>(value);
}

uint32_t Read32(absl::string_view frame, size_t at) {
  return static_cast<uint32_t>(Read16(frame, at)) << 16 | Read16(frame, at + 2);
}

// Without complement; the field itself counts as it stands.
uint16_t SegmentSum(absl::string_view frame, const Frame& parsed) {
  return Fold(PseudoHeaderSum(frame, parsed) +
              Sum(frame.substr(parsed.transport_at, parsed.end - parsed.transport_at)));
}

// Adds `shift` to the 32 bits at `at`, and to `field`, a complete checksum, what makes up for it. A SACK edge may stand
// at an odd place: the words that it touches are then halves of two.
void Add32(absl::Span<char> frame, const Frame& parsed, size_t at, uint32_t shift, uint16_t& field) {
  const absl::string_view view(frame.data(), frame.size());
  const uint32_t value = Read32(view, at) + shift;
  const size_t first = at - (at - parsed.transport_at) % 2;
  const size_t words = first == at ? 2 : 3;
  uint16_t before[3];
  for (size_t i = 0; i < words; ++i) before[i] = Read16(view, first + 2 * i);
  Write16(frame, at, static_cast<uint16_t>(value >> 16));
  Write16(frame, at + 2, static_cast<uint16_t>(value));
  for (size_t i = 0; i < words; ++i) field = UpdatedChecksum(field, before[i], Read16(view, first + 2 * i));
}

}  // namespace

uint16_t UpdatedChecksum(uint16_t field, uint16_t from, uint16_t to) {
  return static_cast<uint16_t>(
      ~Fold(static_cast<uint64_t>(static_cast<uint16_t>(~field)) + static_cast<uint16_t>(~from) + to));
}

uint16_t PseudoHeaderSum(absl::string_view frame, const Frame& parsed) {
  return Fold(Sum(BytesOf(parsed.source)) + Sum(BytesOf(parsed.destination)) + parsed.protocol +
              (parsed.end - parsed.transport_at));
}

uint16_t ExpectedChecksum(absl::string_view frame, const Frame& parsed) {
  const uint16_t field = Read16(frame, FieldAt(parsed));
  const uint16_t sum = static_cast<uint16_t>(~Fold(SegmentSum(frame, parsed) + static_cast<uint16_t>(~field)));
  // UDP writes 0 for "none". 0 and 0xffff are the same number in one's complement; which one a sum gives that lost the
  // field by subtraction depends on the field, so it is settled here.
  if (parsed.kind == Kind::kUdp) return sum == 0 ? 0xffff : sum;
  return sum == 0xffff ? 0 : sum;
}

bool ChecksumIsRight(absl::string_view frame, const Frame& parsed) {
  if (!HasChecksum(parsed)) return false;
  if (parsed.kind == Kind::kUdp && Read16(frame, FieldAt(parsed)) == 0) return parsed.source.size == 4;
  return SegmentSum(frame, parsed) == 0xffff;
}

void CompleteChecksum(absl::Span<char> frame, const Frame& parsed) {
  if (!HasChecksum(parsed)) return;
  Write16(frame, FieldAt(parsed), ExpectedChecksum({frame.data(), frame.size()}, parsed));
}

void ShiftTcpNumbers(absl::Span<char> frame, const Frame& parsed, const TcpShift& shift, Checksum checksum) {
  if (parsed.kind != Kind::kTcp) return;
  const absl::string_view view(frame.data(), frame.size());
  bool complete = checksum == Checksum::kComplete;
  bool fill_in = false;
  if (checksum == Checksum::kUnknown) {
    // If it is right as well, by chance, it is right again afterwards.
    fill_in = parsed.tcp.checksum == PseudoHeaderSum(view, parsed);
    complete = !fill_in;
  }
  uint16_t field = parsed.tcp.checksum;
  if (shift.sequence != 0) Add32(frame, parsed, parsed.transport_at + 4, shift.sequence, field);
  if (shift.acknowledgement != 0 && parsed.tcp.has(kTcpAck)) {
    Add32(frame, parsed, parsed.transport_at + 8, shift.acknowledgement, field);
    for (size_t i = 0; i < parsed.tcp.sack_edges; ++i) {
      Add32(frame, parsed, parsed.tcp.sack_edge_at[i], shift.acknowledgement, field);
    }
  }
  if (complete) Write16(frame, FieldAt(parsed), field);
  if (fill_in) CompleteChecksum(frame, parsed);
}

}  // namespace romulus::packet
