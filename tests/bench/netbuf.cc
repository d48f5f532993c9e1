// What an epoch of the egress buffer costs: its buffer and its release, for guests with 1, 2 and 8 vifs, on this
// kernel, against three other ways to say the same to it, per command:
//   fork   a child that makes libnl's calls and ends, as Xen's libxl does it
//   exec   a child that is libnl's command line tool nl-qdisc-add
//   bare   one prepared message, sent by hand, and its acknowledgement
// The four take turns, so that what else the machine does hits them alike. For tests/bench/run netbuf, which runs it on
// a lab's host: root, and a kernel with sch_plug. It makes its devices in a network namespace of its own.

#include <errno.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/plug.h>
#include <netlink/route/tc.h>
#include <netlink/socket.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/log.h"
#include "common/base/unique_fd.h"
#include "netbuf/netlink_plug_kernel.h"
#include "netbuf/plug_egress_buffer.h"
#include "netbuf/simulated_ifb_claims.h"
#include "netbuf/tap_device.h"

namespace romulus {
namespace {

constexpr int kVifCounts[] = {1, 2, 8};
constexpr int kTurns = 20;
// The two fast ways run often within a turn: a slow one leaves the caches cold, which one round only would measure.
constexpr int kFastRoundsPerTurn = 10;

enum class Command { kBuffer, kRelease };

double NowUs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

void AwaitSuccess(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) ROMULUS_CHECK(errno == EINTR);
  ROMULUS_CHECK_MESSAGE(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child failed");
}

// One way to command the plug of a device.
using Commander = std::function<void(const std::string& device, Command command)>;

class Libnl {
 public:
  Libnl() : socket_(nl_socket_alloc(), nl_socket_free) { ROMULUS_CHECK(nl_connect(socket_.get(), NETLINK_ROUTE) == 0); }

  void Run(const std::string& device, Command command) {
    const std::unique_ptr<rtnl_qdisc, decltype(&rtnl_qdisc_put)> qdisc(rtnl_qdisc_alloc(), rtnl_qdisc_put);
    rtnl_tc_set_ifindex(TC_CAST(qdisc.get()), if_nametoindex(device.c_str()));
    rtnl_tc_set_parent(TC_CAST(qdisc.get()), TC_H_ROOT);
    ROMULUS_CHECK(rtnl_tc_set_kind(TC_CAST(qdisc.get()), "plug") == 0);
    const pid_t child = fork();
    ROMULUS_CHECK(child >= 0);
    if (child == 0) {
      const int set =
          command == Command::kBuffer ? rtnl_qdisc_plug_buffer(qdisc.get()) : rtnl_qdisc_plug_release_one(qdisc.get());
      _exit(set == 0 && rtnl_qdisc_add(socket_.get(), qdisc.get(), NLM_F_REQUEST) == 0 ? 0 : 1);
    }
    AwaitSuccess(child);
  }

 private:
  const std::unique_ptr<nl_sock, decltype(&nl_socket_free)> socket_;
};

void RunTool(const std::string& device, Command command) {
  const std::string dev = "--dev=" + device;
  const char* what = command == Command::kBuffer ? "--buffer" : "--release-one";
  const pid_t child = fork();
  ROMULUS_CHECK(child >= 0);
  if (child == 0) {
    execlp("nl-qdisc-add", "nl-qdisc-add", "--quiet", dev.c_str(), "--parent", "root", "--update", "plug", what,
           nullptr);
    _exit(127);
  }
  AwaitSuccess(child);
}

class BareNetlink {
 public:
  BareNetlink() : socket_(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)) {
    ROMULUS_CHECK(socket_.get() >= 0);
  }

  void Run(const std::string& device, Command command) {
    auto [known, fresh] = requests_.try_emplace({device, command});
    Request& request = known->second;
    if (fresh) Prepare(request, device, command);
    request.header.nlmsg_seq = ++sequence_;
    ROMULUS_CHECK(send(socket_.get(), &request, sizeof(request), 0) == sizeof(request));
    char reply[4096];
    ROMULUS_CHECK(recv(socket_.get(), reply, sizeof(reply), 0) > 0);
    const auto* header = reinterpret_cast<const nlmsghdr*>(reply);
    ROMULUS_CHECK(header->nlmsg_type == NLMSG_ERROR && header->nlmsg_seq == sequence_);
    ROMULUS_CHECK(static_cast<const nlmsgerr*>(NLMSG_DATA(header))->error == 0);
  }

 private:
  struct Request {
    nlmsghdr header;
    tcmsg address;
    rtattr kind;
    char kind_name[8];
    rtattr options;
    tc_plug_qopt plug;
  };

