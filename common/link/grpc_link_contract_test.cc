#include <memory>

#include "common/link/grpc_link_harness.h"
#include "common/link/replication_link_contract.h"

namespace romulus {
namespace {

INSTANTIATE_TEST_SUITE_P(Grpc, ReplicationLinkContract,
                         testing::Values([] { return std::make_unique<GrpcLinkHarness>(); }));
INSTANTIATE_TEST_SUITE_P(GrpcOneProcessor, ReplicationLinkContract, testing::Values([] {
                           return std::make_unique<GrpcLinkHarness>(GrpcLinkHarness::Options{.one_processor = true});
                         }));

}  // namespace
}  // namespace romulus
