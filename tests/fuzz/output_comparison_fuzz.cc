// Any two guests' frames in any order with epochs: the comparison releases each frame at most once, in the order of its
// flow, only while the standby runs, and of TCP no byte that neither the standby has sent in this epoch nor has left
// before; its sums are right, and what it keeps is bounded.
// Input: a byte that says what happens, then what that needs.
#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/log.h"
#include "common/packet/frame_builder.h"
#include "primary/comparison/flow_key.h"
#include "primary/comparison/output_comparison.h"
#include "tests/fuzz/seeds.h"

namespace romulus {
namespace {

using comparison::FlowKey;

class World {
 public:
  explicit World(std::string input) : input_(std::move(input)) {}

  void Run() {
    while (at_ < input_.size()) {
      Step();
      const auto& statistics = comparison_.statistics();
      ROMULUS_CHECK(statistics.held == held_.size());
      ROMULUS_CHECK(statistics.flows <= kSettings.flows_max);
      ROMULUS_CHECK(statistics.standby_bytes <= kSettings.standby_bytes_max + 70000);
      ROMULUS_CHECK(statistics.history_bytes <= kSettings.history_bytes_max + 4 * kSettings.history_bytes_per_flow_max);
      ROMULUS_CHECK(comparison_.standby_runs() || !comparison_.NextDeadline().has_value());
    }
  }

 private:
  static constexpr comparison::Settings kSettings{.flows_max = 6,
                                                  .standby_bytes_per_flow_max = 3000,
                                                  .standby_bytes_max = 8000,
                                                  .history_bytes_per_flow_max = 64,
                                                  .history_bytes_max = 500,
                                                  .offsets_per_epoch_max = 5};

  struct Held {
    std::string frame;
    FlowKey key;
    packet::Frame parsed;
    bool ended = false;
  };
  struct Segment {
    uint32_t at = 0;
    std::string payload;
  };

  uint8_t Byte() { return at_ < input_.size() ? static_cast<uint8_t>(input_[at_++]) : 0; }

  std::string Frame() {
    const uint8_t choice = Byte();
    if (choice >= 0xf0) {
      const size_t length = std::min<size_t>(Byte(), input_.size() - at_);
      at_ += length;
      return input_.substr(at_ - length, length);
    }
    const uint8_t sequence = Byte();
    const std::string text = "abcdefghijklmnopqrstuvwxyz";
    if (choice >= 0xc0) {
      return packet::UdpFrame(guest_, 53, peer_, static_cast<uint16_t>(choice % 3), text.substr(sequence % 26));
    }
    if (choice >= 0xb0) return packet::ArpRequest(guest_, choice % 2 == 0 ? peer_ : guest_);
    const uint8_t flags = Byte();
    const uint8_t size = Byte();
    // Few connections and places, so that events meet; the byte at a place is mostly the same, and the stream is near
    // the end of the numbers.
    std::string payload;
    const uint32_t place = sequence % 64;
    for (uint32_t i = 0; i < size % 40u; ++i) payload += text[(place + i) % 26];
    if (!payload.empty() && size >= 0xf0) payload.back() = '!';
    const uint32_t initial = 0xfffffff0 + (choice / 4 % 4) * 0x1000000;
    const bool syn = (flags & packet::kTcpSyn) != 0;
    return packet::TcpFrame({.source = guest_,
                             .destination = peer_,
                             .source_port = 80,
                             .destination_port = static_cast<uint16_t>(choice % 3),
                             .sequence = initial + (syn ? 0 : 1 + place),
                             .acknowledgement = 100u + choice % 16,
                             .flags = static_cast<uint8_t>(flags & 0x37),
                             .payload = payload});
  }

  void Step() {
    switch (Byte() % 16) {
      case 0:
        comparison_.OnEpochEnd(now_);
        for (auto& [id, held] : held_) held.ended = true;
        standby_.clear();
        deltas_.clear();
        break;
      case 1:
        comparison_.OnCommit();
        for (auto held = held_.begin(); held != held_.end();) {
          if (held->second.ended) Left(held->first, held->second);
          held = held->second.ended ? held_.erase(held) : std::next(held);
        }
        break;
      case 2:
      case 3:
        Carry(comparison_.OnStandbyRunning(now_));
        break;
      case 4:
        if (Byte() % 8 == 0) comparison_.OnStandbyStopped();
        break;
      case 5:
        now_ += absl::Milliseconds(Byte());
        Carry(comparison_.OnTime(now_));
        ROMULUS_CHECK(!comparison_.NextDeadline().has_value() || *comparison_.NextDeadline() > now_);
        break;
      case 6:
        if (Byte() % 8 != 0) break;
        comparison_.OnAllDropped();
        held_.clear();
        standby_.clear();
        deltas_.clear();
        break;
      case 7:
      case 8:
      case 9:
      case 10:
      case 11: {
        const std::string frame = Frame();
        const packet::Frame parsed = packet::Parse(frame);
        held_[++id_] = {frame, comparison::FlowKeyOf(0, parsed), parsed};
        Carry(comparison_.OnPrimaryFrame(now_, id_, 0, std::make_shared<std::string>(frame)));
        break;
      }
      default: {
        const std::string frame = Frame();
        const packet::Frame parsed = packet::Parse(frame);
        if (comparison_.standby_runs() && parsed.kind == packet::Kind::kTcp) {
          standby_[comparison::FlowKeyOf(0, parsed)].push_back(SegmentOf(parsed, frame));
        }
        Carry(comparison_.OnStandbyFrame(now_, 0, frame));
      }
    }
  }

