#ifndef ROMULUS_COMMON_LINK_GRPC_SECONDARY_LINK_H_
#define ROMULUS_COMMON_LINK_GRPC_SECONDARY_LINK_H_

#include <cstdint>
#include <memory>
#include <string>

#include "common/link/replication_link.h"
#include "common/loop/scheduler.h"

namespace romulus {

class SecondarySession;

// The secondary's end over gRPC; made by GrpcReplicationService. What the primary sends is read, verified and put
// together by the session's own thread, which only the seed sink can block; Close and the destructor do not wait for
// it. A message that the session's thread has posted but the observer not yet taken holds up the next read.
class GrpcSecondaryLink final : public SecondaryLink {
 public:
  explicit GrpcSecondaryLink(std::shared_ptr<SecondarySession> session);
  ~GrpcSecondaryLink() override;

  void Start(Observer* observer) override;
  void SetSeedSink(std::shared_ptr<CheckpointSink> sink) override;
  // Fills in SessionAccepted's chunk_bytes_max, codec and page_cache_bytes.
  void Send(replication::v1::SecondaryMessage message) override;
  bool SendTraffic(replication::v1::SecondaryMessage message) override;
  // What was sent before goes out first, if the primary takes it within a second.
  void Close(absl::Status status) override;
  absl::Duration silence() const override;
  uint64_t received_bytes() const override;

 private:
  const std::shared_ptr<SecondarySession> session_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_GRPC_SECONDARY_LINK_H_
