#ifndef ROMULUS_COMMON_OBSERVE_METRIC_FAMILIES_H_
#define ROMULUS_COMMON_OBSERVE_METRIC_FAMILIES_H_

#include <prometheus/metric_family.h>

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace romulus {

// Figures on their way to a metrics server: families in the order in which they were first named.
//
// Names are romulus_<thing>_<unit>, in base units (seconds, bytes); counters end in _total.
class MetricFamilies {
 public:
  using Labels = std::initializer_list<std::pair<std::string, std::string>>;

  // `help` is the family's: the first one counts.
  void Gauge(const std::string& name, const std::string& help, const Labels& labels, double value);
  // Only ever grows, but for a restart of what counts.
  void Counter(const std::string& name, const std::string& help, const Labels& labels, double value);

  const std::vector<prometheus::MetricFamily>& families() const { return families_; }

 private:
  prometheus::ClientMetric& Add(const std::string& name, const std::string& help, prometheus::MetricType type,
                                const Labels& labels);

  std::vector<prometheus::MetricFamily> families_;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_OBSERVE_METRIC_FAMILIES_H_
