#include "common/observe/metrics_server.h"

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>

#include <chrono>
#include <exception>
#include <future>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace romulus {
namespace {

constexpr std::chrono::seconds kPatience(2);

// Asks the loop, on the HTTP server's thread.
class LoopSource final : public prometheus::Collectable {
 public:
  LoopSource(Scheduler* loop, MetricsServer::Collect collect)
      : loop_(loop), collect_(std::make_shared<MetricsServer::Collect>(std::move(collect))) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    // Both live as long as the last of the two threads needs them: a request that has given up leaves its task behind.
    auto answer = std::make_shared<std::promise<MetricFamilies>>();
    std::future<MetricFamilies> collected = answer->get_future();
    loop_->Post([answer, collect = std::weak_ptr(collect_)] {
      MetricFamilies families;
      if (auto still = collect.lock()) (*still)(families);
      answer->set_value(std::move(families));
    });
    answer.reset();
    MetricFamilies families;
    const bool responsive = Await(collected, families);
    families.Gauge("romulus_agent_responsive", "Whether the agent's loop has answered for the other figures.", {},
                   responsive ? 1 : 0);
    return families.families();
  }

 private:
  static bool Await(std::future<MetricFamilies>& collected, MetricFamilies& families) {
    if (collected.wait_for(kPatience) != std::future_status::ready) return false;
    try {
      families = collected.get();
      return true;
    } catch (const std::future_error&) {
      return false;  // The loop has gone, and its tasks with it.
    }
  }

  Scheduler* const loop_;
  const std::shared_ptr<MetricsServer::Collect> collect_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& address, Scheduler* loop,
                                                                    Collect collect) {
  auto source = std::make_shared<LoopSource>(loop, std::move(collect));
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(address, /*num_threads=*/2);
    exposer->RegisterCollectable(source);
    return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(source), std::move(exposer)));
  } catch (const std::exception& error) {  // The library's way of failing.
    return absl::FailedPreconditionError(absl::StrCat("can't serve metrics on ", address, " (", error.what(),
                                                      "): free the address, name another by --metrics_address, or "
                                                      "none by --metrics_address="));
  }
}

MetricsServer::MetricsServer(std::shared_ptr<prometheus::Collectable> source,
                             std::unique_ptr<prometheus::Exposer> exposer)
    : source_(std::move(source)), exposer_(std::move(exposer)) {}

MetricsServer::~MetricsServer() = default;

int MetricsServer::port() const { return exposer_->GetListeningPorts().front(); }

}  // namespace romulus
