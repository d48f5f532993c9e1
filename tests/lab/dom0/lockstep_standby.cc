// The standby's half of the scenario lockstep-memory: a standby that runs along with the guest of lockstep_primary, and
// its memory compared with the primary's, page by page, as long as it does not run yet. SIGUSR1: takes over.

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/attachments/attachments_record.h"
#include "common/base/log.h"
#include "common/control/agent_backends.h"
#include "common/loop/event_loop.h"
#include "common/xen/control.h"
#include "proto/replication/v1/attachments.pb.h"
#include "secondary/target/helper_checkpoint_target.h"
#include "secondary/target/xen_standby_guest.h"
#include "tests/lab/dom0/lockstep_channel.h"
#include "tests/lab/dom0/memory_hashes.h"

extern "C" {
#include <xen/grant_table.h>
#include <xen/hvm/params.h>
}

namespace romulus::lab {
namespace {

// From which state the takeover is.
enum class From { kRunning, kFrozen, kSuspended };

using Hashes = std::vector<uint64_t>;

class Standby final : public CheckpointTarget::Observer {
 public:
  Standby(EventLoop& loop, HelperCheckpointTarget::Options options, From from)
      : loop_(loop),
        xc_(*OpenXenControl(nullptr)),
        from_(from),
        target_(loop, std::move(options)),
        channel_(
            LockstepChannel::Accept(9300), [this](LockstepChannel::Frame frame) { Take(std::move(frame)); },
            [this] { loop_.Post([] { LogInfo("the primary is gone"); }); }) {}

  void TakeOver() {
    LogInfo("taking over");
    switch (from_) {
      case From::kRunning:
        return target_.Activate();
      case From::kFrozen:
        target_.Freeze();
        // Long enough to be stopped for certain.
        loop_.After(absl::Milliseconds(500), [this] { target_.Activate(); });
        return;
      case From::kSuspended:
        taking_over_ = true;
        target_.Suspend(applied_ + 1);
        return;
    }
  }

  void OnPrepared(absl::Status status, std::shared_ptr<CheckpointSink> sink, uint32_t domid) override {
    LogInfo("prepared domain ", domid, ": ", status.ToString());
    if (!status.ok()) return loop_.Quit();
    domid_ = domid;
    sink_ = std::move(sink);
    channel_.Send(LockstepChannel::kPrepared, 0);
  }
  void OnApplied(uint64_t epoch) override { applied_ = epoch; }
  void OnRunning(uint64_t epoch, const StandbyGap* parts) override {
    const absl::Duration gap = epoch == 1 ? absl::ZeroDuration() : loop_.Now() - suspended_at_;
    if (!hashes_.empty()) {
      Compare(epoch);
      if (xc_domain_unpause(xc_.get(), domid_) != 0) LogError("can't unpause the standby: errno ", errno);
    }
    printf("running %lu gap_ms %.1f suspend_ms %.1f compared %d%s\n", epoch, absl::ToDoubleMilliseconds(gap),
           absl::ToDoubleMilliseconds(suspend_took_), hashes_.empty() ? 0 : 1,
           parts == nullptr ? "" : InWords(*parts).c_str());
    fflush(stdout);
    hashes_.clear();
    channel_.Send(LockstepChannel::kRunning, epoch);
  }
  void OnSuspended(uint64_t epoch, PageRuns dirty) override {
    suspend_took_ = loop_.Now() - suspended_at_;
    if (taking_over_) return target_.Activate();
    channel_.Send(LockstepChannel::kList, epoch, dirty);
  }
  void OnLockstepRefused(uint64_t epoch, absl::Status why) override {
    printf("refused %lu: %s\n", epoch, why.ToString().c_str());
    fflush(stdout);
    if (!hashes_.empty()) xc_domain_unpause(xc_.get(), domid_);
    hashes_.clear();
    channel_.Send(LockstepChannel::kRefused, epoch, why.ToString());
  }
  void OnBroken(absl::Status status) override {
    printf("broken: %s\n", status.ToString().c_str());
    fflush(stdout);
    target_.Discard();
  }
  void OnActivated(absl::Status status, CheckpointTarget::ActivationTimes times) override {
    printf("activated %s restore_ms %.1f devices_ms %.1f total_ms %.1f\n", status.ok() ? "OK" : "FAILED",
           absl::ToDoubleMilliseconds(times.restore), absl::ToDoubleMilliseconds(times.devices),
           absl::ToDoubleMilliseconds(times.total));
    fflush(stdout);
    if (!status.ok()) LogError(status.ToString());
    loop_.After(absl::Seconds(20), [this] { loop_.Quit(); });
  }
  void OnDiscarded() override { loop_.Quit(); }

