// A developer's tool: makes a standby on this host and feeds it from a libxc stream on standard input (what
// primary/capture's tool writes), checkpoint by checkpoint, without agents, commits or fencing. At the end of the input
// it activates the standby or discards it. It shows how long the parts of an activation take.

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "common/base/key_value.h"
#include "common/base/log.h"
#include "common/base/unique_fd.h"
#include "common/control/agent_backends.h"
#include "common/loop/event_loop.h"
#include "common/xen/control.h"
#include "common/xen/xenstore.h"
#include "secondary/target/helper_checkpoint_target.h"
#include "secondary/target/leftover_standbys.h"
#include "secondary/target/readiness.h"
#include "secondary/target/xen_standby_guest.h"

extern "C" {
#include <xen/arch-x86/xen.h>
}

namespace romulus {
namespace {

constexpr uint32_t kCheckpointRecord = 0xe;

struct Arguments {
  HelperCheckpointTarget::Options target;
  replication::v1::DomainDescription domain;
  bool activate = true;
};

bool ReadExactly(char* to, size_t length) {
  while (length > 0) {
    const ssize_t got = read(STDIN_FILENO, to, length);
    if (got <= 0) return false;
    to += got;
    length -= got;
  }
  return true;
}

// Appends a record, padding included. False: the input ended within it.
bool AppendRecord(std::string& to, uint32_t& type) {
  uint32_t header[2];
  if (!ReadExactly(reinterpret_cast<char*>(header), sizeof(header))) return false;
  const size_t body = (size_t{header[1]} + 7) & ~size_t{7};
  const size_t start = to.size();
  to.resize(start + sizeof(header) + body);
  memcpy(&to[start], header, sizeof(header));
  type = header[0];
  return ReadExactly(&to[start + sizeof(header)], body);
}

class TargetTool final : public CheckpointTarget::Observer {
 public:
  TargetTool(EventLoop& loop, Arguments arguments)
      : loop_(loop), arguments_(std::move(arguments)), target_(loop, arguments_.target) {}
  ~TargetTool() override {
    if (reader_.joinable()) reader_.detach();
  }

  void Start() { target_.Prepare(arguments_.domain, /*lockstep=*/false, this); }
  bool succeeded() const { return succeeded_; }
  void Discard() {
    LogInfo("discarding");
    began_ = loop_.Now();
    target_.Discard();
  }

  void OnPrepared(absl::Status status, std::shared_ptr<CheckpointSink> sink, uint32_t domid) override {
    LogInfo("prepared domain ", domid, ": ", status.ToString());
    if (!status.ok()) return loop_.Quit();
    reader_ = std::thread([this, sink] { ReadStream(*sink); });
  }
  void OnApplied(uint64_t epoch) override { LogInfo("checkpoint ", epoch, " applied"); }
  void OnRunning(uint64_t, const StandbyGap*) override {}
  void OnSuspended(uint64_t, PageRuns) override {}
  void OnLockstepRefused(uint64_t, absl::Status) override {}
  void OnBroken(absl::Status status) override {
    LogError("broken: ", status.ToString());
    Discard();
  }
  void OnActivated(absl::Status status, CheckpointTarget::ActivationTimes times) override {
    LogInfo("activated: ", status.ToString(), "; restore ", absl::FormatDuration(times.restore), ", devices ",
            absl::FormatDuration(times.devices), ", total ", absl::FormatDuration(times.total));
    if (!status.ok()) return Discard();
    succeeded_ = true;
    // Long enough for the announcements.
    loop_.After(absl::Seconds(8), [this] { loop_.Quit(); });
  }
  void OnDiscarded() override {
    LogInfo("discarded in ", absl::FormatDuration(loop_.Now() - began_));
    succeeded_ = !arguments_.activate;
    loop_.Quit();
  }

 private:
  void ReadStream(CheckpointSink& sink) {
    std::string bytes(40, '\0');  // Image and domain header.
    uint32_t type = 0;
    bool whole = ReadExactly(bytes.data(), bytes.size());
    while (whole) {
      if (!sink.Write(bytes).ok()) return;
      bytes.clear();
      whole = AppendRecord(bytes, type);
      if (type == kCheckpointRecord) break;
    }
    if (whole) loop_.Post([this, bytes] { target_.FinishSeeding(bytes, AfterCheckpoint::kWait); });
    for (uint64_t epoch = 2; whole; ++epoch) {
      bytes.clear();
      do {
        whole = AppendRecord(bytes, type);
      } while (whole && type != kCheckpointRecord);
      if (whole) loop_.Post([this, epoch, bytes] { target_.Apply(epoch, bytes, AfterCheckpoint::kWait); });
    }
    loop_.Post([this] {
      LogInfo("end of input");
      if (!arguments_.activate) return Discard();
      target_.Activate();
    });
  }

