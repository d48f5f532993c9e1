// A helper program that behaves as its first argument says; see helper_process_test.cc.

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/process/helper_channel.h"

namespace romulus {
namespace {

using helper::v1::HelperToAgent;

HelperToAgent Complete() {
  HelperToAgent message;
  message.mutable_complete();
  return message;
}

HelperToAgent Log(const std::string& text) {
  HelperToAgent message;
  message.mutable_log()->set_text(text);
  message.mutable_log()->set_severity(helper::v1::Log::INFO);
  return message;
}

int Run(const std::string& behaviour) {
  if (behaviour == "silent") {
    pause();
    return 0;
  }
  if (behaviour == "no-hello") {
    HelperEnd end{UniqueFd(kHelperDescriptor)};
    (void)end.Send(Complete());
    return 0;
  }
  if (behaviour == "wrong-version") {
    HelperEnd end{UniqueFd(kHelperDescriptor)};
    HelperToAgent hello;
    hello.mutable_hello()->set_protocol_version(kHelperProtocolVersion + 1);
    (void)end.Send(hello);
    pause();
    return 0;
  }
  absl::StatusOr<HelperEnd> agent = HelperEnd::TakeFromAgent("misbehaving_helper");
  if (!agent.ok()) return 2;
  if (behaviour == "complete") {
    (void)agent->Send(Complete());
    return 0;
  }
  if (behaviour == "write-into-descriptor") {
    absl::StatusOr<HelperEnd::Received> received = agent->Receive(absl::InfiniteDuration());
    if (!received.ok() || !received->message.has_start_save() || received->descriptors.size() != 1) return 4;
    // What the agent has opened besides must not be here.
    if (fcntl(received->descriptors[0].get() + 1, F_GETFD) != -1) return 5;
    const std::string text = absl::StrCat("domain ", received->message.start_save().domid());
    if (write(received->descriptors[0].get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) return 6;
    (void)agent->Send(Complete());
    return 0;
  }
  if (behaviour == "complete-on-sigterm") {
    static HelperEnd* end = &*agent;
    signal(SIGTERM, [](int) {
      (void)end->Send(Complete());
      _exit(0);
    });
    HelperToAgent ready;
    ready.mutable_suspended();
    (void)agent->Send(ready);
    while (true) pause();
  }
  if (behaviour == "wait-for-end-of-file") {
    HelperToAgent ready;
    ready.mutable_suspended();
    (void)agent->Send(ready);
    absl::StatusOr<HelperEnd::Received> received = agent->Receive(absl::InfiniteDuration());
    return absl::IsUnavailable(received.status()) ? 0 : 7;
  }
  if (behaviour == "complete-then-exit-3") {
    (void)agent->Send(Complete());
    return 3;
  }
  if (behaviour == "exit-0") return 0;
  if (behaviour == "abort") abort();
  if (behaviour == "fail") {
    HelperToAgent message;
    message.mutable_failed()->set_reason("the guest was destroyed");
    message.mutable_failed()->set_kind(helper::v1::Failed::DOMAIN_GONE);
    (void)agent->Send(message);
    return 1;
  }
  if (behaviour == "talk-after-complete") {
    (void)agent->Send(Complete());
    (void)agent->Send(Complete());
    return 0;
  }
  if (behaviour == "ignore-sigterm") {
    signal(SIGTERM, SIG_IGN);
    HelperToAgent ready;
    ready.mutable_suspended();
    (void)agent->Send(ready);
    while (true) pause();
  }
  if (behaviour == "garbage") {
    send(agent->descriptor(), "\xff\xff\xff garbage", 11, 0);
    pause();
  }
  if (behaviour == "oversize") {
    const std::string bytes(100'000, 'x');
    send(agent->descriptor(), bytes.data(), bytes.size(), 0);
    pause();
  }
  if (behaviour == "close-socket") {
    close(kHelperDescriptor);
    pause();
  }
  if (behaviour == "flood") {
    for (int i = 0; i < 20'000; ++i) (void)agent->Send(Log(absl::StrCat("line ", i, "\nwith a forged second line")));
    (void)agent->Send(Complete());
    return 0;
  }
  return 9;
}

}  // namespace
}  // namespace romulus

int main(int argc, char** argv) { return argc == 2 ? romulus::Run(argv[1]) : 8; }