 private:
  static std::string InWords(const StandbyGap& gap) {
    std::string words;
    for (const auto& [name, part] :
         {std::pair("stop", gap.stop), std::pair("list", gap.list), std::pair("checkpoint_wait", gap.checkpoint_wait),
          std::pair("close", gap.close), std::pair("apply", gap.apply), std::pair("attach", gap.attach),
          std::pair("resume", gap.resume), std::pair("connect", gap.connect)}) {
      absl::StrAppend(&words, " ", name, "_ms ", absl::ToDoubleMilliseconds(part));
    }
    return words;
  }

  // The channel's thread.
  void Take(LockstepChannel::Frame frame) {
    if (frame.kind == LockstepChannel::kData && frame.epoch == 1) {
      // The CHECKPOINT record is held back: 8 bytes at its end.
      held_ += frame.body;
      if (held_.size() <= 8) return;
      if (absl::Status status = sink_->Write(absl::string_view(held_).substr(0, held_.size() - 8)); !status.ok()) {
        LogError(status.ToString());
      }
      held_.erase(0, held_.size() - 8);
    } else if (frame.kind == LockstepChannel::kData) {
      held_ += frame.body;
    } else if (frame.kind == LockstepChannel::kEnd) {
      loop_.Post([this, epoch = frame.epoch, bytes = std::exchange(held_, "")] { Apply(epoch, bytes); });
    } else {
      loop_.Post([this, frame] { OnFrame(frame); });
    }
  }

  void OnFrame(const LockstepChannel::Frame& frame) {
    switch (frame.kind) {
      case LockstepChannel::kDescription: {
        replication::v1::DomainDescription domain;
        ROMULUS_CHECK(domain.ParseFromString(frame.body));
        return target_.Prepare(domain, /*lockstep=*/true, this);
      }
      case LockstepChannel::kSuspend:
        suspended_at_ = loop_.Now();
        return target_.Suspend(frame.epoch);
      case LockstepChannel::kHashes:
        hashes_ = VectorOf<uint64_t>(frame.body);
        return;
      case LockstepChannel::kPages:
        return JudgePages(frame.epoch, frame.body);
      default:
        LogError("frame ", frame.kind);
        return loop_.Quit();
    }
  }

  void Apply(uint64_t epoch, const std::string& bytes) {
    if (epoch == 1) return target_.FinishSeeding(bytes, AfterCheckpoint::kRun);
    CheckpointBytes checkpoint(bytes);
    if (!hashes_.empty()) {
      const auto attachments = FindAttachments(checkpoint);
      ROMULUS_CHECK(attachments.ok() && attachments_.ParseFromString(attachments->body));
      // It will be resumed, but not run before it is compared.
      if (xc_domain_pause(xc_.get(), domid_) != 0) LogError("can't pause the standby: errno ", errno);
    }
    target_.Apply(epoch, std::move(checkpoint), AfterCheckpoint::kRun);
  }

  // What others than the guest write to, by itself or since it was connected anew: gfn and what it is.
  std::map<uint64_t, std::string> NotTheGuestsOwn() {
    std::map<uint64_t, std::string> pages;
    uint64_t gfn = 0;
    if (xc_hvm_param_get(xc_.get(), domid_, HVM_PARAM_STORE_PFN, &gfn) == 0) pages[gfn] = "xenstore ring";
    if (xc_hvm_param_get(xc_.get(), domid_, HVM_PARAM_CONSOLE_PFN, &gfn) == 0) pages[gfn] = "console ring";
    const auto* entries = reinterpret_cast<const grant_entry_v1_t*>(attachments_.grant_entries().data());
    const size_t count = attachments_.grant_entries().size() / sizeof(grant_entry_v1_t);
    for (const auto& vif : attachments_.vifs()) {
      for (const char* ring : {"tx-ring-ref", "rx-ring-ref"}) {
        const auto found = vif.entries().find(ring);
        uint32_t reference = 0;
        if (found == vif.entries().end() || !absl::SimpleAtoi(found->second, &reference)) continue;
        const size_t index = reference - GNTTAB_NR_RESERVED_ENTRIES;
        if (index < count) pages[entries[index].frame] = absl::StrCat("vif ring ", ring);
      }
    }
    return pages;
  }