  EventLoop& loop_;
  const Arguments arguments_;
  HelperCheckpointTarget target_;
  std::thread reader_;
  absl::Duration began_;
  bool succeeded_ = false;
};

bool ParseArgument(const std::string& text, Arguments& arguments) {
  const std::optional<KeyValue> given = ParseKeyValue(text);
  if (!given.has_value()) return false;
  const auto& [key, value, number] = *given;
  replication::v1::DomainDescription& domain = arguments.domain;
  replication::v1::Vif& vif = *(domain.vifs().empty() ? domain.add_vifs() : domain.mutable_vifs(0));
  if (key == "helper") {
    arguments.target.restore_helper = value;
  } else if (key == "end") {
    arguments.activate = value == "activate";
  } else if (key == "name") {
    domain.set_name(value);
  } else if (key == "uuid") {
    domain.set_uuid(absl::HexStringToBytes(absl::StrReplaceAll(value, {{"-", ""}})));
  } else if (key == "json") {
    std::ifstream file(value);
    domain.set_libxl_json(std::string(std::istreambuf_iterator<char>(file), {}));
  } else if (key == "mac") {
    vif.set_mac(value);
  } else if (key == "bridge") {
    vif.set_bridge(value);
  } else if (key == "vifname") {
    vif.set_name(value);
  } else if (key == "script") {
    vif.set_script(value);
  } else if (key == "memory_kib" && number.has_value()) {
    domain.set_memory_static_max_kib(*number);
    domain.set_memory_target_kib(*number);
    domain.set_memory_max_kib(*number + 1024);
  } else if (key == "vcpus" && number.has_value()) {
    domain.set_vcpu_count(*number);
  } else if (key == "tsc_mode" && number.has_value()) {
    domain.set_tsc_mode(*number);
  } else {
    return false;
  }
  return true;
}

int ShowHost(const Arguments& arguments, bool clean) {
  for (const control::v1::ReadinessCheck& check : CheckStandbyReadiness(arguments.target.restore_helper)) {
    LogInfo(check.holds()      ? "holds   "
            : check.optional() ? "optional"
                               : "MISSING ",
            " ", check.name(), ": ", check.finding(), check.holds() ? "" : absl::StrCat(" -> ", check.remedy()));
  }
  absl::StatusOr<XcInterface> xc = OpenXenControl(nullptr);
  absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  if (!xc.ok() || !store.ok()) return 1;
  absl::StatusOr<std::vector<LeftoverStandby>> leftovers = FindLeftoverStandbys(xc->get(), **store);
  if (!leftovers.ok()) {
    LogError(leftovers.status().ToString());
    return 1;
  }
  for (const LeftoverStandby& leftover : *leftovers) {
    LogInfo("leftover standby ", leftover.domid, " of '", leftover.name, "' ", leftover.uuid,
            leftover.restored ? ", restored" : "");
    if (clean) LogInfo(DestroyLeftoverStandby(xc->get(), **store, leftover).ToString());
  }
  return 0;
}

int Run(int argc, char** argv) {
  Arguments arguments;
  arguments.target.create_guest = XenStandbyGuest::Create;
  arguments.target.restore_helper = "/opt/romulus/bin/romulus-restore-helper";
  arguments.domain.set_type(replication::v1::PVH);
  arguments.domain.set_vcpu_count(1);
  arguments.domain.set_create_flags(XEN_DOMCTL_CDF_hvm | XEN_DOMCTL_CDF_hap);
  arguments.domain.set_emulation_flags(XEN_X86_EMU_LAPIC);
  arguments.domain.set_tsc_mode(2);
  if (argc == 2 && (strcmp(argv[1], "show") == 0 || strcmp(argv[1], "clean") == 0)) {
    return ShowHost(arguments, strcmp(argv[1], "clean") == 0);
  }
  for (int i = 1; i < argc; ++i) {
    if (ParseArgument(argv[i], arguments)) continue;
    LogError("usage: ", argv[0],
             " show | clean | name=X uuid=X memory_kib=N mac=X bridge=X [vifname=X] [script=X] [vcpus=N] [tsc_mode=N] "
             "[json=FILE] [helper=PATH] [end=activate|discard] < STREAM");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGINT);
  sigaddset(&stop_signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &stop_signals, nullptr);
  const UniqueFd signals(signalfd(-1, &stop_signals, SFD_CLOEXEC | SFD_NONBLOCK));

  auto loop = *EventLoop::New();
  const auto backends = AgentBackends::Start(*loop, BackendScope::kMarkedDomains);
  if (!backends.ok()) {
    LogError(backends.status().message());
    return 1;
  }
  TargetTool tool(*loop, std::move(arguments));
  loop->WatchReadable(signals.get(), [&] {
    loop->Unwatch(signals.get());
    tool.Discard();
  });
  tool.Start();
  loop->Run();
  // The reader may still wait for its input.
  _exit(tool.succeeded() ? 0 : 1);
}

}  // namespace
}  // namespace romulus

int main(int argc, char** argv) { return romulus::Run(argc, argv); }
