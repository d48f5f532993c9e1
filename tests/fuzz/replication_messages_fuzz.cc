// Any bytes as a session's messages, from their serialized form on: what the assembler passes on or gives out is
// exactly what came, in order, whole; after its first error it gives nothing more.
// Input: messages, each a u16 length (little endian) and a serialized PrimaryMessage.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/log.h"
#include "common/link/link_monitor.h"
#include "common/stream/checkpoint_assembler.h"
#include "common/stream/checkpoint_chunker.h"
#include "common/stream/memory_checkpoint.h"
#include "common/stream/stream_format.h"
#include "common/stream/synthetic_stream.h"
#include "proto/replication/v1/replication.pb.h"
#include "tests/fuzz/seeds.h"

namespace romulus {
namespace {

using replication::v1::PrimaryMessage;

constexpr CheckpointAssembler::Limits kLimits{1 << 16, 1 << 15, 1 << 12};

void AppendFramed(const PrimaryMessage& message, std::string* out) {
  const std::string bytes = message.SerializeAsString();
  out->push_back(static_cast<char>(bytes.size()));
  out->push_back(static_cast<char>(bytes.size() >> 8));
  *out += bytes;
}

void AppendCheckpoint(uint64_t epoch, const std::string& bytes, std::string* out) {
  CheckpointChunker chunker(epoch, std::make_shared<MemoryCheckpointReader>(bytes), 500);
  PrimaryMessage message;
  while (true) {
    const auto step = chunker.NextMessage(&message);
    ROMULUS_CHECK(step.ok());
    message.set_generation(1);
    AppendFramed(message, out);
    if (*step == CheckpointChunker::Step::kTrailer) return;
  }
}

}  // namespace

std::vector<std::string> FuzzSeeds() {
  SyntheticStream first;
  first.Preamble().PageData({{1, 0, "one"}}).State("vcpu").EndCheckpoint();
  SyntheticStream later;
  later.State("vcpu").EndCheckpoint();
  PrimaryMessage open;
  open.set_generation(1);
  open.mutable_open_session()->set_protection("protections/p");
  open.mutable_open_session()->set_heartbeat_interval_ms(100);
  open.mutable_open_session()->set_link_timeout_ms(1000);
  PrimaryMessage heartbeat;
  heartbeat.mutable_heartbeat();
  std::string session;
  AppendFramed(open, &session);
  AppendCheckpoint(1, first.bytes(), &session);
  AppendFramed(heartbeat, &session);
  AppendCheckpoint(2, later.bytes(), &session);
  std::string short_session;
  AppendCheckpoint(1, first.bytes(), &short_session);
  return {session, short_session};
}

}  // namespace romulus

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace romulus;  // NOLINT
  auto sink = std::make_shared<MemoryCheckpointSink>();
  static const std::shared_ptr<BlockPool> pool = BlockPool::New();
  CheckpointAssembler assembler(kLimits, pool);
  assembler.SetSeedSink(sink);
  absl::Status failure;
  std::string received;  // Of the epoch that is being received.
  uint64_t epoch = 0;
  while (size >= 2) {
    const size_t length = std::min<size_t>(data[0] | data[1] << 8, size - 2);
    PrimaryMessage message;
    const bool parsed = message.ParseFromArray(data + 2, static_cast<int>(length));
    data += 2 + length;
    size -= 2 + length;
    if (!parsed) return 0;  // gRPC would end the call here.
    if (message.has_open_session()) (void)LinkMonitor::OptionsFrom(message.open_session());
    if (message.has_checkpoint_data()) {
      const absl::Status status = assembler.Add(message.checkpoint_data());
      ROMULUS_CHECK(failure.ok() || status == failure);
      if (!status.ok()) failure = status;
      if (status.ok()) received += message.checkpoint_data().payload();
    }
    if (message.has_checkpoint_trailer()) {
      const auto verified = assembler.Finish(message.checkpoint_trailer());
      ROMULUS_CHECK(failure.ok() || verified.status() == failure);
      if (!verified.ok()) {
        failure = verified.status();
        continue;
      }
      ROMULUS_CHECK(verified->epoch == ++epoch);
      ROMULUS_CHECK((epoch == 1 ? sink->bytes() : std::string()) + verified->bytes.ToString() == received);
      ROMULUS_CHECK(verified->bytes.size() <= kLimits.checkpoint_bytes_max);
      assembler.MarkCommitted(epoch);
      received.clear();
    }
    if (epoch == 0) {
      // Nothing that libxc could take for a complete copy.
      ROMULUS_CHECK(sink->bytes().size() <= received.size() || !failure.ok());
      ROMULUS_CHECK(sink->bytes().size() <= kLimits.seed_bytes_max);
    }
  }
  return 0;
}