  void Compare(uint64_t epoch) {
    const auto mine = HashMemory(xc_.get(), domid_, nullptr);
    if (!mine.ok()) {
      LogError(mine.status().ToString());
      return loop_.Quit();
    }
    std::map<uint64_t, uint64_t> primary;
    for (size_t i = 0; i + 1 < hashes_.size(); i += 2) primary[hashes_[i]] = hashes_[i + 1];
    std::set<uint64_t> differing;
    for (const auto& [gfn, hash] : *mine) {
      const auto found = primary.find(gfn);
      if (found == primary.end() || found->second != hash) differing.insert(gfn);
      if (found != primary.end()) primary.erase(found);
    }
    for (const auto& [gfn, hash] : primary) differing.insert(gfn);  // That the standby does not have.
    const std::map<uint64_t, std::string> others = NotTheGuestsOwn();
    differing_.clear();
    excused_.clear();
    compared_ = mine->size();
    std::vector<uint64_t> asked;
    for (const uint64_t gfn : differing) {
      const auto found = others.find(gfn);
      if (found != others.end()) {
        Excuse(found->second);
      } else if (differing_.size() < 1000) {
        differing_[gfn] = ReadPage(domid_, gfn);
        asked.push_back(gfn);
      }
    }
    if (asked.empty()) return JudgePages(epoch, "");
    channel_.Send(LockstepChannel::kAskPages, epoch, asked);
  }

  void Excuse(const std::string& name) { absl::StrAppend(&excused_, excused_.empty() ? "" : ", ", name); }

  // `pages`: what the primary had where the standby had something else.
  void JudgePages(uint64_t epoch, const std::string& pages) {
    std::map<uint64_t, std::vector<uint32_t>> theirs_by_gfn;
    for (size_t at = 0; at + 8 + XC_PAGE_SIZE <= pages.size(); at += 8 + XC_PAGE_SIZE) {
      uint64_t gfn = 0;
      pages.copy(reinterpret_cast<char*>(&gfn), sizeof(gfn), at);
      theirs_by_gfn[gfn] = VectorOf<uint32_t>(pages.substr(at + 8, XC_PAGE_SIZE));
    }
    std::string list;
    size_t count = 0;
    bool signalled = false;
    for (auto page = differing_.begin(); page != differing_.end();) {
      const char* const name = WrittenByXen(theirs_by_gfn[page->first], VectorOf<uint32_t>(page->second));
      if (name != nullptr) Excuse(name);
      signalled = signalled || name != nullptr;
      page = name != nullptr ? differing_.erase(page) : std::next(page);
    }
    for (const auto& [gfn, contents] : differing_) {
      const std::vector<uint32_t>& theirs = theirs_by_gfn[gfn];
      const std::vector<uint32_t> ours = VectorOf<uint32_t>(contents);
      if (signalled && IsUpcallPending(theirs, ours)) {
        Excuse("vcpu_info");
        continue;
      }
      if (++count > 20) continue;
      absl::StrAppend(&list, " 0x", absl::Hex(gfn));
      std::string words;
      for (size_t i = 0; i < theirs.size() && i < ours.size(); ++i) {
        if (theirs[i] != ours[i]) absl::StrAppend(&words, " [", i, "] ", absl::Hex(theirs[i]), "/", absl::Hex(ours[i]));
      }
      printf("page 0x%lx of %lu:%s\n", gfn, epoch, words.substr(0, 300).c_str());
    }
    printf("compared %lu pages %zu differ %zu%s excused: %s\n", epoch, compared_, count, list.c_str(),
           excused_.c_str());
    fflush(stdout);
  }

