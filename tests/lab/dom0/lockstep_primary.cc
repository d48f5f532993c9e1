// The primary's half of the scenario lockstep-memory: takes checkpoints of a domain together with lockstep_standby on
// the other host, as fast as both can, with what the standby's guest has written to in each. No egress buffer, no
// commits, no comparison of output: memory only.

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/key_value.h"
#include "common/base/log.h"
#include "common/loop/event_loop.h"
#include "common/xen/control.h"
#include "common/xen/xenstore.h"
#include "primary/capture/helper_checkpoint_source.h"
#include "primary/domain/domain_description_reader.h"
#include "tests/lab/dom0/lockstep_channel.h"
#include "tests/lab/dom0/memory_hashes.h"

namespace romulus::lab {
namespace {

struct Arguments {
  HelperCheckpointSource::Options source;
  std::string peer;
  uint64_t checkpoints = 10;
  uint64_t compare_from = 0;  // Checkpoints from this one on are compared; 0: none.
  absl::Duration interval = absl::Milliseconds(300);
  bool back_channel = true;
};

class Primary final : public CheckpointSource::Observer {
 public:
  Primary(EventLoop& loop, Arguments arguments)
      : loop_(loop),
        arguments_(std::move(arguments)),
        xc_(*OpenXenControl(nullptr)),
        source_(loop, arguments_.source),
        channel_(
            LockstepChannel::Connect(arguments_.peer, 9300),
            [this](LockstepChannel::Frame frame) { loop_.Post([this, frame] { OnFrame(frame); }); },
            [this] { loop_.Post([this] { End("the standby is gone"); }); }) {}

  void Start(const replication::v1::DomainDescription& domain) {
    channel_.Send(LockstepChannel::kDescription, 0, domain.SerializeAsString());
  }
  void Stop() { source_.Stop(); }

  void OnSeeding(std::shared_ptr<CheckpointReader> reader) override { SendCheckpoint(1, std::move(reader)); }
  void OnSeedingProgress(uint64_t, uint64_t) override {}
  void OnSuspended(uint64_t epoch) override {
    hashes_.clear();
    if (arguments_.compare_from != 0 && epoch >= arguments_.compare_from) {
      auto hashes = HashMemory(xc_.get(), arguments_.source.domid, &memory_);
      if (!hashes.ok()) return End(hashes.status().ToString());
      for (const auto& [gfn, hash] : *hashes) hashes_.insert(hashes_.end(), {gfn, hash});
    }
    source_.PermitResume(epoch);
  }
  void OnCaptured(CheckpointSource::Captured captured) override {
    const CheckpointSource::PauseParts& parts = captured.parts;
    printf(
        "checkpoint %lu dirty %lu unchanged %lu standby %lu list %lu bytes %lu pause_ms %.1f permit_ms %.1f "
        "standby_wait_ms %.1f suspend_ms %.1f acknowledge_ms %.1f copy_ms %.1f captured_ms %.1f\n",
        captured.epoch, captured.dirty_pages, captured.unchanged_pages, captured.standby_pages, list_pages_,
        captured.length, absl::ToDoubleMilliseconds(captured.pause), absl::ToDoubleMilliseconds(parts.permit_wait),
        absl::ToDoubleMilliseconds(parts.standby_wait), absl::ToDoubleMilliseconds(parts.to_suspended()),
        absl::ToDoubleMilliseconds(parts.acknowledge), absl::ToDoubleMilliseconds(parts.page_copy),
        absl::ToDoubleMilliseconds(loop_.Now() - asked_at_));
    fflush(stdout);
    if (captured.reader != nullptr) SendCheckpoint(captured.epoch, std::move(captured.reader));
  }
  void OnEnded(absl::Status status) override { End(status.ToString()); }

 private:
  void SendCheckpoint(uint64_t epoch, std::shared_ptr<CheckpointReader> reader) {
    if (sender_.joinable()) sender_.join();
    sender_ = std::thread([this, epoch, reader = std::move(reader)] {
      std::string buffer(1 << 20, '\0');
      while (true) {
        const absl::StatusOr<size_t> got = reader->Read(absl::MakeSpan(buffer.data(), buffer.size()));
        if (!got.ok()) LogError("reading checkpoint ", epoch, ": ", got.status().ToString());
        if (!got.ok()) return;
        if (*got == 0) break;
        channel_.Send(LockstepChannel::kData, epoch, buffer.data(), *got);
      }
      if (epoch > 1 && !hashes_.empty()) channel_.Send(LockstepChannel::kHashes, epoch, hashes_);
      channel_.Send(LockstepChannel::kEnd, epoch);
    });
  }

