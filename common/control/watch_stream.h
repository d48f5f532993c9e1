#ifndef ROMULUS_COMMON_CONTROL_WATCH_STREAM_H_
#define ROMULUS_COMMON_CONTROL_WATCH_STREAM_H_

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/control/change_signal.h"
#include "common/control/durations.h"
#include "proto/control/v1/common.pb.h"

namespace romulus {

// What a watcher has to be told so that its picture becomes `now`: pure. Keyed by resource name; `known` is updated.
template <typename Resource>
std::vector<std::pair<control::v1::WatchEvent, Resource>> DiffForWatch(std::map<std::string, Resource>& known,
                                                                       const std::vector<Resource>& now) {
  std::vector<std::pair<control::v1::WatchEvent, Resource>> events;
  std::map<std::string, Resource> next;
  for (const Resource& resource : now) {
    const auto before = known.find(resource.name());
    if (before == known.end()) {
      events.emplace_back(control::v1::CREATED, resource);
    } else if (before->second.SerializeAsString() != resource.SerializeAsString()) {
      events.emplace_back(control::v1::CHANGED, resource);
    }
    next.emplace(resource.name(), resource);
  }
  for (const auto& [name, resource] : known) {
    if (next.count(name) == 0) events.emplace_back(control::v1::DELETED, resource);
  }
  known = std::move(next);
  return events;
}

// The period that a Watch request asks for: 1 s by default, at least 50 ms.
template <typename Request>
absl::Duration WatchPeriod(const Request& request) {
  if (!request.has_period()) return absl::Seconds(1);
  return std::max(FromProto(request.period()), absl::Milliseconds(50));
}

// Of `resources`, the one of this name; all where `name` is empty.
template <typename Resource>
std::vector<Resource> OnlyNamed(const std::string& name, std::vector<Resource> resources) {
  if (name.empty()) return resources;
  resources.erase(std::remove_if(resources.begin(), resources.end(),
                                 [&](const Resource& resource) { return resource.name() != name; }),
                  resources.end());
  return resources;
}

// Serves one watch on the calling thread until `write` fails or `cancelled`: snapshot, SYNCED, then changes, at once
// when `signal` fires and every `period` otherwise.
template <typename Resource>
void ServeWatch(const ChangeSignal& signal, absl::Duration period, const std::function<std::vector<Resource>()>& list,
                const std::function<bool()>& cancelled,
                const std::function<bool(control::v1::WatchEvent, const Resource*)>& write) {
  // How long a watcher that has gone away may keep its thread.
  constexpr absl::Duration kCancellationPoll = absl::Milliseconds(200);
  uint64_t seen = signal.changes();
  std::map<std::string, Resource> known;
  for (const Resource& resource : list()) {
    if (!write(control::v1::SNAPSHOT, &resource)) return;
    known.emplace(resource.name(), resource);
  }
  if (!write(control::v1::SYNCED, nullptr)) return;
  while (true) {
    for (absl::Duration left = period; left > absl::ZeroDuration() && signal.changes() == seen;
         left -= kCancellationPoll) {
      signal.Wait(seen, std::min(left, kCancellationPoll));
      if (cancelled()) return;
    }
    if (cancelled()) return;
    seen = signal.changes();
    for (const auto& [event, resource] : DiffForWatch(known, list())) {
      if (!write(event, &resource)) return;
    }
  }
}

}  // namespace romulus

#endif  // ROMULUS_COMMON_CONTROL_WATCH_STREAM_H_
