// Runs seeded scenarios and reports: bazel run //tests/simulation:simulate -- --seeds=1000000
// A failing seed prints the command that replays it with a trace.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/simulation/scenario.h"

namespace romulus::simulation {
namespace {

struct Flags {
  uint64_t first_seed = 1;
  uint64_t seeds = 10000;
  bool trace = false;
  Mutant mutant = Mutant::kNone;
  Mode mode = Mode::kRemus;
  // With a mutant: success is that a seed finds it.
  bool expect_violation = false;
};

thread_local uint64_t current_seed = 0;
std::string mutant_name = "none";
const char* mode_name = "remus";

void PrintReplay(uint64_t seed) {
  fprintf(stderr,
          "replay: bazel run //tests/simulation:simulate -- --first_seed=%" PRIu64
          " --seeds=1 --mode=%s --mutant=%s --trace\n",
          seed, mode_name, mutant_name.c_str());
}

// A failed ROMULUS_CHECK: which seed it was.
void OnAbort(int) {
  char text[200];
  int length = snprintf(text, sizeof text,
                        "replay: bazel run //tests/simulation:simulate -- --first_seed=%" PRIu64
                        " --seeds=1 --mode=%s --mutant=%s --trace\n",
                        current_seed, mode_name, mutant_name.c_str());
  if (write(STDERR_FILENO, text, static_cast<size_t>(length)) < 0) _exit(3);
  signal(SIGABRT, SIG_DFL);
  raise(SIGABRT);
}

struct Totals {
  std::map<std::string, uint64_t> faults, endings;
  uint64_t checkpoints = 0, early_checkpoints = 0, takeovers = 0, answers = 0, dropped = 0, seeds = 0;
  uint64_t runs_along = 0, compared = 0, divergences = 0;
  uint64_t failed_seed = 0;
  std::string violation;

