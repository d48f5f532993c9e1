// For page traces: writes logs and compresses them, for ever, and forgets the oldest. What it dirties is text that
// nobody has seen before, and its compressed form. Never exits.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include <random>
#include <string>

namespace {

constexpr size_t kLogBytes = 512 << 10;
constexpr int kLogsKept = 8;

constexpr const char* kLevels[] = {"DEBUG", "INFO", "INFO", "INFO", "INFO", "NOTICE", "WARNING", "ERROR"};
constexpr const char* kUnits[] = {"scheduler", "storage", "network", "session", "billing", "index", "mailer", "cache"};
constexpr const char* kWords[] = {
    "accepted", "request", "from",    "client", "retry",    "after",   "timeout", "while",  "writing",    "block",
    "of",       "volume",  "flushed", "queue",  "item",     "expired", "key",     "not",    "found",      "in",
    "segment",  "closed",  "by",      "peer",   "handled",  "page",    "view",    "order",  "connection", "reset",
    "slow",     "replica", "lag",     "disk",   "snapshot", "merge",   "lock",    "waited",
};

class Writer {
 public:
  std::string Log() {
    std::string log;
    while (log.size() < kLogBytes) AppendLine(log);
    return log;
  }

 private:
  template <size_t size>
  const char* Any(const char* const (&words)[size]) {
    return words[random_() % size];
  }
  void AppendLine(std::string& log) {
    clock_ms_ += random_() % 40'000;
    char start[128];
    snprintf(start, sizeof(start), "2026-11-21T%02d:%02d:%02d.%03d %-7s %s[%d] id=%08x",
             static_cast<int>(clock_ms_ / 3'600'000 % 24), static_cast<int>(clock_ms_ / 60'000 % 60),
             static_cast<int>(clock_ms_ / 1000 % 60), static_cast<int>(clock_ms_ % 1000), Any(kLevels), Any(kUnits),
             static_cast<int>(200 + random_() % 40), static_cast<unsigned>(random_()));
    log += start;
    for (uint64_t words = 3 + random_() % 9; words > 0; --words) {
      log += ' ';
      log += Any(kWords);
    }
    log += " took " + std::to_string(random_() % 900'000) + " us\n";
  }

  std::mt19937_64 random_{1};
  uint64_t clock_ms_ = 0;
};

void Die(const char* what) {
  perror(what);
  exit(1);
}

void Compress(const std::string& path, const std::string& log) {
  gzFile packed = gzopen(path.c_str(), "wb1");
  if (packed == nullptr || gzwrite(packed, log.data(), log.size()) != static_cast<int>(log.size())) Die("gzwrite");
  if (gzclose(packed) != Z_OK) Die("gzclose");
}

void Store(const std::string& path, const std::string& log) {
  FILE* file = fopen(path.c_str(), "w");
  if (file == nullptr || fwrite(log.data(), 1, log.size(), file) != log.size() || fclose(file) != 0) Die("fwrite");
}

}  // namespace

int main() {
  if (FILE* console = fopen("/dev/console", "w")) {
    fprintf(console, "workload: running\n");
    fclose(console);
  }
  Writer writer;
  for (int number = 0;; ++number) {
    const std::string path = "/tmp/" + std::to_string(number % kLogsKept) + ".log";
    // Given back first, as whoever rotates logs does: the new ones are in pages that were something else.
    remove(path.c_str());
    remove((path + ".gz").c_str());
    const std::string log = writer.Log();
    Store(path, log);
    Compress(path + ".gz", log);
  }
}