  void OnFrame(const LockstepChannel::Frame& frame) {
    switch (frame.kind) {
      case LockstepChannel::kPrepared:
        return source_.Start(this);
      case LockstepChannel::kRunning:
        running_ = frame.epoch;
        if (running_ > 1) {
          printf("again %lu checkpoint_ms %.1f\n", running_, absl::ToDoubleMilliseconds(loop_.Now() - asked_at_));
        }
        return AskNext();
      case LockstepChannel::kRefused:
        printf("refused %lu: %s\n", frame.epoch, frame.body.c_str());
        running_ = 0;
        epoch_ = frame.epoch;
        return AskNext();
      case LockstepChannel::kList: {
        PageRuns runs = VectorOf<PageRun>(frame.body);
        list_pages_ = CountPages(runs);
        // Not before the first comparison: a guest whose memory is not one's own does not live for long.
        const bool ignored = !arguments_.back_channel && frame.epoch >= arguments_.compare_from;
        source_.AddStandbyPages(frame.epoch, ignored ? PageRuns() : std::move(runs));
        return;
      }
      case LockstepChannel::kAskPages:
        return SendPages(frame.epoch, VectorOf<uint64_t>(frame.body));
      default:
        return End(absl::StrCat("frame ", frame.kind));
    }
  }

  void SendPages(uint64_t epoch, const std::vector<uint64_t>& wanted) {
    std::string pages;
    for (const uint64_t gfn : wanted) {
      for (size_t i = 0; i < hashes_.size(); i += 2) {
        if (hashes_[i] != gfn) continue;
        pages.append(reinterpret_cast<const char*>(&gfn), sizeof(gfn));
        pages.append(memory_, i / 2 * XC_PAGE_SIZE, XC_PAGE_SIZE);
      }
    }
    channel_.Send(LockstepChannel::kPages, epoch, pages);
  }

  void AskNext() {
    if (running_ != 0) epoch_ = running_;
    if (epoch_ >= arguments_.checkpoints) {
      printf("done\n");
      fflush(stdout);
      return;
    }
    loop_.After(arguments_.interval, [this] {
      if (sender_.joinable()) sender_.join();
      const bool along = running_ != 0;
      asked_at_ = loop_.Now();
      if (along) channel_.Send(LockstepChannel::kSuspend, epoch_ + 1);
      source_.RequestCheckpoint(epoch_ + 1, along);
    });
  }

  void End(const std::string& why) {
    LogInfo("ended: ", why);
    loop_.Quit();
  }

  EventLoop& loop_;
  const Arguments arguments_;
  const XcInterface xc_;
  HelperCheckpointSource source_;
  std::thread sender_;
  std::vector<uint64_t> hashes_;  // gfn, hash, gfn, ...
  std::string memory_;            // Those pages' contents.
  uint64_t running_ = 0;
  uint64_t epoch_ = 0;
  uint64_t list_pages_ = 0;
  absl::Duration asked_at_;
  LockstepChannel channel_;
};

bool ParseArgument(const std::string& text, Arguments& arguments) {
  const std::optional<KeyValue> given = ParseKeyValue(text);
  if (!given.has_value()) return false;
  const auto& [key, value, number] = *given;
  if (key == "peer") {
    arguments.peer = value;
  } else if (!number.has_value()) {
    return false;
  } else if (key == "domid") {
    arguments.source.domid = static_cast<uint32_t>(*number);
  } else if (key == "count") {
    arguments.checkpoints = *number;
  } else if (key == "compare_from") {
    arguments.compare_from = *number;
  } else if (key == "interval_ms") {
    arguments.interval = absl::Milliseconds(*number);
  } else if (key == "back_channel") {
    arguments.back_channel = *number != 0;
  } else {
    return false;
  }
  return true;
}

int Run(int argc, char** argv) {
  Arguments arguments;
  arguments.source.helper_program = "/opt/romulus/bin/romulus-save-helper";
  arguments.source.lockstep = true;
  arguments.source.resume_timeout = absl::Seconds(60);
  arguments.source.capture_timeout = absl::Seconds(90);
  for (int i = 1; i < argc; ++i) {
    if (ParseArgument(argv[i], arguments)) continue;
    LogError("usage: ", argv[0], " domid=N peer=ADDRESS [count=N] [compare_from=N] [interval_ms=N] [back_channel=0|1]");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  const auto xc = OpenXenControl(nullptr);
  const auto store = Xenstore::Open();
  const auto domain = DomainDescriptionReader(xc->get(), store->get()).Read(absl::StrCat(arguments.source.domid));
  if (!domain.ok()) {
    LogError(domain.status().ToString());
    return 1;
  }
  auto loop = *EventLoop::New();
  Primary primary(*loop, std::move(arguments));
  primary.Start(*domain);
  loop->Run();
  _exit(0);
}

}  // namespace
}  // namespace romulus::lab

int main(int argc, char** argv) { return romulus::lab::Run(argc, argv); }