  // What Xen writes into the guest's memory by itself, when one of its event channels is signalled: the standby's
  // backends have done that when they were connected. Null: something else is different.
  const char* WrittenByXen(const std::vector<uint32_t>& theirs, const std::vector<uint32_t>& ours) {
    if (theirs.size() != ours.size()) return nullptr;
    std::set<uint32_t> ports = {0};
    for (const auto& port : attachments_.ports()) ports.insert(port.port());
    // An event array has a word for each port, of which Xen sets PENDING, LINKED and the link. The rest of what is told
    // a vCPU is in one control block (FIFO) and in its vcpu_info.
    constexpr uint32_t kSetByXen = 1U << 31 | 1U << 29 | ((1U << 17) - 1);
    bool is_array = true, is_control_block = true;
    for (size_t i = 0; i < theirs.size(); ++i) {
      if (theirs[i] == ours[i]) continue;
      is_array = is_array && ports.count(static_cast<uint32_t>(i)) > 0 && ((theirs[i] ^ ours[i]) & ~kSetByXen) == 0;
      // READY bits of 16 queues, then a head, a port, for each.
      const bool ready = i == 0 && (theirs[i] | ours[i]) < 1U << 16;
      const bool head = i >= 2 && i < 18 && ports.count(theirs[i]) > 0 && ports.count(ours[i]) > 0;
      is_control_block = is_control_block && (ready || head);
    }
    return is_array ? "event array" : is_control_block ? "event control block" : nullptr;
  }

  // With a channel's event Xen sets evtchn_upcall_pending, the first byte of a vcpu_info, which is 64 bytes long and
  // aligned so, and nothing else in its page. (In the lab's guest, one vCPU: its kernel's xen_vcpu_info, at 0x3c0.)
  static bool IsUpcallPending(const std::vector<uint32_t>& theirs, const std::vector<uint32_t>& ours) {
    if (theirs.size() != ours.size()) return false;
    constexpr size_t kVcpuInfoWords = 64 / sizeof(uint32_t);
    size_t differing = 0;
    for (size_t i = 0; i < theirs.size(); ++i) {
      if (theirs[i] == ours[i]) continue;
      if (++differing > 1 || i % kVcpuInfoWords != 0 || (theirs[i] ^ ours[i]) != 1) return false;
    }
    return true;
  }

  EventLoop& loop_;
  const XcInterface xc_;
  const From from_;
  HelperCheckpointTarget target_;
  std::shared_ptr<CheckpointSink> sink_;
  uint32_t domid_ = 0;
  uint64_t applied_ = 0;
  bool taking_over_ = false;
  std::string held_;                           // The channel's thread's.
  std::map<uint64_t, std::string> differing_;  // gfn: what the standby had there.
  std::string excused_;
  size_t compared_ = 0;
  Hashes hashes_;  // The primary's, of the checkpoint to come; empty: it is not compared.
  replication::v1::GuestAttachments attachments_;
  absl::Duration suspended_at_, suspend_took_;
  LockstepChannel channel_;
};

int Run(int argc, char** argv) {
  const std::map<std::string, From> froms = {
      {"running", From::kRunning}, {"frozen", From::kFrozen}, {"suspended", From::kSuspended}};
  const auto from = froms.find(argc == 2 ? argv[1] : "running");
  if (argc > 2 || from == froms.end()) {
    LogError("usage: ", argv[0], " [running|frozen|suspended]: what the standby is to do when it takes over");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  const UniqueFd signal_fd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  auto loop = *EventLoop::New();
  const auto backends = AgentBackends::Start(*loop, BackendScope::kMarkedDomains);
  if (!backends.ok()) {
    LogError(backends.status().message());
    return 1;
  }
  HelperCheckpointTarget::Options options;
  options.create_guest = XenStandbyGuest::Create;
  options.restore_helper = "/opt/romulus/bin/romulus-restore-helper";
  Standby standby(*loop, options, from->second);
  loop->WatchReadable(signal_fd.get(), [&] {
    loop->Unwatch(signal_fd.get());
    standby.TakeOver();
  });
  loop->Run();
  _exit(0);
}

}  // namespace
}  // namespace romulus::lab

int main(int argc, char** argv) { return romulus::lab::Run(argc, argv); }
