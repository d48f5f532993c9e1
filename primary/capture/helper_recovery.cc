#include "primary/capture/helper_recovery.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

// Beyond the settling time: a handful of hypercalls and xenstore requests.
constexpr absl::Duration kTimeout = absl::Seconds(30);

}  // namespace

HelperRecovery::HelperRecovery(EventLoop& loop, const std::string& program, uint32_t domid, absl::Duration settle,
                               std::function<void(absl::Status)> done)
    : loop_(loop), done_(std::move(done)) {
  HelperProcess::Options options;
  options.program = program;
  options.label = absl::StrCat("recovery of domain ", domid);
  auto process = HelperProcess::Spawn(loop_, options, this);
  if (!process.ok()) {
    timer_ = loop_.After(absl::ZeroDuration(), [this, status = process.status()] {
      const auto done = done_;
      done(status);
    });
    return;
  }
  process_ = *std::move(process);
  helper::v1::AgentToHelper message;
  message.mutable_recover()->set_domid(domid);
  message.mutable_recover()->set_settle_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(settle)));
  (void)process_->Send(message);
  timer_ = loop_.After(settle + kTimeout,
                       [this] { process_->Terminate(absl::UnavailableError("the recovery did not come to an end")); });
}

HelperRecovery::~HelperRecovery() { loop_.Cancel(timer_); }

void HelperRecovery::OnMessage(const helper::v1::HelperToAgent&) {
  process_->Terminate(absl::UnavailableError("the recovery broke the protocol"));
}

void HelperRecovery::OnExit(const HelperProcess::Result& result) {
  const auto done = done_;
  done(result.status);
}

}  // namespace romulus