  static void Prepare(Request& request, const std::string& device, Command command) {
    request = {};
    request.header = {
        .nlmsg_len = sizeof(request), .nlmsg_type = RTM_NEWQDISC, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK};
    request.address = {.tcm_ifindex = static_cast<int>(if_nametoindex(device.c_str())), .tcm_parent = TC_H_ROOT};
    request.kind = {.rta_len = RTA_LENGTH(sizeof("plug")), .rta_type = TCA_KIND};
    strcpy(request.kind_name, "plug");
    request.options = {.rta_len = RTA_LENGTH(sizeof(tc_plug_qopt)), .rta_type = TCA_OPTIONS};
    request.plug.action = command == Command::kBuffer ? TCQ_PLUG_BUFFER : TCQ_PLUG_RELEASE_ONE;
  }

  const UniqueFd socket_;
  uint32_t sequence_ = 0;
  std::map<std::pair<std::string, Command>, Request> requests_;
};

double MedianOf(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// Microseconds per epoch, by way.
std::map<std::string, double> Measure(int vif_count) {
  std::vector<std::unique_ptr<TapDevice>> taps;
  PlugEgressBuffer::Options options{.protection = "bench"};
  for (int i = 0; i < vif_count; ++i) {
    options.vifs.push_back({"vif7." + std::to_string(i), 7, static_cast<uint32_t>(i)});
    taps.push_back(std::make_unique<TapDevice>(options.vifs.back().name));
    ROMULUS_CHECK(system(("ip link set " + options.vifs.back().name + " up").c_str()) == 0);
  }
  SimulatedIfbClaims claims;  // The namespace is our own: nobody else chooses an ifb.
  absl::StatusOr<std::shared_ptr<NetlinkPlugKernel>> kernel = NetlinkPlugKernel::New(&claims);
  ROMULUS_CHECK_MESSAGE(kernel.ok(), kernel.status().ToString());
  PlugEgressBuffer buffer(*kernel, options);
  auto check = [](const absl::Status& status) { ROMULUS_CHECK_MESSAGE(status.ok(), status.ToString()); };
  check(buffer.Attach());
  const std::vector<std::string> devices = buffer.devices();

  Libnl libnl;
  BareNetlink bare;
  std::map<std::string, std::vector<double>> samples;
  auto time = [&](const std::string& way, const std::function<void()>& epoch) {
    const double started = NowUs();
    epoch();
    samples[way].push_back(NowUs() - started);
  };
  auto by = [&](const Commander& commander) {
    return [&devices, commander] {
      for (const std::string& device : devices) commander(device, Command::kBuffer);
      for (const std::string& device : devices) commander(device, Command::kRelease);
    };
  };
  const auto by_fork = by([&](const std::string& device, Command command) { libnl.Run(device, command); });
  const auto by_exec = by(RunTool);
  const auto by_bare = by([&](const std::string& device, Command command) { bare.Run(device, command); });
  auto by_romulus = [&] {
    check(buffer.OpenEpoch());
    check(buffer.ReleaseEpoch());
  };
  by_romulus();  // The first one comes from pass-through, which is another matter.
  for (int turn = 0; turn < kTurns; ++turn) {
    time("exec", by_exec);
    time("fork", by_fork);
    for (int round = 0; round < kFastRoundsPerTurn; ++round) {
      time("romulus", by_romulus);
      time("bare", by_bare);
    }
  }
  check(buffer.PassThrough());
  check(buffer.Detach());
  std::map<std::string, double> medians;
  for (const auto& [way, values] : samples) medians[way] = MedianOf(values);
  return medians;
}

void Run() {
  ROMULUS_CHECK_MESSAGE(unshare(CLONE_NEWNET) == 0, "run as root");
  std::map<int, std::map<std::string, double>> medians;
  for (int count : kVifCounts) medians[count] = Measure(count);
  std::string rows;
  auto row = [&](const std::string& name, const std::function<double(std::map<std::string, double>&)>& value) {
    rows += (rows.empty() ? "{\"" : ", \"") + name + "\": {";
    for (auto& [count, ways] : medians) {
      char cell[64];
      snprintf(cell, sizeof(cell), "%s\"%d\": %.2f", count == kVifCounts[0] ? "" : ", ", count, value(ways));
      rows += cell;
    }
    rows += "}";
  };
  row("times_cheaper_than_fork", [](auto& ways) { return ways["fork"] / ways["romulus"]; });
  row("times_cheaper_than_exec", [](auto& ways) { return ways["exec"] / ways["romulus"]; });
  row("times_bare_netlink", [](auto& ways) { return ways["romulus"] / ways["bare"]; });
  for (const char* way : {"romulus", "bare", "fork", "exec"}) {
    row(std::string(way) + "_us", [way](auto& ways) { return ways[way]; });
  }
  printf("%s}\n", rows.c_str());
}

}  // namespace
}  // namespace romulus

int main() { romulus::Run(); }
