// Any bytes as lockstep's messages: what DirtyPageListReader takes is a valid set of the guest's pages, and reads back
// from what it is written as; traffic that is taken keeps its bounds; an offset that is taken is written as it came;
// and what is given to a standby's guest is what came for its checkpoint, in order. Input: messages, each a kind (1
// byte), a u16 length (little endian) and a serialized message of that kind.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/log.h"
#include "common/link/traffic_messages.h"
#include "common/stream/dirty_page_list.h"
#include "proto/replication/v1/replication.pb.h"
#include "secondary/standby/input_queue.h"
#include "tests/fuzz/seeds.h"

namespace romulus {
namespace {

using replication::v1::DirtyPageList;
using replication::v1::SequenceOffset;
using replication::v1::StandbyInput;

constexpr uint64_t kEpoch = 3;
constexpr uint64_t kGfnBound = 1 << 20;

enum Kind { kPages, kInput, kOffset, kCheckpoint, kKinds };

void AppendFramed(Kind kind, const std::string& bytes, std::string* out) {
  out->push_back(static_cast<char>(kind));
  out->push_back(static_cast<char>(bytes.size()));
  out->push_back(static_cast<char>(bytes.size() >> 8));
  *out += bytes;
}

void TakePages(const DirtyPageList& list, std::optional<DirtyPageListReader>& reader) {
  if (!reader.has_value() || reader->complete()) reader.emplace(kEpoch, kGfnBound);
  const absl::Status status = reader->Add(list);
  if (!status.ok()) {
    ROMULUS_CHECK(absl::IsInvalidArgument(status));
    reader.reset();
    return;
  }
  if (!reader->complete()) return;
  const PageRuns runs = reader->Take();
  ROMULUS_CHECK(ValidPageRuns(runs, kGfnBound));
  DirtyPageListReader again(kEpoch, kGfnBound);
  for (const DirtyPageList& written : DirtyPageListsOf(kEpoch, runs)) ROMULUS_CHECK(again.Add(written).ok());
  ROMULUS_CHECK(again.complete() && again.Take() == runs);
}

void TakeInput(const StandbyInput& input, uint64_t running, standby::InputQueue* queue) {
  if (!CheckTraffic(input.frames()).ok()) return;
  std::vector<TrafficFrame> frames;
  size_t bytes = 0;
  for (const replication::v1::Frame& frame : input.frames()) {
    frames.push_back({frame.device_id(), frame.contents()});
    bytes += frame.contents().size();
  }
  ROMULUS_CHECK(!frames.empty() && frames.size() <= kTrafficFramesMax);
  ROMULUS_CHECK(frames.size() == 1 || bytes <= kTrafficBytesMax);
  const size_t count = frames.size();
  const auto due = queue->Add(input.epoch(), std::move(frames));
  ROMULUS_CHECK(due.has_value() == (running == input.epoch()));
  if (due.has_value()) ROMULUS_CHECK(std::get<standby::InputQueue::Frames>(*due).size() == count);
}

}  // namespace

std::vector<std::string> FuzzSeeds() {
  std::string session;
  for (const DirtyPageList& list : DirtyPageListsOf(kEpoch, {{1, 2}, {7, 1}, {1000, 500}})) {
    AppendFramed(kPages, list.SerializeAsString(), &session);
  }
  StandbyInput input;
  input.set_epoch(1);
  input.add_frames()->set_contents("a frame");
  input.add_frames()->set_contents("another");
  AppendFramed(kInput, input.SerializeAsString(), &session);
  packet::SequenceOffset offset;
  offset.connection.guest = packet::AddressFrom("1234");
  offset.connection.peer = packet::AddressFrom("5678");
  offset.connection.guest_port = 80;
  AppendFramed(kOffset, ToMessage(1, offset).SerializeAsString(), &session);
  AppendFramed(kCheckpoint, "", &session);
  AppendFramed(kInput, input.SerializeAsString(), &session);
  DirtyPageList more;
  more.set_epoch(kEpoch);
  more.set_more(true);
  more.add_runs()->set_count(3);
  AppendFramed(kPages, more.SerializeAsString(), &session);
  return {session};
}

}  // namespace romulus

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace romulus;  // NOLINT
  std::optional<DirtyPageListReader> reader;
  standby::InputQueue queue;
  uint64_t handed_over = 0;
  uint64_t running = 0;
  while (size >= 3) {
    const int kind = data[0] % kKinds;
    const size_t length = std::min<size_t>(data[1] | data[2] << 8, size - 3);
    const std::string bytes(reinterpret_cast<const char*>(data + 3), length);
    data += 3 + length;
    size -= 3 + length;
    if (kind == kPages) {
      DirtyPageList list;
      if (list.ParseFromString(bytes)) TakePages(list, reader);
    } else if (kind == kInput) {
      StandbyInput input;
      if (input.ParseFromString(bytes) && input.epoch() > 0) TakeInput(input, running, &queue);
    } else if (kind == kOffset) {
      SequenceOffset message;
      if (!message.ParseFromString(bytes)) continue;
      const absl::StatusOr<packet::SequenceOffset> offset = FromMessage(message);
      if (!offset.ok()) continue;
      const absl::StatusOr<packet::SequenceOffset> again = FromMessage(ToMessage(message.epoch(), *offset));
      ROMULUS_CHECK(again.ok() && *again == *offset);
      queue.Add(message.epoch(), *offset);
    } else {
      queue.OnStopped();
      queue.OnCheckpoint(++handed_over);
      queue.OnRunning(handed_over);
      running = handed_over;
    }
  }
  return 0;
}
