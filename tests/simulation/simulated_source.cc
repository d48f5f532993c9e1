#include "tests/simulation/simulated_source.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/log.h"
#include "common/stream/memory_checkpoint.h"

namespace romulus::simulation {
namespace {

constexpr absl::Duration kResumeTimeout = absl::Seconds(1);
// The helper learns from the hypervisor that its domain is gone, whatever it is doing.
constexpr absl::Duration kDomainWatchPeriod = absl::Milliseconds(50);

}  // namespace

absl::StatusOr<size_t> GrowingReader::Read(absl::Span<char> buffer) {
  if (cancelled_) return absl::CancelledError("the reader was cancelled");
  size_t count = std::min(buffer.size(), bytes_.size() - offset_);
  ROMULUS_CHECK_MESSAGE(count > 0 || whole_, "this Read would block the simulation");
  memcpy(buffer.data(), bytes_.data() + offset_, count);
  offset_ += count;
  return count;
}

SimulatedSource::SimulatedSource(Host* host, std::shared_ptr<Domain> domain, Process agent, Random* random,
                                 OnCapture on_capture)
    : host_(host),
      domain_(std::move(domain)),
      agent_(std::move(agent)),
      random_(random),
      on_capture_(std::move(on_capture)) {}

SimulatedSource::~SimulatedSource() {
  *here_ = false;
  if (seeding_ != nullptr) seeding_->Cancel();
  if (ended_ || observer_ == nullptr || !host_->powered) return;
  // End of file on the helper's socket.
  host_->machine->After(random_->Between(absl::Milliseconds(1), absl::Milliseconds(50)),
                        [host = host_, domain = domain_] {
                          domain->suspended = domain->log_dirty = false;
                          --host->helpers;
                        });
}

void SimulatedSource::ToAgent(absl::Duration delay, std::function<void(Observer*)> call) {
  agent_.After(delay, [this, here = here_, call = std::move(call)] {
    if (*here && !ended_) call(observer_);
  });
}

void SimulatedSource::Start(Observer* observer) {
  observer_ = observer;
  ++host_->helpers;
  if (domain_->destroyed) return End(absl::NotFoundError("the domain is gone"), absl::Milliseconds(1));
  WatchDomain();
  domain_->log_dirty = true;
  domain_->dirty.clear();
  seeding_ = std::make_shared<GrowingReader>();
  ToAgent(absl::Milliseconds(3), [this](Observer* observer) { observer->OnSeeding(seeding_); });
  // The live rounds take a while; then comes the first checkpoint by itself.
  absl::Duration live = random_->Between(absl::Milliseconds(20), absl::Milliseconds(400));
  ToAgent(live / 2, [](Observer* observer) { observer->OnSeedingProgress(GuestMemory::kPages, 1); });
  host_->machine->After(live, [this, here = here_] {
    if (*here && !ended_) Suspend(1);
  });
}

void SimulatedSource::WatchDomain() {
  host_->machine->After(kDomainWatchPeriod, [this, here = here_] {
    if (!*here || ended_) return;
    if (domain_->destroyed) return End(absl::NotFoundError("the domain is gone"), absl::ZeroDuration());
    WatchDomain();
  });
}

void SimulatedSource::RequestCheckpoint(uint64_t epoch, bool with_standby_pages) {
  if (ended_) return;
  ROMULUS_CHECK(epoch == epoch_ + 1 && !awaiting_permit_ && !awaiting_pages_);
  awaiting_pages_ = with_standby_pages;
  standby_pages_.clear();
  Suspend(epoch);
}

void SimulatedSource::Suspend(uint64_t epoch) {
  epoch_ = epoch;
  suspend_requested_ = host_->machine->now();
  if (host_->failing_suspends > 0) {
    --host_->failing_suspends;
    return End(absl::UnavailableError("the guest did not suspend in time"), absl::Milliseconds(500));
  }
  absl::Duration acknowledge = random_->Between(absl::Milliseconds(1), absl::Milliseconds(10));
  host_->machine->After(acknowledge, [this, here = here_, epoch] {
    if (!*here || ended_) return;
    if (domain_->destroyed) return End(absl::NotFoundError("the domain is gone"), absl::ZeroDuration());
    if (domain_->paused) {
      return End(absl::UnavailableError("the guest did not suspend in time"), absl::Milliseconds(500));
    }
    domain_->suspended = suspended_ = true;
    suspend_ = host_->machine->now() - suspend_requested_;
    awaiting_permit_ = true;
    ToAgent(absl::Microseconds(200), [epoch](Observer* observer) { observer->OnSuspended(epoch); });
    host_->machine->After(kResumeTimeout, [this, here, epoch] {
      if (!*here || ended_ || epoch_ != epoch || !(awaiting_permit_ || awaiting_pages_)) return;
      End(absl::UnavailableError(awaiting_permit_ ? "the agent did not permit the resume in time"
                                                  : "the agent did not name the standby's pages in time"),
          absl::ZeroDuration());
    });
  });
}

void SimulatedSource::PermitResume(uint64_t epoch) {
  if (ended_) return;
  ROMULUS_CHECK(awaiting_permit_ && epoch == epoch_);
  awaiting_permit_ = false;
  if (!awaiting_pages_) Capture();
}

void SimulatedSource::AddStandbyPages(uint64_t epoch, PageRuns pages) {
  if (ended_) return;
  ROMULUS_CHECK(awaiting_pages_ && epoch == epoch_);
  awaiting_pages_ = false;
  if (!ignore_standby_pages_) standby_pages_ = std::move(pages);
  if (suspended_ && !awaiting_permit_) Capture();
}

void SimulatedSource::Capture() {
  absl::Duration copy = random_->Between(absl::Microseconds(100), absl::Milliseconds(3));
  host_->machine->After(copy, [this, here = here_, epoch = epoch_, copy] {
    if (!*here || ended_ || domain_->destroyed) return;
    std::set<int> pages = domain_->dirty;
    for (const PageRun& run : standby_pages_) {
      for (uint64_t gfn = run.first_gfn; gfn < run.first_gfn + run.count && gfn < GuestMemory::kPages; ++gfn) {
        pages.insert(static_cast<int>(gfn));
      }
    }
    Captured captured;
    captured.epoch = epoch;
    captured.dirty_pages = epoch == 1 ? GuestMemory::kPages : domain_->dirty.size();
    captured.standby_pages = epoch == 1 ? 0 : pages.size() - domain_->dirty.size();
    captured.parts.suspend = suspend_;
    captured.copy = captured.parts.page_copy = copy;
    std::string bytes = epoch == 1 ? FirstCheckpoint(domain_->memory) : LaterCheckpoint(domain_->memory, pages);
    captured.length = bytes.size();
    on_capture_(epoch, domain_->memory);
    domain_->dirty.clear();
    domain_->suspended = suspended_ = false;
    captured.pause = host_->machine->now() - suspend_requested_;
    if (epoch > 1) captured.reader = std::make_shared<MemoryCheckpointReader>(bytes);
    ToAgent(absl::Microseconds(100), [this, captured, bytes = std::move(bytes)](Observer* observer) {
      if (captured.epoch == 1) {
        seeding_->Append(bytes);
        seeding_->Finish();
        // From now on it is the link's alone.
        seeding_.reset();
      }
      observer->OnCaptured(captured);
    });
  });
}

void SimulatedSource::Stop() { End(absl::OkStatus(), random_->Between(absl::Milliseconds(1), absl::Milliseconds(20))); }

void SimulatedSource::KillHelper() {
  End(absl::UnavailableError("the save helper was killed by signal 11"), absl::Milliseconds(5));
}

// The guest runs again, dirty tracking is off; then the agent hears of it.
void SimulatedSource::End(absl::Status status, absl::Duration delay) {
  if (ended_) return;
  ended_ = true;
  awaiting_permit_ = awaiting_pages_ = false;
  if (seeding_ != nullptr) seeding_->Cancel();
  host_->machine->After(delay, [this, host = host_, domain = domain_, here = here_, status] {
    domain->suspended = domain->log_dirty = false;
    --host->helpers;
    if (!*here) return;
    agent_.After(absl::ZeroDuration(), [this, here, status] {
      if (*here) observer_->OnEnded(domain_->destroyed ? absl::NotFoundError("the domain is gone") : status);
    });
  });
}

absl::Status SimulatedGuestControl::Set(bool paused) {
  if (domain_->destroyed) return absl::NotFoundError("the domain is gone");
  if (host_->failing_pauses > 0) {
    --host_->failing_pauses;
    return absl::InternalError("simulated: the hypervisor refuses (EBUSY)");
  }
  domain_->paused = paused;
  return absl::OkStatus();
}

}  // namespace romulus::simulation
