// A save helper without Xen that behaves as its domid says; see helper_checkpoint_source_test.cc.

#include "primary/capture/fake_save_helper.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/process/helper_channel.h"

namespace romulus {
namespace {

using helper::v1::AgentToHelper;
using helper::v1::HelperToAgent;

class FakeSave {
 public:
  FakeSave(HelperEnd agent, HelperEnd::Received start)
      : agent_(std::move(agent)),
        behaviour_(static_cast<FakeBehaviour>(start.message.start_save().domid())),
        descriptors_(std::move(start.descriptors)) {}

  int Run() {
    if (behaviour_ == FakeBehaviour::kBlockInSeeding) {
      signal(SIGPIPE, SIG_IGN);
      const std::string bytes(1 << 16, 's');
      while (write(descriptors_[0].get(), bytes.data(), bytes.size()) > 0) continue;
      return Complete();
    }
    Write(descriptors_[0].get(), "live ");
    descriptors_[0].Reset();
    for (epoch_ = 1;; ++epoch_) {
      HelperToAgent message;
      message.mutable_suspended()->set_epoch(epoch_ + (behaviour_ == FakeBehaviour::kWrongEpoch ? 1 : 0));
      (void)agent_.Send(message);
      if (epoch_ == 2 && behaviour_ == FakeBehaviour::kDieSuspended) abort();
      if (epoch_ == 2 && behaviour_ == FakeBehaviour::kDieSuspendedForGood) abort();
      if (epoch_ == 2 && behaviour_ == FakeBehaviour::kHangSuspended) Hang();
      if (!Expect([this](const AgentToHelper& m) { return m.permit_resume().epoch() == epoch_; })) return Complete();
      const int index = (epoch_ + 1) % 2;
      const std::string bytes = absl::StrCat("checkpoint ", epoch_);
      Write(descriptors_[1 + index].get(), bytes);
      message.mutable_captured()->set_epoch(epoch_);
      message.mutable_captured()->set_staging_index(index);
      message.mutable_captured()->set_length(bytes.size() + (behaviour_ == FakeBehaviour::kWrongLength ? 1 : 0));
      message.mutable_captured()->set_pause_us(1000 * epoch_);
      (void)agent_.Send(message);
      if (!Expect([this](const AgentToHelper& m) { return m.begin_checkpoint().epoch() == epoch_ + 1; })) {
        return Complete();
      }
    }
  }

 private:
  static void Write(int file, const std::string& bytes) {
    if (lseek(file, 0, SEEK_SET) != 0 && errno != ESPIPE) exit(6);
    if (write(file, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) exit(6);
  }
  [[noreturn]] static void Hang() {
    signal(SIGTERM, SIG_IGN);
    while (true) pause();
  }
  // False: Stop, or the agent has gone.
  template <typename Predicate>
  bool Expect(Predicate expected) {
    const absl::StatusOr<HelperEnd::Received> received = agent_.Receive(absl::InfiniteDuration());
    if (!received.ok() || received->message.has_stop()) return false;
    if (!expected(received->message)) exit(7);
    return true;
  }
  int Complete() {
    HelperToAgent message;
    message.mutable_complete();
    (void)agent_.Send(message);
    return 0;
  }

  HelperEnd agent_;
  const FakeBehaviour behaviour_;
  std::vector<UniqueFd> descriptors_;
  uint64_t epoch_ = 0;
};

int Recover(HelperEnd agent, const helper::v1::Recover& request) {
  HelperToAgent message;
  if (static_cast<FakeBehaviour>(request.domid()) == FakeBehaviour::kDieSuspendedForGood) {
    message.mutable_failed()->set_reason("the hypervisor does not answer");
    message.mutable_failed()->set_guest_left_suspended(true);
  } else {
    message.mutable_complete();
  }
  (void)agent.Send(message);
  return message.has_complete() ? 0 : 1;
}

int Run() {
  absl::StatusOr<HelperEnd> agent = HelperEnd::TakeFromAgent("fake_save_helper");
  if (!agent.ok()) return 2;
  absl::StatusOr<HelperEnd::Received> first = agent->Receive(absl::InfiniteDuration());
  if (!first.ok()) return 3;
  if (first->message.has_recover()) return Recover(*std::move(agent), first->message.recover());
  if (!first->message.has_start_save() || first->descriptors.size() != 3) return 4;
  return FakeSave(*std::move(agent), *std::move(first)).Run();
}

}  // namespace
}  // namespace romulus

int main() { return romulus::Run(); }
