#ifndef ROMULUS_COMMON_LINK_GRPC_PRIMARY_LINK_H_
#define ROMULUS_COMMON_LINK_GRPC_PRIMARY_LINK_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "common/base/one_processor.h"
#include "common/codec/encoding_pool.h"
#include "common/link/bandwidth_share.h"
#include "common/link/replication_link.h"
#include "common/loop/scheduler.h"

namespace grpc {
class ChannelCredentials;
}  // namespace grpc

namespace romulus {

class PrimarySession;

// The primary's end over gRPC, on a connection of its own. Threads: one that reads and sends checkpoints, as far as they
// are not sent without a switch of threads (Options::one_processor), one that serves gRPC, beats and watches for silence;
// neither can block Close or the destructor (CheckpointReader::Cancel ends a blocked Read).
class GrpcPrimaryLink final : public PrimaryLink {
 public:
  struct Options {
    // "host:port".
    std::string address;
    // Null: plain text.
    std::shared_ptr<grpc::ChannelCredentials> credentials;
    // The largest CheckpointData.payload, unless the secondary takes less. While the secondary takes one, the next is
    // made: smaller ones keep both ends busy, larger ones cost less for each byte.
    uint32_t chunk_bytes = 512 << 10;
    absl::Duration accept_timeout = absl::Seconds(30);
    // What checkpoints may take of the network; null: all that there is.
    std::shared_ptr<BandwidthShare::Flow> bandwidth;
    // Where checkpoints are encoded, if the secondary can decode them. Null: they are sent as they are (RAW).
    std::shared_ptr<EncodingPool> encoding_pool;
    // Of the pages' contents that are kept to encode against; here and, if it agrees, on the secondary.
    uint64_t page_cache_bytes_max = uint64_t{64} << 20;
    // Nothing is won by handing work from thread to thread. Then a checkpoint that lies in memory is made into messages
    // by whoever finds that the next one can be made: the first of them within SendCheckpoint.
    bool one_processor = OneProcessor();
  };

  // `scheduler` outlives the link.
  GrpcPrimaryLink(Scheduler* scheduler, Options options);
  ~GrpcPrimaryLink() override;

  // The codecs in open_session are this link's to say.
  // INVALID_ARGUMENT through OnClosed: open_session's times are out of bounds (LinkMonitor::OptionsFrom).
  void Open(uint64_t generation, const replication::v1::OpenSession& open_session, Observer* observer) override;
  void SendCheckpoint(uint64_t epoch, std::shared_ptr<CheckpointReader> reader, bool tell_when_sent,
                      replication::v1::AfterCheckpoint after) override;
  void Send(replication::v1::PrimaryMessage message) override;
  bool SendTraffic(replication::v1::PrimaryMessage message) override;
  void Close() override;
  uint64_t sent_bytes() const override;
  LinkEncoding encoding() const override;

 private:
  Scheduler* const scheduler_;
  const Options options_;
  std::shared_ptr<PrimarySession> session_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_GRPC_PRIMARY_LINK_H_
