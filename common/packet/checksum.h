#ifndef ROMULUS_COMMON_PACKET_CHECKSUM_H_
#define ROMULUS_COMMON_PACKET_CHECKSUM_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/packet/frame.h"

// TCP's and UDP's checksums, and changes of a frame that keep them right.
//
// A frame that a guest hands to its Xen vif, or that comes from another guest of the host, may not be summed yet
// (CHECKSUM_PARTIAL; NEEDS_CSUM in a virtio_net_hdr): its checksum field then holds the sum over the pseudo-header
// alone, not complemented, and whoever sends it on a wire completes it. A change of sequence numbers leaves such a
// field as it is; updating it would spoil the frame.
namespace romulus::packet {

enum class Checksum {
  kComplete,  // The field is a checksum, right or wrong. A change keeps it as right or wrong as it was.
  kPartial,   // The field is the pseudo-header's sum, and stays so.
  // The caller does not know, and passes the frame on as complete. What is right as a checksum is kept right; what is
  // the pseudo-header's sum is completed; of anything else the field is updated, and stays as wrong as it was.
  kUnknown,
};

// RFC 1624, equation 3: the Internet checksum `field` after one 16 bit word changed from `from` to `to`.
uint16_t UpdatedChecksum(uint16_t field, uint16_t from, uint16_t to);

// Of a frame of kTcp, or kUdp: its checksum as it should be, complete. `frame` is what `parsed` was made from.
uint16_t ExpectedChecksum(absl::string_view frame, const Frame& parsed);
// The sum of its pseudo-header, as it stands in the field of a partial one.
uint16_t PseudoHeaderSum(absl::string_view frame, const Frame& parsed);
bool ChecksumIsRight(absl::string_view frame, const Frame& parsed);
// Writes ExpectedChecksum into it. No effect on frames of other kinds.
void CompleteChecksum(absl::Span<char> frame, const Frame& parsed);

// What to add to the numbers of a TCP frame (modulo 2^32).
struct TcpShift {
  uint32_t sequence = 0;
  uint32_t acknowledgement = 0;  // Also to SACK's edges. Without kTcpAck the field means nothing and stays.
};
// Changes a frame of kTcp in place, and its checksum. Nothing else of the frame changes; `parsed` is of the frame
// before, and its tcp.sequence, tcp.acknowledgement and tcp.checksum are then old. A segment signed with TCP-MD5 or
// TCP-AO does not survive it: the key is not ours.
void ShiftTcpNumbers(absl::Span<char> frame, const Frame& parsed, const TcpShift& shift, Checksum checksum);

}  // namespace romulus::packet

#endif  // ROMULUS_COMMON_PACKET_CHECKSUM_H_
