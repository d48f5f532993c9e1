#ifndef ROMULUS_COMMON_OBSERVE_METRICS_SERVER_H_
#define ROMULUS_COMMON_OBSERVE_METRICS_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/loop/scheduler.h"
#include "common/observe/metric_families.h"

namespace prometheus {
class Collectable;
class Exposer;
}  // namespace prometheus

namespace romulus {

// Serves an agent's figures over HTTP for Prometheus: GET /metrics, text format 0.0.4. Not encrypted and not
// authenticated: a loopback or management address.
class MetricsServer {
 public:
  // Called on the loop's thread, for each request anew: keep it short.
  using Collect = std::function<void(MetricFamilies&)>;

  // Serves at once on `address` ("host:port"; port 0 picks one). `loop` outlives the server, and `collect` is not
  // called once the server has gone. A loop that does not answer within two seconds, or has ended, is answered for by
  // romulus_agent_responsive 0 alone. FAILED_PRECONDITION if the address can't be bound.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& address, Scheduler* loop,
                                                              Collect collect);
  // On the loop's thread, or when the loop has ended.
  ~MetricsServer();

  int port() const;

 private:
  MetricsServer(std::shared_ptr<prometheus::Collectable> source, std::unique_ptr<prometheus::Exposer> exposer);

  const std::shared_ptr<prometheus::Collectable> source_;
  const std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_OBSERVE_METRICS_SERVER_H_
