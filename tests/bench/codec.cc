// The encodings of checkpoints, on recorded page traces: how many bytes are left, and how fast one core makes and
// reads them. Every checkpoint that was encoded is decoded and compared. Run by tests/bench/run, which takes the JSON
// that this prints.
//
//     codec FOLDER      of traces (*.zst)
#include <sched.h>
#include <stdio.h>
#include <time.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/heap.h"
#include "common/base/log.h"
#include "tests/bench/checkpoint_coding.h"
#include "tests/bench/page_trace.h"

namespace romulus {
namespace {

constexpr int kRounds = 7;

// Of this thread: what else the machine does counts for little.
double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

void StayOnOneCore() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(sched_getcpu(), &cores);
  ROMULUS_CHECK(sched_setaffinity(0, sizeof(cores), &cores) == 0);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Figures {
  uint64_t raw_bytes = 0;
  uint64_t wire_bytes = 0;
  std::vector<double> encode_seconds;  // Of each round.
  std::vector<double> decode_seconds;
};

// Once through the trace with a fresh encoder and decoder. The history is encoded, too, but not measured.
void Pass(const PageTrace& trace, const NamedCoding& named, GrowableBytes* wire, std::string* decoded,
          Figures* figures) {
  const std::unique_ptr<CheckpointCoding> coding = named.make();
  double encoding = 0, decoding = 0;
  figures->raw_bytes = figures->wire_bytes = 0;
  for (size_t i = 0; i < trace.checkpoints.size(); ++i) {
    const absl::Span<const char> checkpoint = trace.checkpoints[i];
    wire->clear();
    const double begun = CpuSeconds();
    coding->Encode(checkpoint, wire);
    const double encoded = CpuSeconds();
    coding->Decode(wire->span(), absl::MakeSpan(*decoded).subspan(0, checkpoint.size()));
    const double done = CpuSeconds();
    if (memcmp(decoded->data(), checkpoint.data(), checkpoint.size()) != 0) {
      LogError(trace.name, ", ", named.name, ": checkpoint ", i, " came back as something else");
      exit(1);
    }
    if (i == 0) continue;
    encoding += encoded - begun;
    decoding += done - encoded;
    figures->raw_bytes += checkpoint.size();
    figures->wire_bytes += wire->size();
  }
  figures->encode_seconds.push_back(encoding);
  figures->decode_seconds.push_back(decoding);
}

void Measure(const PageTrace& trace, const char** separator) {
  size_t largest = 0;
  for (const auto& checkpoint : trace.checkpoints) largest = std::max(largest, checkpoint.size());
  GrowableBytes wire;
  wire.Reserve(2 * largest + (1 << 20));
  std::string decoded(largest, '\0');
  const std::vector<NamedCoding> codings = Codings();
  std::vector<Figures> figures(codings.size());
  // Round by round, so that a drift of the machine's speed meets all of them.
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < codings.size(); ++i) Pass(trace, codings[i], &wire, &decoded, &figures[i]);
  }
  uint64_t best = std::numeric_limits<uint64_t>::max();
  for (size_t i = 0; i < codings.size(); ++i) {
    if (codings[i].single) best = std::min(best, figures[i].wire_bytes);
  }
  for (size_t i = 0; i < codings.size(); ++i) {
    const auto raw = static_cast<double>(figures[i].raw_bytes), sent = static_cast<double>(figures[i].wire_bytes);
    printf(
        "%s\"%s/%s\": {\"ratio\": %.2f, \"encode_gb_per_s\": %.2f, \"decode_gb_per_s\": %.2f, "
        "\"bytes_of_best_single\": %.3f}",
        *separator, trace.name.c_str(), codings[i].name.c_str(), raw / sent,
        raw / Median(figures[i].encode_seconds) / 1e9, raw / Median(figures[i].decode_seconds) / 1e9,
        sent / static_cast<double>(best));
    *separator = ", ";
  }
}

int Run(const std::string& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".zst") paths.push_back(entry.path());
  }
  if (paths.empty()) {
    LogError("no traces (*.zst) in ", folder);
    return 1;
  }
  std::sort(paths.begin(), paths.end());
  StayOnOneCore();
  const char* separator = "";
  printf("{");
  for (const std::string& path : paths) {
    const absl::StatusOr<PageTrace> trace = LoadPageTrace(path);
    if (!trace.ok()) {
      LogError(trace.status().ToString());
      return 1;
    }
    Measure(*trace, &separator);
  }
  printf("}\n");
  return 0;
}

}  // namespace
}  // namespace romulus

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  romulus::KeepFreedMemory();  // As the agents do.
  return romulus::Run(argv[1]);
}
