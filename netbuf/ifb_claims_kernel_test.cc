// Race-free claims of ifbs on a real kernel, with the real lock and the real xenstore: processes that are agents as far
// as ifbs go, and a shell that chooses as Xen's remus-netbuf-setup does. Needs root, the modules and a Xen dom0; enters
// a network namespace of its own. README.md says how to run it in the lab.
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/xen/xenstore.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "netbuf/netlink_plug_kernel.h"
#include "netbuf/run_shell.h"
#include "netbuf/tap_device.h"
#include "netbuf/xenstore_ifb_claims.h"

namespace romulus {
namespace {

constexpr int kAgents = 4;
constexpr int kRounds = 8;
// Domains that don't exist: nobody else writes there.
constexpr uint32_t kFirstDomain = 31000;
constexpr char kHolders[] = "/tmp/ifb-holders";
constexpr char kScriptChooses[] = "/tmp/ifb-holders/script-chooses";
constexpr char kScriptEnded[] = "/tmp/ifb-holders/script-ended";
constexpr timespec kLook = {.tv_sec = 0, .tv_nsec = 2'000'000};

// Exit codes of the processes.
constexpr int kFine = 0, kTwoHolders = 1, kLost = 2, kError = 3, kNotClaimed = 4;

std::string HolderPath(const std::string& device) { return std::string(kHolders) + "/" + device; }

int Fail(int code, const std::string& what) {
  fprintf(stderr, "%s\n", what.c_str());
  return code;
}

// Protects and unprotects. While it has a device, no other may say that it has it.
int TakeAndGiveBack(int agent, NetlinkPlugKernel::Options options) {
  const std::string protection = "agent" + std::to_string(agent);
  const Vif vif{"vif" + std::to_string(agent), kFirstDomain + agent, 0};
  absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  if (!store.ok()) return Fail(kError, store.status().ToString());
  XenstoreIfbClaims claims(store->get(), {.lock_timeout = absl::Seconds(120)});
  std::shared_ptr<NetlinkPlugKernel> kernel = *NetlinkPlugKernel::New(&claims, options);
  while (access(kScriptChooses, F_OK) != 0) nanosleep(&kLook, nullptr);  // It makes that, or the test hangs.
  for (int round = 0; round < kRounds; ++round) {
    const absl::StatusOr<PlugKernel::Installed> installed = kernel->Install(vif, protection, 1 << 20);
    if (!installed.ok()) return Fail(kError, installed.status().ToString());
    const std::string device = kernel->DeviceName(vif);
    if (mkdir(HolderPath(device).c_str(), 0755) != 0) return Fail(kTwoHolders, device + " is somebody else's, too");
    const std::string claimed =
        *(*store)->ReadOr("/libxl/" + std::to_string(vif.domid) + "/remus/netbuf/0/ifb", "nothing");
    if (claimed != device) return Fail(kNotClaimed, device + ", but claimed is " + claimed);
    // Without its lock the script shall not get by.
    while (round == 0 && getenv("SCRIPT_WITHOUT_LOCK") != nullptr && access(kScriptEnded, F_OK) != 0) {
      nanosleep(&kLook, nullptr);
    }
    if (!kernel->Command({vif}, PlugCommand::kBuffer).ok()) return Fail(kLost, device + " is not ours any more");
    rmdir(HolderPath(device).c_str());
    if (!kernel->Remove(vif, protection, PlugKernel::Held::kDrop).ok()) return Fail(kError, "removing " + device);
  }
  return kFine;
}

// Chooses as the script does: the first ifb* without a qdisc that no domain names, under Xen's own locking.sh; or
// without (SCRIPT_WITHOUT_LOCK in the environment), and then so slowly that an agent has taken the same one meanwhile.
constexpr char kScript[] = R"sh(
  . /etc/xen/scripts/locking.sh
  trap "touch /tmp/ifb-holders/script-ended" EXIT
  rounds=0
  while [ $rounds -lt 3 ]; do
    [ -n "$SCRIPT_WITHOUT_LOCK" ] || claim_lock pickifb
    taken=
    for ifb in $(ip -o link show type ifb | cut -d: -f2); do
      [ -z "$(tc qdisc show dev $ifb | grep -v noop)" ] || continue
      for domid in $(xenstore-list /libxl); do
        [ "$(xenstore-read /libxl/$domid/remus/netbuf/0/ifb 2>/dev/null)" != $ifb ] || continue 2
      done
      taken=$ifb
      break
    done
    touch /tmp/ifb-holders/script-chooses
    if [ -n "$SCRIPT_WITHOUT_LOCK" ]; then
      tries=0
      until [ -e /tmp/ifb-holders/$taken ] || [ $tries -gt 200 ]; do sleep 0.01; tries=$((tries + 1)); done
    fi
    if [ -n "$taken" ]; then
      xenstore-write /libxl/$1/remus/netbuf/0/ifb $taken
      ip link set $taken up
      tc qdisc add dev $taken root plug limit 1000 || exit 3
    fi
    [ -n "$SCRIPT_WITHOUT_LOCK" ] || release_lock pickifb
    rounds=$((rounds + 1))
    [ -n "$taken" ] || exit 5  # Nothing to choose from: nothing is shown.
    mkdir /tmp/ifb-holders/$taken || exit 1
    tc qdisc show dev $taken | grep -q plug || exit 2
    rmdir /tmp/ifb-holders/$taken
    ip link set $taken down
    tc qdisc del dev $taken root || exit 2
    xenstore-rm /libxl/$1/remus/netbuf
  done)sh";

class IfbClaimsKernelTest : public ::testing::Test {
 protected:
  IfbClaimsKernelTest() {
    RunShell(std::string("rm -rf ") + kHolders + " && mkdir " + kHolders);
    EXPECT_EQ(unshare(CLONE_NEWNET), 0);
    for (int agent = 0; agent < kAgents; ++agent) {
      taps_.push_back(std::make_unique<TapDevice>("vif" + std::to_string(agent)));
    }
  }
  ~IfbClaimsKernelTest() override {
    for (int domain = kFirstDomain; domain <= static_cast<int>(kFirstDomain) + kAgents; ++domain) {
      RunShell("xenstore-rm /libxl/" + std::to_string(domain) + " 2>/dev/null || true");
    }
  }

