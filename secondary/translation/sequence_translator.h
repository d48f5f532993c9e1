#ifndef ROMULUS_SECONDARY_TRANSLATION_SEQUENCE_TRANSLATOR_H_
#define ROMULUS_SECONDARY_TRANSLATION_SEQUENCE_TRANSLATOR_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/packet/checksum.h"
#include "common/packet/connection.h"
#include "common/packet/frame.h"

namespace romulus::translation {

struct TranslatorSettings {
  // No fewer than comparison::Settings::offsets_per_epoch_max, which keeps the primary from asking for more. Some 200
  // bytes each.
  size_t connections_max = 16384;
  // Without any frame. As long as Linux waits before its first keepalive (2 h), and some more.
  absl::Duration idle_max = absl::Hours(2) + absl::Minutes(15);
  // After the connection's end: the remote end may send its last FIN again (TIME_WAIT).
  absl::Duration linger = absl::Seconds(60);
};

// Makes one TCP connection of two guests' that chose different initial sequence numbers: the remote end knows the
// primary's numbers, the standby its own. Pure, bounded; not thread safe. Times are of one monotonic clock.
//
// Per connection that both guests opened since the last checkpoint (SequenceOffset; the primary sends it before the
// remote end can have seen the SYN or SYN-ACK, so nothing is guessed), with offset = primary_initial - standby_initial:
//   to the standby (StandbyInput; after a takeover: from the network): acknowledgement numbers and SACK blocks, which
//     are numbers of the primary's, minus the offset; also the sequence number in the ICMP errors that come back
//   from the standby, after a takeover: sequence numbers plus the offset. While the primary lives the comparison counts
//     from each guest's own number, and frames go there as they are: NoteOutput
// A frame of a connection that is not known passes as it is: it was opened before the checkpoint, or after a takeover.
//
// An entry ends with its connection (both FINs acknowledged, or a RST; then `linger` without a frame), with a new
// connection of the same addresses and ports, after idle_max, and with a checkpoint that is applied: then both guests'
// numbers are the same. A frame other than a RST behind a RST is a sign of life: that RST was not believed.
//
// Not translated: IP fragments of TCP (guests send none: DF), and frames with a VLAN tag, which are compared as a
// whole. A connection that TCP-MD5 or TCP-AO signs breaks: the key is the guest's.
//
// What QEMU's filter-rewriter does not do, as its source has it: connections that the guest opens; frames with RST
// alone; SACK; ICMP errors; IPv6; checksums that are partial. And it takes the primary's number from the first
// acknowledgement that passes, whosever that is, and forgets the offset of a connection with its first FIN.
class SequenceTranslator {
 public:
  explicit SequenceTranslator(const TranslatorSettings& settings = {});
  SequenceTranslator(const SequenceTranslator&) = delete;
  SequenceTranslator& operator=(const SequenceTranslator&) = delete;

  // A connection that is known already gets the new numbers. False: full, and nothing is translated of this one.
  bool Add(absl::Duration now, const packet::SequenceOffset& offset);

  // In place. True if the frame was changed.
  bool TranslateInput(absl::Duration now, uint32_t device_id, absl::Span<char> frame, packet::Checksum checksum);
  bool TranslateOutput(absl::Duration now, uint32_t device_id, absl::Span<char> frame, packet::Checksum checksum);
  // Of a frame that the standby sent and that is not translated: for the connection's end.
  void NoteOutput(absl::Duration now, uint32_t device_id, absl::string_view frame);

  void OnCheckpointApplied();

  size_t connections() const { return by_connection_.size(); }

 private:
  struct Entry {
    packet::Connection connection;
    uint32_t offset = 0;  // primary_initial - standby_initial.
    uint32_t standby_initial = 0;
    absl::Duration last_frame;
    // The numbers behind the FINs; of the standby's its own.
    std::optional<uint32_t> standby_fin;
    std::optional<uint32_t> peer_fin;
    bool standby_fin_acknowledged = false;
    bool peer_fin_acknowledged = false;
    bool reset = false;
    bool in_ended = false;  // The list that it is in.

    bool ended() const { return reset || (standby_fin_acknowledged && peer_fin_acknowledged); }
  };
  using Entries = std::list<Entry>;  // Longest without a frame first.

  // Null: it is not known, or no longer.
  Entry* Find(absl::Duration now, const packet::Connection& connection);
  void Erase(const packet::Connection& connection);
  void EraseExpired(absl::Duration now);
  // The entry has had a frame.
  void Touch(absl::Duration now, const Entry& entry);
  Entry* NoteParsedOutput(absl::Duration now, uint32_t device_id, const packet::Frame& parsed);
  bool TranslateIcmpError(absl::Duration now, uint32_t device_id, absl::Span<char> frame, const packet::Frame& parsed);

  const TranslatorSettings settings_;
  Entries living_;
  Entries ended_;
  absl::flat_hash_map<packet::Connection, Entries::iterator> by_connection_;
};

}  // namespace romulus::translation

#endif  // ROMULUS_SECONDARY_TRANSLATION_SEQUENCE_TRANSLATOR_H_
