// Any frames and offsets: the translator says truly whether it has changed a frame, changes only what it names, by what
// it was told, keeps right checksums right, and stays bounded.
// Input: a byte that says what happens, then what that needs.
#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "common/base/log.h"
#include "common/packet/frame_builder.h"
#include "secondary/translation/sequence_translator.h"
#include "tests/fuzz/seeds.h"

namespace romulus {
namespace {

using packet::Checksum;

class World {
 public:
  explicit World(std::string input) : input_(std::move(input)) {}

  void Run() {
    while (at_ < input_.size()) {
      Step();
      ROMULUS_CHECK(translator_.connections() <= 4);
    }
  }

 private:
  uint8_t Byte() { return at_ < input_.size() ? static_cast<uint8_t>(input_[at_++]) : 0; }

  std::string Frame(bool from_guest) {
    const uint8_t choice = Byte();
    if (choice >= 0xe0) {
      const size_t length = std::min<size_t>(Byte(), input_.size() - at_);
      at_ += length;
      return input_.substr(at_ - length, length);
    }
    const uint16_t port = choice % 6;
    const bool with_sack = choice >= 0x80;
    const uint32_t mine = from_guest ? 0x10000u + Byte() : 500u + Byte();
    const uint32_t theirs = from_guest ? 500u + Byte() : 0xfffffff0u + Byte();
    return packet::TcpFrame({.source = from_guest ? guest_ : peer_,
                             .destination = from_guest ? peer_ : guest_,
                             .source_port = from_guest ? uint16_t{80} : port,
                             .destination_port = from_guest ? port : uint16_t{80},
                             .sequence = mine,
                             .acknowledgement = theirs,
                             .flags = static_cast<uint8_t>(Byte() & 0x17),
                             .options = with_sack ? packet::SackOption({{theirs + 1, theirs + 5}}) : ""});
  }

  void Step() {
    switch (Byte() % 8) {
      case 0: {
        const packet::SequenceOffset offset{
            {0, guest_, peer_, 80, static_cast<uint16_t>(Byte() % 6)}, 0xfffffff0u + Byte() % 2, 0x10000};
        const bool added = translator_.Add(now_, offset);
        if (added) offsets_[offset.connection.peer_port] = offset.primary_initial - offset.standby_initial;
        if (!added) ROMULUS_CHECK(translator_.connections() == 4);
        break;
      }
      case 1:
        if (Byte() % 4 != 0) break;
        translator_.OnCheckpointApplied();
        ROMULUS_CHECK(translator_.connections() == 0);
        offsets_.clear();
        break;
      case 2:
        now_ += absl::Seconds(Byte() * 4);
        break;
      case 3:
        translator_.NoteOutput(now_, 0, Frame(true));
        break;
      case 4:
      case 5:
        Translate(true);
        break;
      default:
        Translate(false);
    }
  }

  void Translate(bool output) {
    const std::string before = Frame(output);
    std::string after = before;
    const bool changed = output ? translator_.TranslateOutput(now_, 0, absl::MakeSpan(after), Checksum::kComplete)
                                : translator_.TranslateInput(now_, 0, absl::MakeSpan(after), Checksum::kComplete);
    ROMULUS_CHECK(changed == (after != before) && after.size() == before.size());
    const packet::Frame was = packet::Parse(before);
    const packet::Frame is = packet::Parse(after);
    ROMULUS_CHECK(was.kind == is.kind);
    if (!changed || was.kind != packet::Kind::kTcp) return;
    const uint32_t offset = offsets_.at(output ? was.destination_port : was.source_port);
    ROMULUS_CHECK(is.tcp.sequence - was.tcp.sequence == (output ? offset : 0));
    ROMULUS_CHECK(was.tcp.acknowledgement - is.tcp.acknowledgement == (output ? 0 : offset));
    ROMULUS_CHECK(packet::ChecksumIsRight(before, was) == packet::ChecksumIsRight(after, is));
    ROMULUS_CHECK(PayloadOf(was, before) == PayloadOf(is, after) && was.tcp.flags == is.tcp.flags);
  }

  const packet::Address guest_ = packet::ParseAddress("10.0.0.2");
  const packet::Address peer_ = packet::ParseAddress("10.0.0.9");
  const std::string input_;
  size_t at_ = 0;
  translation::SequenceTranslator translator_{{.connections_max = 4}};
  absl::Duration now_ = absl::Seconds(1);
  std::map<uint16_t, uint32_t> offsets_;  // By the peer's port, as last told.
};

}  // namespace

std::vector<std::string> FuzzSeeds() {
  const std::string add = std::string("\x00\x01\x00", 3);
  const std::string close =
      std::string("\x04\x01\x01\x00\x11\x06\x01\x00\x02\x11\x06\x01\x01\x02\x11\x04\x01\x02\x05\x10", 20);
  const std::string error = packet::IpFrame(packet::ParseAddress("10.0.0.1"), packet::ParseAddress("10.0.0.2"), 1,
                                            std::string("\x03\x04\x00\x00\x00\x00\x05\x78", 8) +
                                                packet::TcpFrame({.source = packet::ParseAddress("10.0.0.2"),
                                                                  .destination = packet::ParseAddress("10.0.0.9"),
                                                                  .source_port = 80,
                                                                  .destination_port = 1,
                                                                  .sequence = 0xfffffff8})
                                                    .substr(14));
  return {add + close + std::string("\x02\x40\x06\x01\x00\x05\x10", 7),
          add + add + std::string("\x06\x81\x05\x07\x10\x01\x04\x06\x01\x05\x07\x10", 12) + close,
          std::string("\x00\x00\x00\x00\x01\x00\x00\x02\x00\x00\x03\x00\x00\x04\x00", 15) + close + add,
          add + "\x06\xe0" + std::string(1, static_cast<char>(error.size())) + error};
}

}  // namespace romulus

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 4096) return 0;
  romulus::World(std::string(reinterpret_cast<const char*>(data), size)).Run();
  return 0;
}