  void RaceAndExpectNoTwoHolders(NetlinkPlugKernel::Options options) {
    const std::string domain = std::to_string(kFirstDomain + kAgents);
    for (int agent = 0; agent < kAgents; ++agent) {
      if (fork() == 0) _exit(TakeAndGiveBack(agent, options));
    }
    if (fork() == 0) _exit(execlp("bash", "bash", "-c", kScript, "script", domain.c_str(), nullptr));
    for (int i = 0; i <= kAgents; ++i) {
      int status = 0;
      ASSERT_GT(wait(&status), 0);
      EXPECT_EQ(status, 0) << "exit code " << WEXITSTATUS(status);
    }
    absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
    ASSERT_TRUE(store.ok());
    for (int agent = 0; agent < kAgents; ++agent) {
      const std::string path = "/libxl/" + std::to_string(kFirstDomain + agent) + "/remus";
      EXPECT_TRUE(absl::IsNotFound((*store)->Read(path).status())) << path << " is left";
    }
  }

  std::vector<std::unique_ptr<TapDevice>> taps_;
};

TEST_F(IfbClaimsKernelTest, NeverTheSameOneAmongAgentsThatCreateAndTheScript) {
  RunShell("ip link add ifb0 type ifb; ip link add ifb1 type ifb");
  RaceAndExpectNoTwoHolders({.create_ifbs = true});
}

TEST_F(IfbClaimsKernelTest, NeverTheSameOneAmongAgentsThatAdoptAndTheScript) {
  for (int i = 0; i <= kAgents; ++i) RunShell("ip link add ifb" + std::to_string(i) + " type ifb");
  RaceAndExpectNoTwoHolders({.create_ifbs = false});
}

// What xenstore has of a claim, and what Erase leaves of others.
TEST_F(IfbClaimsKernelTest, RecordsAreWhereXensScriptLooksAndErasedOnlyByTheirProtection) {
  absl::StatusOr<std::unique_ptr<Xenstore>> store = Xenstore::Open();
  ASSERT_TRUE(store.ok());
  XenstoreIfbClaims claims(store->get());
  const Vif card{"vif0", kFirstDomain, 0};
  const Vif emulated{"vif0-emu", kFirstDomain, 0, true};
  {
    auto turn = claims.TakeTurn();
    ASSERT_TRUE(turn.ok()) << turn.status();
    EXPECT_EQ(access("/var/run/xen-hotplug/pickifb", F_OK), 0);
    ASSERT_TRUE(claims.Record({card, "ifb7", "p"}).ok());
    ASSERT_TRUE(claims.Record({emulated, "ifb8", "p"}).ok());
  }
  const std::string netbuf = "/libxl/" + std::to_string(kFirstDomain) + "/remus/netbuf";
  EXPECT_EQ(*(*store)->Read(netbuf + "/0/ifb"), "ifb7");
  EXPECT_EQ(*(*store)->Read(netbuf + "/0-emu/ifb"), "ifb8");
  int listed = 0;
  const std::vector<IfbClaim> all = *claims.List();
  for (const IfbClaim& claim : all) {
    if (claim.vif.domid != kFirstDomain) continue;
    ++listed;
    EXPECT_EQ(claim.protection, "p");
    EXPECT_EQ(claim.vif.name, claim.vif.emulated ? "vif0-emu" : "vif0");
  }
  EXPECT_EQ(listed, 2);
  ASSERT_TRUE(claims.Erase(card, "another").ok());
  EXPECT_EQ(*(*store)->Read(netbuf + "/0/ifb"), "ifb7") << "another protection's";
  ASSERT_TRUE(claims.Erase(card, "p").ok());
  ASSERT_TRUE(claims.Erase(card, "p").ok()) << "twice";
  EXPECT_TRUE(absl::IsNotFound((*store)->Read(netbuf + "/0").status()));
  EXPECT_EQ(*(*store)->Read(netbuf + "/0-emu/ifb"), "ifb8");
  ASSERT_TRUE((*store)->Write(netbuf + "/0/ifb", "ifb7").ok());  // As libxl's script does it.
  ASSERT_TRUE(claims.Erase(card, "p").ok());
  EXPECT_EQ(*(*store)->Read(netbuf + "/0/ifb"), "ifb7") << "the script's";
  ASSERT_TRUE((*store)->Remove("/libxl/" + std::to_string(kFirstDomain)).ok());
  ASSERT_TRUE(claims.Erase(emulated, "p").ok()) << "its domain is gone";
}

}  // namespace
}  // namespace romulus
