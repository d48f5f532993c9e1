#include "tests/lab/guest/memory_dirtier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

namespace romulus::lab {
namespace {

constexpr size_t kPageSize = 4096;
constexpr size_t kRecordSize = 64;
constexpr uint64_t kTicksPerSecond = 100;
constexpr uint64_t kMostWorkingSetPages = 1u << 20;

// Not CLOCK_MONOTONIC, which stands still while the guest is suspended.
int NewTimer() {
  const int timer = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
  if (timer < 0) {
    perror("timerfd_create");
    exit(1);
  }
  return timer;
}

}  // namespace

MemoryDirtier::MemoryDirtier() : timer_(NewTimer()) {}

bool MemoryDirtier::Set(uint64_t pages_per_second, uint64_t working_set_pages) {
  if (working_set_pages > kMostWorkingSetPages || (pages_per_second > 0 && working_set_pages == 0)) return false;
  if (pages_per_second == 0 || working_set_pages != working_set_pages_) {
    if (memory_ != nullptr) munmap(memory_, working_set_pages_ * kPageSize);
    memory_ = nullptr;
    working_set_pages_ = 0;
  }
  pages_per_second_ = owed_ = next_page_ = 0;
  if (pages_per_second > 0 && memory_ == nullptr) {
    void* memory =
        mmap(nullptr, working_set_pages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    memory_ = static_cast<char*>(memory);
    working_set_pages_ = working_set_pages;
    for (size_t at = 0; at < working_set_pages * kPageSize; at += sizeof(uint64_t)) {
      const uint64_t word = NextRandom();
      memcpy(memory_ + at, &word, sizeof(word));
    }
  }
  pages_per_second_ = pages_per_second;
  itimerspec every{};
  if (pages_per_second > 0) every.it_interval.tv_nsec = every.it_value.tv_nsec = 1'000'000'000 / kTicksPerSecond;
  return timerfd_settime(timer_, 0, &every, nullptr) == 0;
}

void MemoryDirtier::Tick() {
  uint64_t ticks = 0;
  if (read(timer_, &ticks, sizeof(ticks)) != sizeof(ticks) || memory_ == nullptr) return;
  owed_ += std::min(ticks, kTicksPerSecond) * pages_per_second_;
  for (; owed_ >= kTicksPerSecond; owed_ -= kTicksPerSecond) WriteRecord();
}

uint64_t MemoryDirtier::NextRandom() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return random_;
}

void MemoryDirtier::WriteRecord() {
  ++pages_written_;
  uint64_t record[kRecordSize / sizeof(uint64_t)] = {pages_written_};
  for (size_t i = 1; i < kRecordSize / sizeof(uint64_t); ++i) record[i] = NextRandom();
  // Another record of the page with each walk through the working set.
  const uint64_t walk = pages_written_ / working_set_pages_;
  memcpy(memory_ + next_page_ * kPageSize + walk * kRecordSize % kPageSize, record, kRecordSize);
  next_page_ = (next_page_ + 1) % working_set_pages_;
}

}  // namespace romulus::lab
