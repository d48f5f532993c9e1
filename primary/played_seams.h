#ifndef ROMULUS_PRIMARY_PLAYED_SEAMS_H_
#define ROMULUS_PRIMARY_PLAYED_SEAMS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "common/link/replication_link.h"
#include "common/stream/page_runs.h"
#include "primary/checkpoint_source.h"
#include "proto/replication/v1/replication.pb.h"

namespace romulus {

// A session whose secondary and source the test plays: it answers by calling `link` and `source`, when it likes, and
// finds here what it was asked for.
struct PlayedSession {
  // The observers of the last link that was opened, and of the last source that was started.
  PrimaryLink::Observer* link = nullptr;
  CheckpointSource::Observer* source = nullptr;

  // Of the link.
  replication::v1::OpenSession opened;
  std::map<uint64_t, replication::v1::AfterCheckpoint> checkpoints;  // By epoch.
  uint64_t tell_when_sent = 0;  // The last checkpoint of whose sending the driver wants to know.
  std::vector<replication::v1::PrimaryMessage> sent;
  std::vector<replication::v1::PrimaryMessage> traffic;
  bool traffic_full = false;  // No room for frames any more; sequence offsets are not dropped.

  // Of the source.
  uint64_t requested = 0;  // The last checkpoint.
  bool with_standby_pages = false;
  std::vector<std::pair<uint64_t, PageRuns>> standby_pages;  // Epoch, pages.

  void Accept() {
    replication::v1::SecondaryMessage accepted;
    accepted.mutable_session_accepted();
    link->OnMessage(accepted);
  }
  void Commit(uint64_t epoch) {
    replication::v1::SecondaryMessage commit;
    commit.mutable_checkpoint_commit()->set_epoch(epoch);
    link->OnMessage(commit);
  }
};

// `session` outlives it.
class PlayedLink final : public PrimaryLink {
 public:
  explicit PlayedLink(PlayedSession* session) : session_(session) {}
  void Open(uint64_t, const replication::v1::OpenSession& open_session, Observer* observer) override {
    session_->opened = open_session;
    session_->link = observer;
  }
  void SendCheckpoint(uint64_t epoch, std::shared_ptr<CheckpointReader>, bool tell_when_sent,
                      replication::v1::AfterCheckpoint after) override {
    session_->checkpoints[epoch] = after;
    if (tell_when_sent) session_->tell_when_sent = epoch;
  }
  void Send(replication::v1::PrimaryMessage message) override { session_->sent.push_back(std::move(message)); }
  bool SendTraffic(replication::v1::PrimaryMessage message) override {
    if (session_->traffic_full && !message.has_sequence_offset()) return false;
    session_->traffic.push_back(std::move(message));
    return true;
  }
  void Close() override {}
  uint64_t sent_bytes() const override { return 0; }

 private:
  PlayedSession* const session_;
};

// `session` outlives it.
class PlayedSource final : public CheckpointSource {
 public:
  explicit PlayedSource(PlayedSession* session) : session_(session) {}
  void Start(Observer* observer) override { session_->source = observer; }
  void RequestCheckpoint(uint64_t epoch, bool with_standby_pages) override {
    session_->requested = epoch;
    session_->with_standby_pages = with_standby_pages;
  }
  void AddStandbyPages(uint64_t epoch, PageRuns pages) override {
    session_->standby_pages.emplace_back(epoch, std::move(pages));
  }
  void PermitResume(uint64_t) override {}
  void Stop() override {}

 private:
  PlayedSession* const session_;
};

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_PLAYED_SEAMS_H_
