// A developer's tool: takes checkpoints of a domain on this host and drops them (or writes the stream to a file, for
// Xen's verify-stream-v2). Nothing is replicated, no output is held.

#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/key_value.h"
#include "common/base/log.h"
#include "primary/capture/helper_checkpoint_source.h"

namespace romulus {
namespace {

struct Arguments {
  HelperCheckpointSource::Options source;
  uint64_t checkpoints = 50;
  absl::Duration interval = absl::Milliseconds(50);
  std::string stream_file;
  bool permit = true;
};

std::string PartsInWords(const CheckpointSource::PauseParts& parts) {
  std::string words;
  const auto part = [&words](const char* name, absl::Duration duration) {
    absl::StrAppend(&words, words.empty() ? " (" : ", ", name, " ", absl::FormatDuration(duration));
  };
  part("acknowledge", parts.acknowledge);
  part("suspend", parts.suspend);
  part("dirty bitmap", parts.dirty_bitmap);
  part("page copy", parts.page_copy);
  part("vcpu state", parts.vcpu_state);
  part("standby wait", parts.standby_wait);
  part("permit wait", parts.permit_wait);
  part("resume", parts.resume);
  part("outside: finish of the one before", parts.finish_resume);
  return words + ")";
}

class CaptureTool final : public CheckpointSource::Observer {
 public:
  CaptureTool(EventLoop& loop, Arguments arguments)
      : loop_(loop), arguments_(std::move(arguments)), source_(loop, arguments_.source) {
    if (!arguments_.stream_file.empty()) stream_ = fopen(arguments_.stream_file.c_str(), "w");
  }
  ~CaptureTool() override {
    if (seeder_.joinable()) seeder_.join();
    if (stream_ != nullptr) fclose(stream_);
  }

  void Start() { source_.Start(this); }
  void Stop() { source_.Stop(); }
  absl::Status status() const { return status_; }

  void OnSeeding(std::shared_ptr<CheckpointReader> reader) override {
    LogInfo("helper ", source_.helper_pid(), ": the first copy begins");
    seeder_ = std::thread([this, reader] { Drain(*reader); });
  }
  void OnSeedingProgress(uint64_t pages_sent, uint64_t pages_dirty) override {
    LogInfo("first copy: ", pages_sent, " pages written, ", pages_dirty, " left");
  }
  void OnSuspended(uint64_t epoch) override {
    if (arguments_.permit) source_.PermitResume(epoch);
  }
  void OnCaptured(CheckpointSource::Captured captured) override {
    pauses_ms_.push_back(absl::ToDoubleMilliseconds(captured.pause));
    LogInfo("checkpoint ", captured.epoch, ": ", captured.dirty_pages, " pages, ", captured.length, " bytes, pause ",
            absl::FormatDuration(captured.pause), PartsInWords(captured.parts));
    if (seeder_.joinable()) seeder_.join();
    if (captured.reader != nullptr) Drain(*captured.reader);
    if (captured.epoch >= arguments_.checkpoints) {
      source_.Stop();
    } else {
      loop_.After(arguments_.interval,
                  [this, next = captured.epoch + 1] { source_.RequestCheckpoint(next, /*with_standby_pages=*/false); });
    }
  }
  void OnEnded(absl::Status status) override {
    status_ = std::move(status);
    std::sort(pauses_ms_.begin(), pauses_ms_.end());
    if (!pauses_ms_.empty()) {
      LogInfo(pauses_ms_.size(), " checkpoints; pause p50 ", pauses_ms_[pauses_ms_.size() / 2], " ms, max ",
              pauses_ms_.back(), " ms");
    }
    loop_.Quit();
  }

 private:
  void Drain(CheckpointReader& reader) {
    std::vector<char> buffer(1 << 20);
    while (true) {
      const absl::StatusOr<size_t> got = reader.Read(absl::MakeSpan(buffer));
      if (!got.ok()) LogWarning("reading the checkpoint: ", got.status().ToString());
      if (!got.ok() || *got == 0) return;
      if (stream_ != nullptr) ROMULUS_CHECK(fwrite(buffer.data(), 1, *got, stream_) == *got);
    }
  }

  EventLoop& loop_;
  const Arguments arguments_;
  HelperCheckpointSource source_;
  FILE* stream_ = nullptr;
  std::thread seeder_;
  std::vector<double> pauses_ms_;
  absl::Status status_;
};

bool ParseArgument(const std::string& text, Arguments& arguments) {
  const std::optional<KeyValue> given = ParseKeyValue(text);
  if (!given.has_value()) return false;
  const auto& [key, value, number] = *given;
  if (key == "helper") {
    arguments.source.helper_program = value;
  } else if (key == "stream") {
    arguments.stream_file = value;
  } else if (!number.has_value()) {
    return false;
  } else if (key == "domid") {
    arguments.source.domid = static_cast<uint32_t>(*number);
  } else if (key == "count") {
    arguments.checkpoints = *number;
  } else if (key == "interval_ms") {
    arguments.interval = absl::Milliseconds(*number);
  } else if (key == "suspend_timeout_ms") {
    arguments.source.suspend_timeout = absl::Milliseconds(*number);
  } else if (key == "staging_bytes_max") {
    arguments.source.staging_bytes_max = *number;
  } else if (key == "permit") {
    arguments.permit = *number != 0;
  } else {
    return false;
  }
  return true;
}

int Run(int argc, char** argv) {
  Arguments arguments;
  arguments.source.helper_program = "/opt/romulus/bin/romulus-save-helper";
  for (int i = 1; i < argc; ++i) {
    if (ParseArgument(argv[i], arguments)) continue;
    LogError("usage: ", argv[0],
             " domid=N [count=N] [interval_ms=N] [stream=FILE] [helper=PATH] [suspend_timeout_ms=N] "
             "[staging_bytes_max=N] [permit=0|1]");
    return 2;
  }
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGINT);
  sigaddset(&stop_signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &stop_signals, nullptr);
  const UniqueFd signals(signalfd(-1, &stop_signals, SFD_CLOEXEC | SFD_NONBLOCK));

  auto loop = *EventLoop::New();
  CaptureTool tool(*loop, std::move(arguments));
  loop->WatchReadable(signals.get(), [&] {
    loop->Unwatch(signals.get());
    tool.Stop();
  });
  tool.Start();
  loop->Run();
  LogInfo("ended: ", tool.status().ToString());
  return tool.status().ok() ? 0 : 1;
}

}  // namespace
}  // namespace romulus

int main(int argc, char** argv) { return romulus::Run(argc, argv); }