  void Add(const Outcome& outcome) {
    ++seeds;
    checkpoints += outcome.checkpoints;
    early_checkpoints += outcome.early_checkpoints;
    dropped += outcome.dropped;
    runs_along += outcome.runs_along;
    compared += outcome.compared;
    divergences += outcome.divergences;
    takeovers += outcome.takeovers;
    answers += outcome.answers;
    ++endings[outcome.ending];
    for (const auto& [name, count] : outcome.faults) faults[name] += count;
  }
  void Add(const Totals& other) {
    seeds += other.seeds;
    checkpoints += other.checkpoints;
    early_checkpoints += other.early_checkpoints;
    dropped += other.dropped;
    runs_along += other.runs_along;
    compared += other.compared;
    divergences += other.divergences;
    takeovers += other.takeovers;
    answers += other.answers;
    for (const auto& [name, count] : other.endings) endings[name] += count;
    for (const auto& [name, count] : other.faults) faults[name] += count;
    if (other.failed_seed != 0 && (failed_seed == 0 || other.failed_seed < failed_seed)) {
      failed_seed = other.failed_seed;
      violation = other.violation;
    }
  }
};

int Run(const Flags& flags) {
  auto started = std::chrono::steady_clock::now();
  unsigned threads = flags.seeds == 1 ? 1 : std::max(1u, std::thread::hardware_concurrency());
  std::vector<Totals> parts(threads);
  std::atomic<bool> failed = false;
  std::atomic<uint64_t> done = 0;
  std::vector<std::thread> workers;
  for (unsigned i = 0; i < threads; ++i) {
    workers.emplace_back([&, i] {
      for (uint64_t n = i; n < flags.seeds && !failed; n += threads) {
        current_seed = flags.first_seed + n;
        Outcome outcome = RunScenario(current_seed, flags.mutant, flags.trace, flags.mode);
        parts[i].Add(outcome);
        // Something to look at in long runs.
        if (++done % 20000 == 0) fprintf(stderr, "%" PRIu64 " of %" PRIu64 " seeds\n", done.load(), flags.seeds);
        if (outcome.violation.empty()) continue;
        parts[i].failed_seed = current_seed;
        parts[i].violation = outcome.violation;
        failed = true;
      }
    });
  }
  Totals totals;
  for (unsigned i = 0; i < threads; ++i) {
    workers[i].join();
    totals.Add(parts[i]);
  }
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  printf("%" PRIu64 " seeds in %.1f s: %" PRIu64 " checkpoints (%" PRIu64 " early), %" PRIu64 " takeovers, %" PRIu64
         " answers, %" PRIu64 " dropped\n",
         totals.seeds, seconds, totals.checkpoints, totals.early_checkpoints, totals.takeovers, totals.answers,
         totals.dropped);
  if (flags.mode == Mode::kColo) {
    printf("lockstep: the standby began to run along %" PRIu64 " times, %" PRIu64
           " answers left before a commit, %" PRIu64 " differed\n",
           totals.runs_along, totals.compared, totals.divergences);
  }
  printf("faults injected:\n");
  for (const auto& [name, count] : totals.faults) printf("  %-32s %" PRIu64 "\n", name.c_str(), count);
  printf("endings:\n");
  for (const auto& [name, count] : totals.endings) printf("  %-32s %" PRIu64 "\n", name.c_str(), count);
  if (totals.failed_seed != 0) {
    printf("seed %" PRIu64 ": %s\n", totals.failed_seed, totals.violation.c_str());
    fflush(stdout);
    PrintReplay(totals.failed_seed);
  }
  if (flags.expect_violation && totals.failed_seed == 0) {
    printf("the mutant %s was not caught\n", mutant_name.c_str());
  }
  return (totals.failed_seed != 0) == flags.expect_violation ? 0 : 1;
}

bool Parse(int argc, char** argv, Flags& flags) {
  for (int i = 1; i < argc; ++i) {
    std::string flag = argv[i];
    auto value = [&](const char* name) -> const char* {
      size_t length = strlen(name);
      return flag.compare(0, length, name) == 0 ? flag.c_str() + length : nullptr;
    };
    if (const char* v = value("--first_seed=")) {
      flags.first_seed = strtoull(v, nullptr, 10);
    } else if (const char* v = value("--seeds=")) {
      flags.seeds = strtoull(v, nullptr, 10);
    } else if (const char* v = value("--mutant=")) {
      const std::map<std::string, Mutant> mutants = {{"none", Mutant::kNone},
                                                     {"release-early", Mutant::kReleaseEarly},
                                                     {"ack-early", Mutant::kAckEarly},
                                                     {"activate-partial", Mutant::kActivatePartial},
                                                     {"uncompared", Mutant::kUncompared},
                                                     {"ignore-standby", Mutant::kIgnoreStandby},
                                                     {"reapply", Mutant::kReapply}};
      auto found = mutants.find(v);
      if (found == mutants.end()) return false;
      flags.mutant = found->second;
      mutant_name = found->first;
    } else if (flag == "--mode=colo" || flag == "--mode=remus") {
      flags.mode = flag == "--mode=colo" ? Mode::kColo : Mode::kRemus;
      mode_name = flags.mode == Mode::kColo ? "colo" : "remus";
    } else if (flag == "--expect_violation") {
      flags.expect_violation = true;
    } else if (flag == "--trace") {
      flags.trace = true;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace
}  // namespace romulus::simulation

int main(int argc, char** argv) {
  romulus::simulation::Flags flags;
  if (!romulus::simulation::Parse(argc, argv, flags)) {
    fprintf(stderr,
            "usage: simulate [--mode=remus|colo] [--seeds=10000] [--first_seed=1] [--trace]\n"
            "                [--mutant=release-early|ack-early|activate-partial [--expect_violation]]\n"
            "                [--mode=colo --mutant=uncompared|ignore-standby|reapply [--expect_violation]]\n");
    return 2;
  }
  signal(SIGABRT, romulus::simulation::OnAbort);
  return romulus::simulation::Run(flags);
}