  static Segment SegmentOf(const packet::Frame& parsed, const std::string& frame) {
    return {parsed.tcp.sequence + (parsed.tcp.has(packet::kTcpSyn) ? 1 : 0), std::string(PayloadOf(parsed, frame))};
  }

  void Left(comparison::FrameId id, const Held& held) {
    ROMULUS_CHECK(id > last_left_[held.key]);
    last_left_[held.key] = id;
    if (held.parsed.kind == packet::Kind::kTcp) left_[held.key].push_back(SegmentOf(held.parsed, held.frame));
  }

  static bool Has(const std::vector<Segment>& segments, uint32_t at, char byte) {
    return std::any_of(segments.begin(), segments.end(), [&](const Segment& segment) {
      const uint32_t index = at - segment.at;
      return index < segment.payload.size() && segment.payload[index] == byte;
    });
  }

  void CheckBytes(const Held& held) {
    if (held.parsed.kind != packet::Kind::kTcp) return;
    const Segment released = SegmentOf(held.parsed, held.frame);
    const std::set<uint32_t>& deltas = deltas_[held.key];
    for (uint32_t i = 0; i < released.payload.size(); ++i) {
      const uint32_t at = released.at + i;
      bool known = Has(left_[held.key], at, released.payload[i]) || Has(standby_[held.key], at, released.payload[i]);
      for (const uint32_t delta : deltas) known |= Has(standby_[held.key], at + delta, released.payload[i]);
      ROMULUS_CHECK(known);
    }
  }

  void Carry(const comparison::Actions& actions) {
    for (const packet::SequenceOffset& offset : actions.offsets) {
      const packet::Connection& connection = offset.connection;
      const FlowKey key{.kind = packet::Kind::kTcp,
                        .ether_type = 0x0800,
                        .protocol = 6,
                        .guest = connection.guest,
                        .peer = connection.peer,
                        .guest_port = connection.guest_port,
                        .peer_port = connection.peer_port};
      deltas_[key].insert(offset.standby_initial - offset.primary_initial);
    }
    ROMULUS_CHECK(actions.release.empty() || comparison_.standby_runs());
    for (const comparison::FrameId id : actions.release) {
      const auto held = held_.find(id);
      ROMULUS_CHECK(held != held_.end() && !held->second.ended);
      CheckBytes(held->second);
      Left(id, held->second);
      held_.erase(held);
    }
    for (const comparison::Difference& difference : actions.differences) ROMULUS_CHECK(!difference.text.empty());
  }

  const packet::Address guest_ = packet::ParseAddress("10.0.0.2");
  const packet::Address peer_ = packet::ParseAddress("10.0.0.9");
  const std::string input_;
  size_t at_ = 0;
  comparison::OutputComparison comparison_{kSettings};
  absl::Duration now_ = absl::Seconds(1);
  comparison::FrameId id_ = 0;
  std::map<comparison::FrameId, Held> held_;
  absl::flat_hash_map<FlowKey, std::vector<Segment>> standby_;
  absl::flat_hash_map<FlowKey, std::set<uint32_t>> deltas_;
  absl::flat_hash_map<FlowKey, std::vector<Segment>> left_;
  absl::flat_hash_map<FlowKey, comparison::FrameId> last_left_;
};

}  // namespace

std::vector<std::string> FuzzSeeds() {
  // A connection opened by both (SYN-ACKs with two numbers), data cut in two ways, a FIN; a checkpoint; a repeat.
  const std::string run = "\x02";
  const std::string checkpoint = std::string("\x00\x01\x02", 3);
  const std::string opened = std::string("\x07\x04\x00\x12\x00\x0c\x08\x00\x12\x00", 10);
  const std::string data = std::string("\x07\x04\x00\x10\x14\x0c\x08\x00\x10\x05\x0c\x08\x05\x10\x12", 15);
  const std::string fin = std::string("\x07\x04\x14\x11\x00\x0c\x08\x14\x11\x03", 10);
  const std::string reset = std::string("\x07\x01\x05\x14\x00\x0c\x01\x05\x14\x00", 10);
  const std::string datagrams = std::string("\x07\xc0\x02\x07\xb0\x00\x0c\xb0\x00\x0c\xc0\x02\x05\xff", 14);
  const std::string late = std::string("\x07\x01\x05\x10\x05\x05\xff", 7);
  return {run + opened + data + fin, run + data + checkpoint + data + datagrams + late,
          datagrams + run + reset + opened + opened + data + checkpoint,
          run + std::string("\x0c\xf1\x05zzzzz\x07\xf1\x05zzzzz", 16) + late};
}

}  // namespace romulus

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 4096) return 0;
  romulus::World(std::string(reinterpret_cast<const char*>(data), size)).Run();
  return 0;
}
